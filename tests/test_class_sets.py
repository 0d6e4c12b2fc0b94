"""Spot checks against the datasets' own publications: lengths, and ids and colors that are known by heart."""

import pytest

from segnet.class_sets import ADE20K, CAMVID, CITYSCAPES, CLASS_SETS, VOC


@pytest.mark.parametrize(("name", "num_classes"), [("cityscapes", 19), ("voc", 21), ("ade20k", 150), ("camvid", 11)])
def test_number_of_classes(name, num_classes):
    assert len(CLASS_SETS[name].names) == len(CLASS_SETS[name].palette) == num_classes


@pytest.mark.parametrize(
    ("classes", "index", "name", "color"),
    [
        (CITYSCAPES, 0, "road", (128, 64, 128)),
        (CITYSCAPES, 6, "traffic light", (250, 170, 30)),
        (CITYSCAPES, 18, "bicycle", (119, 11, 32)),
        (VOC, 0, "background", (0, 0, 0)),
        (VOC, 1, "aeroplane", (128, 0, 0)),
        (VOC, 15, "person", (192, 128, 128)),
        (VOC, 20, "tvmonitor", (0, 64, 128)),
        (ADE20K, 0, "wall", (120, 120, 120)),
        (ADE20K, 12, "person", (150, 5, 61)),
        (ADE20K, 136, "traffic light", (41, 0, 255)),
        (ADE20K, 149, "flag", (92, 0, 255)),
        (CAMVID, 0, "sky", (128, 128, 128)),
        (CAMVID, 10, "bicyclist", (0, 128, 192)),
    ],
)
def test_ids_and_colors(classes, index, name, color):
    assert classes.names[index] == name
    assert classes.palette[index] == color


def test_ignored_labels():
    assert CAMVID.ignore_index == 11
    assert {CITYSCAPES.ignore_index, VOC.ignore_index, ADE20K.ignore_index} == {255}

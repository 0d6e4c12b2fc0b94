"""Spot checks against the publications of the datasets: numbers of classes, ids and colors."""

import pytest

from segnet.class_sets import ADE20K_CLASSES, CAMVID_CLASSES, CITYSCAPES_CLASSES, CLASS_SETS, VOC_CLASSES


@pytest.mark.parametrize(("name", "num_classes"), [("cityscapes", 19), ("voc", 21), ("ade20k", 150), ("camvid", 11)])
def test_class_sets_have_the_published_number_of_classes(name, num_classes):
    assert len(CLASS_SETS[name].names) == len(CLASS_SETS[name].palette) == num_classes


@pytest.mark.parametrize(
    ("classes", "index", "name", "color"),
    [
        (CITYSCAPES_CLASSES, 0, "road", (128, 64, 128)),
        (CITYSCAPES_CLASSES, 6, "traffic light", (250, 170, 30)),
        (CITYSCAPES_CLASSES, 18, "bicycle", (119, 11, 32)),
        (VOC_CLASSES, 0, "background", (0, 0, 0)),
        (VOC_CLASSES, 1, "aeroplane", (128, 0, 0)),
        (VOC_CLASSES, 15, "person", (192, 128, 128)),
        (VOC_CLASSES, 20, "tvmonitor", (0, 64, 128)),
        (ADE20K_CLASSES, 0, "wall", (120, 120, 120)),
        (ADE20K_CLASSES, 12, "person", (150, 5, 61)),
        (ADE20K_CLASSES, 136, "traffic light", (41, 0, 255)),
        (ADE20K_CLASSES, 149, "flag", (92, 0, 255)),
        (CAMVID_CLASSES, 0, "sky", (128, 128, 128)),
        (CAMVID_CLASSES, 10, "bicyclist", (0, 128, 192)),
    ],
)
def test_ids_and_colors_match_the_publications(classes, index, name, color):
    assert classes.names[index] == name
    assert classes.palette[index] == color


def test_ignored_labels_match_the_publications():
    assert CAMVID_CLASSES.ignore_index == 11
    assert {CITYSCAPES_CLASSES.ignore_index, VOC_CLASSES.ignore_index, ADE20K_CLASSES.ignore_index} == {255}

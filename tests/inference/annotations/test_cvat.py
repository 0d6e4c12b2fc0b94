"""CVAT's archive, as dataset=cvat reads it."""

import io
import zipfile

import numpy as np
import pytest
from difficult_masks import CLASSES, NO_BACKGROUND, assert_same_masks, read_back, segmentations, write_images
from PIL import Image

from segnet.classes import Classes
from segnet.data.datasets.cvat import cvat
from segnet.errors import ConfigError
from segnet.inference.annotations.cvat import CVATArchive, cvat_labels, cvat_masks


@pytest.mark.parametrize("classes", [CLASSES, NO_BACKGROUND])
def test_masks_are_read_back_bit_for_bit(tmp_path, classes):
    results = segmentations(classes)
    names = write_images(tmp_path / "JPEGImages", results)
    buffer = io.BytesIO()
    with CVATArchive(buffer, classes) as archive:
        for name, result in zip(names, results, strict=True):
            archive.add(name, result.cvat_masks())
    zipfile.ZipFile(buffer).extractall(tmp_path)
    splits = [cvat(split, str(tmp_path)) for split in ("train", "val")]
    assert splits[0].classes.names == ("background", "a", "b b", "ç")
    assert_same_masks(read_back(splits, classes, tmp_path / "JPEGImages"), names, results)


def test_black_is_background_and_colors_are_unique():
    assert cvat_labels(CLASSES) == dict(zip(CLASSES.names, CLASSES.palette, strict=True))
    # Two of one color, and a black one; (128, 0, 0) is the first spare color of PASCAL VOC.
    assert cvat_labels(NO_BACKGROUND) == {"background": (0, 0, 0), "a": (9, 9, 9), "b b": (128, 0, 0), "ç": (0, 128, 0)}
    named = Classes.create(["x", "Background"], [[0, 0, 0], [5, 5, 5]])
    assert cvat_labels(named) == {"x": (128, 0, 0), "Background": (0, 0, 0)}


def test_each_class_is_one_object_and_background_is_none():
    mask = np.array([[0, 1, 3, 1]], np.uint8)
    masks = cvat_masks(mask, range(4), CLASSES)
    pixels = [np.asarray(Image.open(io.BytesIO(png))).tolist() for png in masks]
    assert pixels[0] == [[[0, 0, 0], [1, 2, 3], [0, 0, 255], [1, 2, 3]]]
    assert pixels[1] == [[[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 0, 0]]]
    only = cvat_masks(mask, [3], CLASSES)
    assert np.asarray(Image.open(io.BytesIO(only.classes))).any(axis=2).tolist() == [[False, False, True, False]]


def test_refused_pixels_have_no_annotation():
    for png in cvat_masks(np.array([[255, 1]], np.uint8), range(4), CLASSES):
        assert np.asarray(Image.open(io.BytesIO(png))).any(axis=2).tolist() == [[False, True]]


def test_an_archive_depends_on_its_content_only():
    first, second = (segmentations(CLASSES)[0].to_cvat("sub/a") for _ in range(2))
    assert first == second
    with zipfile.ZipFile(io.BytesIO(first)) as file:
        assert set(file.namelist()) == {
            "labelmap.txt",
            "ImageSets/Segmentation/default.txt",
            "SegmentationClass/sub/a.png",
            "SegmentationObject/sub/a.png",
        }
        assert file.read("ImageSets/Segmentation/default.txt") == b"sub/a\n"
        assert file.read("labelmap.txt").decode().splitlines()[1:3] == ["background:0,0,0::", "a:1,2,3::"]


@pytest.mark.parametrize("name", ["a:b", "#a", " a", "a\nb"])
def test_names_that_a_label_map_cannot_hold_are_refused(name):
    with pytest.raises(ConfigError, match="cannot stand in CVAT's label map"):
        cvat_labels(Classes.create(["background", name]))


def test_more_classes_than_objects_are_refused():
    mask = np.arange(300, dtype=np.uint16).reshape(15, 20)
    classes = Classes.create([f"c{number}" for number in range(300)], ignore_index=1000)
    with pytest.raises(ConfigError, match="300 classes in one image; CVAT reads 255: use --classes"):
        cvat_masks(mask, range(300), classes)
    assert cvat_masks(mask, range(255), classes)

"""YOLO's polygons, as dataset=yolo reads them."""

import numpy as np
import pytest
import yaml
from difficult_masks import CLASSES, NO_BACKGROUND, assert_same_masks, read_back, segmentations, write_images

from segnet.classes import Classes
from segnet.data.datasets.yolo import YOLO
from segnet.inference.annotations.yolo import yolo_data, yolo_labels
from segnet.inference.polygons import Polygon


@pytest.mark.parametrize("classes", [CLASSES, NO_BACKGROUND])
def test_masks_are_read_back_bit_for_bit(tmp_path, classes):
    results = segmentations(classes)
    names = write_images(tmp_path / "images/train", results)
    (tmp_path / "data.yaml").write_text(yolo_data(classes), encoding="utf-8")
    (tmp_path / "train.txt").write_text("".join(f"./images/train/{name}.png\n" for name in names), encoding="utf-8")
    for name, result in zip(names, results, strict=True):
        path = tmp_path / "labels/train" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(result.to_yolo())
    splits = [YOLO(split, str(tmp_path)) for split in ("train", "val")]
    assert splits[0].classes.names == ("background", "a", "b b", "ç")
    assert_same_masks(read_back(splits, classes, tmp_path / "images/train"), names, results)


def test_six_decimals_are_exact_for_wide_images():
    width = 20_011
    for column in (1, 7_003, 12_345, width - 2):
        polygon = Polygon(1, np.array([[column, 0.0], [column + 1, 0], [column + 1, 1], [column, 1]]), ())
        number, *corners = map(float, yolo_labels([polygon], CLASSES, (1, width)).split())
        x = np.array(corners[::2]) * width
        assert number == 0  # background has no number
        assert column < x.min() < column + 0.25
        assert column + 0.75 < x.max() < column + 1


def test_names_are_any_text():
    classes = Classes.create(["no", "1", "a: b", "Background", "ç"])
    assert yaml.safe_load(yolo_data(classes)) == {"train": "train.txt", "names": {0: "no", 1: "1", 2: "a: b", 3: "ç"}}


def test_an_image_without_regions_has_an_empty_file():
    result = next(result for result in segmentations(CLASSES) if not result.mask.any())
    assert result.to_yolo() == ""

"""Roboflow's three exports for segmentation."""

import json

import numpy as np
import pytest
from PIL import Image

from segnet.data import build_splits
from segnet.data.datasets.roboflow import read_class_table, roboflow
from segnet.errors import ConfigError, DataError

NAME = "street_jpg.rf.0a1b2c3d4e5f60718293a4b5c6d7e8f9"  # as Roboflow renames images
SIZE = (20, 40)


def write_image(folder, split: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE[::-1], (len(split), 0, 0)).save(folder / f"{NAME}.jpg")


def write_coco(root, split: str, names: list[str], category: int) -> None:
    write_image(root / split, split)
    categories = [{"id": 0, "name": "things", "supercategory": "none"}]
    categories += [{"id": number, "name": name, "supercategory": "things"} for number, name in enumerate(names, 1)]
    annotation = {
        "id": 0,
        "image_id": 0,
        "category_id": category,
        "bbox": [10, 4, 10, 8],
        "area": 80,
        "segmentation": [[10, 4, 20, 4, 20, 12, 10, 12]],
        "iscrowd": 0,
    }
    record = {
        "info": {"year": "2024"},
        "licenses": [],
        "categories": categories,
        "images": [{"id": 0, "license": 1, "file_name": f"{NAME}.jpg", "height": 20, "width": 40}],
        "annotations": [annotation],
    }
    (root / split / "_annotations.coco.json").write_text(json.dumps(record))


def write_masks(root, split: str, table: str, value: int) -> None:
    write_image(root / split, split)
    mask = np.zeros(SIZE, np.uint8)
    mask[4:12, 10:20] = value
    Image.fromarray(mask).save(root / split / f"{NAME}_mask.png")
    (root / split / "_classes.csv").write_text(table)


def write_yolo(root, split: str) -> None:
    write_image(root / split / "images", split)
    (root / split / "labels").mkdir()
    (root / split / "labels" / f"{NAME}.txt").write_text("1 0.25 0.2 0.5 0.2 0.5 0.6 0.25 0.6")
    (root / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\nnames: ['car', 'cat']\n\n"
        "roboflow:\n  workspace: x\n  license: CC BY 4.0\n"
    )


def areas(root, **options) -> dict[str, dict[str, int]]:
    """Split -> class -> its pixels."""
    splits = build_splits({"name": "roboflow", "root": str(root), **options}, ["train", "val", "test"])
    found = {}
    for split, dataset in splits.items():
        labels, counts = np.unique(dataset.load(0).mask, return_counts=True)
        found[split] = {dataset.classes.names[label]: int(count) for label, count in zip(labels, counts, strict=True)}
        assert len(dataset) == 1
    return found


def test_the_coco_export_is_matched_by_name_without_its_root_category(tmp_path):
    pytest.importorskip("pycocotools", reason="pycocotools is an optional package, and not installed")
    write_coco(tmp_path, "train", ["car", "cat"], 2)
    write_coco(tmp_path, "valid", ["cat"], 1)
    write_coco(tmp_path, "test", ["cat", "car"], 1)
    assert areas(tmp_path) == {split: {"background": 720, "cat": 80} for split in ("train", "val", "test")}
    assert roboflow("train", str(tmp_path)).classes.names == ("background", "car", "cat")
    assert areas(tmp_path, categories=["car"])["val"] == {"background": 800}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_mask_export_is_matched_by_name(tmp_path, newline):
    table = "Pixel Value, Class\n0, background\n1, car\n2, cat\n".replace("\n", newline)
    write_masks(tmp_path, "train", table, 2)
    write_masks(tmp_path, "valid", "Pixel Value, Class\n0, background\n1, cat\n", 1)
    write_masks(tmp_path, "test", '\ufeffPixel Value,Class\n0,background\n1,"cat"\n', 1)
    assert areas(tmp_path) == {split: {"background": 720, "cat": 80} for split in ("train", "val", "test")}
    assert roboflow("train", str(tmp_path)).notes.lines() == []
    write_masks(tmp_path, "train", table, 7)
    with pytest.raises(DataError, match=r"label 7 \(80 pixels\) is not in the id map"):
        roboflow("train", str(tmp_path)).load(0)


def test_the_yolo_export(tmp_path):
    for split in ("train", "valid", "test"):
        write_yolo(tmp_path, split)
    assert areas(tmp_path) == {split: {"background": 720, "cat": 80} for split in ("train", "val", "test")}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("Pixel Value, Class\n", "names no class"),
        ("0\n", "'0' is not a pixel value and the name of its class"),
        ("0, a\n0, b\n", "the pixel value 0 has two names"),
        ("x, a\n", "'x,a' is not a pixel value"),
        ("-1, a\n", "'-1,a' is not a pixel value"),
        ("0, \n", "'0,' is not a pixel value"),
        ("0, a, b\n", "'0,a,b' is not a pixel value"),
        ("", "is empty"),
        ('0, "' + 200_000 * "a" + '"\n', "is not a table of classes"),
    ],
)
def test_an_invalid_class_table_is_refused(tmp_path, table, message):
    (tmp_path / "_classes.csv").write_text(table)
    with pytest.raises(DataError, match=message) as caught:
        read_class_table(tmp_path / "_classes.csv")
    assert str(caught.value).startswith(f"{tmp_path / '_classes.csv'}: ")


def test_a_folder_without_export_and_a_missing_split_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"has neither train/_annotations\.coco\.json nor train/_classes\.csv"):
        roboflow("train", str(tmp_path))
    write_masks(tmp_path, "train", "0, background\n1, car\n", 1)
    with pytest.raises(DataError, match=r"val: no such folder \(the val images of dataset\.root\)"):
        roboflow("val", str(tmp_path))
    with pytest.raises(ConfigError, match=r"dataset\.categories is for COCO's export"):
        roboflow("train", str(tmp_path), categories=["car"])

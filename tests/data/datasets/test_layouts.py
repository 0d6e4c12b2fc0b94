"""An error of the folder reader names the reader of a published layout, or the folders that exist."""

from pathlib import Path

import pytest
from small_datasets import LAYOUTS as SMALL_DATASETS
from small_datasets import write

from segnet.data import DATASETS
from segnet.data.datasets.folder import Folder
from segnet.data.datasets.layouts import LAYOUTS, layout_hint
from segnet.errors import DataError


def message(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        Folder("train", str(root), ["a", "b"])
    return str(caught.value)


@pytest.mark.parametrize(
    ("reader", "paths"),
    [
        ("camvid", ["train/a.png", "trainannot/a.png"]),
        ("voc", ["JPEGImages/a.jpg", "SegmentationClass/a.png"]),
        ("cvat", ["labelmap.txt", "JPEGImages/a.jpg", "SegmentationClass/a.png"]),
        ("cvat", ["annotations.xml", "images/a.jpg"]),
        ("camvid_original", ["701_StillsRaw_full/a.png", "LabeledApproved_full/a_L.png"]),
        ("ade20k", ["ADEChallengeData2016/images/training/a.jpg"]),
        ("coco_stuff", ["train2017/a.jpg", "stuffthingmaps/train2017/a.png"]),
        ("cityscapes", ["leftImg8bit/train/b/a.png", "gtFine/train/b/a.png"]),
        ("ade20k", ["images/training/a.jpg", "annotations/training/a.png"]),
        ("coco_instances", ["train2017/a.jpg", "annotations/instances_train2017.json"]),
        ("coco_panoptic", ["train2017/a.jpg", "annotations/panoptic_train2017.json"]),
        ("roboflow", ["train/a.jpg", "train/_annotations.coco.json"]),
        ("roboflow", ["train/a.jpg", "train/_classes.csv"]),
        ("yolo", ["data.yaml", "train/images/a.jpg", "train/labels/a.txt"]),
        ("yolo", ["images/train/a.jpg", "labels/train/a.txt"]),
        ("supervisely", ["meta.json", "ds/img/a.jpg", "ds/ann/a.jpg.json"]),
        ("labelme", ["a.jpg", "a.json"]),
        ("labelme", ["train/a.jpg", "train/a.json"]),
    ],
)
def test_a_published_layout_names_its_reader(tmp_path, reader, paths):
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    assert f"dataset={reader} " in message(tmp_path)
    assert f"{tmp_path} has" in message(tmp_path)


# Layout -> another reader than that of its name.
READERS = {"roboflow_coco": "roboflow", "roboflow_masks": "roboflow", "roboflow_yolo": "yolo"}


@pytest.mark.parametrize("layout", sorted(SMALL_DATASETS.keys() - {"folder", "geotiff"}))
def test_the_layout_of_every_other_reader_is_recognized(tmp_path, layout):
    if layout == "streaming":
        pytest.importorskip("webdataset")  # writes it
    root = Path(write(layout, tmp_path)["root"])
    assert f"dataset={READERS.get(layout, layout)} " in layout_hint(root, "X")


@pytest.mark.parametrize(
    ("content", "is_export"), [(b"[]", True), (b"\xef\xbb\xbf \n[", True), (b'{"images": []}', False), (b"", False)]
)
def test_a_list_beside_a_folder_of_images_is_label_studios(tmp_path, content, is_export):
    (tmp_path / "images").mkdir()
    (tmp_path / "result.json").write_bytes(content)
    assert ("dataset=label_studio " in message(tmp_path)) is is_export


def test_the_folders_that_exist_are_named_without_hidden_ones(tmp_path):
    for name in ("photos", "labels", ".trash"):
        (tmp_path / name).mkdir()
    found = message(tmp_path)
    assert found.endswith("has the folders labels, photos: name them with dataset.images and dataset.masks")


def test_many_folders_are_counted(tmp_path):
    for number in range(1_200):
        (tmp_path / f"{number:04}").mkdir()
    assert "0000, 0001, 0002, 0003, 0004, 0005 and 1,194 more: name them with X" in layout_hint(tmp_path, "X")


@pytest.mark.parametrize(
    ("paths", "hint"),
    [
        (["a.png", "a_mask.png"], "holds images itself: if a.png has the mask a_mask.png, set dataset.images=. "),
        (["train/a.png", "train_labels/a.png", "val/b.png", "val_labels/b.png"], "sort the files into images/train, "),
        (["train/img/a.png", "train/ann/a.png", "val/img/b.png"], "train has the folders ann, img: name them with "),
        (["train/a.png", "train_masks/a.png"], "the folders train, train_masks: name them with dataset.images and "),
    ],
)
def test_images_in_other_places_get_a_way_out(tmp_path, paths, hint):
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    assert hint in message(tmp_path)


def test_an_empty_root_has_no_hint(tmp_path):
    assert layout_hint(tmp_path, "X") == ""
    assert message(tmp_path) == f"{tmp_path / 'images'}: no such folder (the images of dataset.root)"


def test_every_reader_of_the_table_exists():
    assert {reader for reader, _ in LAYOUTS} <= DATASETS.keys()

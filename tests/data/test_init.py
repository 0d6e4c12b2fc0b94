"""Splits with different orders of classes in their files have one set of class ids in every verb."""

import json
import logging

import numpy as np
import pytest
from PIL import Image

from segnet.classes import Classes
from segnet.config import DataConfig
from segnet.data import build_dataset, build_splits
from segnet.data.datamodule import SegmentationDataModule
from segnet.verb_config import ShardConfig
from segnet.workflows.shard import write_shards

pytest.importorskip("pycocotools", reason="pycocotools is an optional package, and not installed")

SIZE = (20, 30)


@pytest.fixture
def spec(tmp_path):
    """Write COCO files with only cat annotations: category 1 of train, 2 of val, and 3 of test."""
    names = {"train": ["cat", "dog", "cow"], "val": ["dog", "cat"], "test": ["cow", "dog", "cat"]}
    (tmp_path / "annotations").mkdir()
    for split, categories in names.items():
        (tmp_path / f"{split}2017").mkdir()
        for number in range(2):
            pixels = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{split}2017" / f"{number}.png")
        polygon = [5, 5, 15, 5, 15, 11, 5, 11]
        category = categories.index("cat") + 1
        record = {
            "images": [{"id": number, "file_name": f"{number}.png"} for number in range(2)],
            "annotations": [
                {"id": number, "image_id": number, "category_id": category, "segmentation": [polygon]}
                for number in range(2)
            ],
            "categories": [{"id": number, "name": name} for number, name in enumerate(categories, 1)],
        }
        (tmp_path / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(record))
    return {"name": "coco_instances", "root": str(tmp_path)}


def cats(dataset) -> int:
    return int((dataset.load(0).mask == dataset.classes.names.index("cat")).sum())


@pytest.mark.parametrize("order", [["train", "val", "test"], ["test", "val", "train"], ["val"]])
def test_splits_share_the_class_ids_of_train(spec, order):
    splits = build_splits(spec, order)
    assert list(splits) == order
    assert [cats(dataset) for dataset in splits.values()] == [60] * len(order)
    if "train" in order:
        assert {dataset.classes.names for dataset in splits.values()} == {("background", "cat", "dog", "cow")}


def test_a_dataset_takes_the_class_ids_of_a_checkpoint(spec):
    trained = Classes.create(["dog", "cat", "background", "horse", "cow"])
    assert set(np.unique(build_dataset(spec, "val", trained).load(0).mask).tolist()) == {1, 2}
    module = SegmentationDataModule(spec, DataConfig(crop_size=[8, 8]), [0.5] * 3, 0, classes=trained)
    assert module.classes.names == trained.names
    assert cats(module.split("val")) == cats(module.split("test")) == 60


def test_training_and_scan_use_the_class_ids_of_train(spec):
    module = SegmentationDataModule(spec, DataConfig(crop_size=[8, 8], batch_size=1, num_workers=0), [0.5] * 3, 0)
    for split in ("train", "val"):
        assert module.report(split).pixels == {0: 2 * 540, 1: 2 * 60}
    batch = next(iter(module.val_dataloader()))
    assert int((batch["mask"] == 1).sum()) == 60


def test_shards_store_the_class_ids_of_train(spec, tmp_path):
    pytest.importorskip("webdataset", reason="webdataset is an optional package, and not installed")
    write_shards(ShardConfig(dataset=spec, output=str(tmp_path / "shards"), splits=["val", "train"]))
    splits = build_splits({"name": "streaming", "root": str(tmp_path / "shards")}, ["train", "val"])
    assert [cats(dataset) for dataset in splits.values()] == [60, 60]
    trained = Classes.create(["dog", "cat", "background", "cow"])
    aligned = build_dataset({"name": "streaming", "root": str(tmp_path / "shards")}, "val", trained)
    assert cats(aligned) == 60
    assert [finding.pixels for finding in aligned.findings()] == [{2: 540, 1: 60}] * 2


def test_skipped_files_of_a_split_are_logged_once(spec, tmp_path, caplog):
    Image.new("RGB", (2, 2)).save(tmp_path / "val2017" / "free.png")
    with caplog.at_level(logging.INFO):
        module = SegmentationDataModule(spec, DataConfig(crop_size=[8, 8]), [0.5] * 3, 0)
        module.split("val"), module.split("val")
    found = [record.message for record in caplog.records if "free.png" in record.message]
    line = f"{tmp_path}/val2017: 1 image left out, instances_val2017.json does not name it: free.png"
    assert found == [f"look at your data: val: {line}"]


def test_panoptic_files_are_matched_by_name_too(tmp_path):
    for split, names in (("train", ["cat", "dog"]), ("val", ["dog", "cat"])):
        for folder in (f"{split}2017", f"annotations/panoptic_{split}2017"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1]).save(tmp_path / f"{split}2017" / "a.png")
        Image.new("RGB", SIZE[::-1], (7, 0, 0)).save(tmp_path / "annotations" / f"panoptic_{split}2017" / "a.png")
        segment = {"id": 7, "category_id": names.index("cat") + 1}
        record = {
            "images": [{"id": 1, "file_name": "a.png"}],
            "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": [segment]}],
            "categories": [{"id": number, "name": name} for number, name in enumerate(names, 1)],
        }
        (tmp_path / "annotations" / f"panoptic_{split}2017.json").write_text(json.dumps(record))
    splits = build_splits({"name": "coco_panoptic", "root": str(tmp_path)}, ["train", "val"])
    assert [cats(dataset) for dataset in splits.values()] == [600, 600]

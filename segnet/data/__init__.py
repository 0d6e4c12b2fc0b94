"""Datasets, by the name that a configuration gives them; see `segnet.data.dataset` for the contract."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from segnet.classes import Classes
from segnet.components import build
from segnet.data.dataset import SegmentationDataset
from segnet.data.datasets.ade20k import ADE20K
from segnet.data.datasets.by_name import with_class_ids
from segnet.data.datasets.camvid import CamVid
from segnet.data.datasets.camvid_original import CamVidOriginal
from segnet.data.datasets.cityscapes import Cityscapes
from segnet.data.datasets.coco_instances import COCOInstances
from segnet.data.datasets.coco_panoptic import COCOPanoptic
from segnet.data.datasets.coco_stuff import COCOStuff
from segnet.data.datasets.cvat import cvat
from segnet.data.datasets.folder import Folder
from segnet.data.datasets.geotiff import geotiff
from segnet.data.datasets.label_studio import LabelStudio
from segnet.data.datasets.labelme import LabelMe
from segnet.data.datasets.roboflow import roboflow
from segnet.data.datasets.shapes import Shapes
from segnet.data.datasets.streaming import Streaming
from segnet.data.datasets.supervisely import Supervisely
from segnet.data.datasets.voc import PascalVOC
from segnet.data.datasets.yolo import YOLO
from segnet.data.fold import FOLD, Fold, JoinedSplits

DATASETS: dict[str, Callable[..., SegmentationDataset]] = {
    "ade20k": ADE20K,
    "camvid": CamVid,
    "camvid_original": CamVidOriginal,
    "cityscapes": Cityscapes,
    "coco_instances": COCOInstances,
    "coco_panoptic": COCOPanoptic,
    "coco_stuff": COCOStuff,
    "cvat": cvat,
    "folder": Folder,
    "geotiff": geotiff,
    "label_studio": LabelStudio,
    "labelme": LabelMe,
    "roboflow": roboflow,
    "shapes": Shapes,
    "streaming": Streaming,
    "supervisely": Supervisely,
    "voc": PascalVOC,
    "yolo": YOLO,
}


def build_dataset(spec: Mapping[str, Any], split: str, classes: Classes | None = None) -> SegmentationDataset:
    """Build the dataset of a split.

    Args:
        spec: {"name": one of `DATASETS`, **options}.
        split: "train", "val" or "test".
        classes: classes of the train split or of a checkpoint, if known. They are matched by name if the files of each
            split name the classes.

    Raises:
        ConfigError: an unknown name or option.
        DataError: missing or wrong files.
    """
    table = {**DATASETS, FOLD: _fold_of} if spec.get("name") == FOLD else DATASETS
    dataset = build("dataset", table, spec, split=split)
    return dataset if classes is None else with_class_ids(dataset, classes, split)


def _fold_of(
    split: str, of: Mapping[str, Any], held_out: Sequence[int], splits: Sequence[str] = ("train",)
) -> SegmentationDataset:
    """The dataset of a fold, whose spec `segnet crossval` writes.

    Args:
        split: "train" or "val" of the fold; "test": that of the other dataset.
        of: spec of the other dataset.
        held_out: indices of the held-out samples, in the order of the splits.
        splits: splits of the other dataset whose samples are divided, one after the other.
    """
    if split == "test":
        return build_splits(of, [*splits, "test"])["test"]
    return Fold(JoinedSplits(list(build_splits(of, splits).values())), held_out, split)


def build_splits(spec: Mapping[str, Any], splits: Sequence[str]) -> dict[str, SegmentationDataset]:
    """Build the datasets of several splits with one set of class ids: train's, or else the first split's.

    Raises:
        ConfigError, DataError: as `build_dataset`.
    """
    found: dict[str, SegmentationDataset] = {}
    for split in sorted(splits, key=lambda name: name != "train"):
        found[split] = build_dataset(spec, split, next(iter(found.values())).classes if found else None)
    return {split: found[split] for split in splits}

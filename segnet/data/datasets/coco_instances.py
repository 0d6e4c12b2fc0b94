"""Instances in COCO's JSON format, of COCO itself or of any tool that exports it: background and one class a category.

Source: Lin et al., "Microsoft COCO: common objects in context", 2014; the format is COCO's (cocodataset.org, "Data
format"). Polygons and run lengths are decoded by pycocotools, an optional package. Where instances overlap the smaller
one is in front; crowds, whose outline is coarse, are ignored where nothing else is.
"""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.classes import Classes
from segnet.components import did_you_mean
from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.datasets.annotations import empty_mask, entry, read_json
from segnet.data.datasets.pairing import below, first_folder, require_root, require_split
from segnet.errors import ConfigError, DataError, MachineError
from segnet.images.files import read_image

BACKGROUND = 0


class COCOInstances(SegmentationDataset):
    """COCO instances as classes; 0 is background.

    Args:
        split: "train" or "val", or what else there are files of.
        root: folder that `images` and `annotations` are relative to.
        images: folder of images; {split} stands for the split.
        annotations: JSON file.
        categories: names of those that become classes, in this order; None: all, in the order of their ids. The
            others are background.

    Raises:
        ConfigError: an unknown split or category.
        DataError: a file or folder that is not there, or annotations that are not of this format.
        MachineError: pycocotools is not installed.
    """

    def __init__(
        self,
        split: str,
        root: str,
        images: str = "{split}2017",
        annotations: str = "annotations/instances_{split}2017.json",
        categories: Sequence[str] | None = None,
    ) -> None:
        require_split(split)
        coco_masks()  # told now, not in a worker
        folder = require_root(root)
        self._source = folder / annotations.replace("{split}", split)
        record = read_json(self._source)
        known = entry(record, "categories", list, self._source)
        ids = {entry(c, "name", str, self._source): entry(c, "id", int, self._source) for c in known}
        chosen = list(categories) if categories is not None else sorted(ids, key=lambda name: ids[name])
        for name in chosen:
            if name not in ids:
                raise ConfigError(f"dataset.categories: '{name}' is not in {self._source}.{did_you_mean(name, ids)}")
        names = ["background", *chosen]
        self.classes = Classes.create(names, None, max(255, len(names)))
        self._class_of = {ids[name]: index + 1 for index, name in enumerate(chosen)}
        self._images = first_folder([folder / images.replace("{split}", split)], f"the {split} images of dataset.root")
        self._records = entry(record, "images", list, self._source)
        if not self._records:
            raise DataError(f"{self._source}: names no image")
        self._annotations: dict[int, list[Any]] = {}
        for annotation in entry(record, "annotations", list, self._source):
            if entry(annotation, "category_id", int, self._source) not in ids.values():
                raise DataError(f"{self._source}: category_id {annotation['category_id']} is none of its categories")
            if annotation["category_id"] in self._class_of:
                self._annotations.setdefault(annotation.get("image_id"), []).append(annotation)

    def __len__(self) -> int:
        return len(self._records)

    def load(self, index: int) -> Sample:
        record = self._records[index]
        path = below(self._images, entry(record, "file_name", str, self._source), self._source)
        image = read_image(path)
        size = (image.shape[0], image.shape[1])
        if (record.get("height", size[0]), record.get("width", size[1])) != size:
            raise DataError(
                f"{path}: {size[1]} x {size[0]} pixels, but {self._source} was drawn on "
                f"{record.get('width')} x {record.get('height')}: annotations must fit the image"
            )
        mask = empty_mask(size, BACKGROUND, self.classes)
        areas = [(a, decoded(a, size, self._source)) for a in self._annotations.get(record.get("id"), [])]
        # The larger first, so that smaller ones lie in front; crowds before all, so that they hide nothing.
        for annotation, area in sorted(areas, key=lambda pair: (not pair[0].get("iscrowd"), -int(pair[1].sum()))):
            crowd = annotation.get("iscrowd")
            mask[area] = self.classes.ignore_index if crowd else self._class_of[annotation["category_id"]]
        return Sample(image, mask, str(path))

    def files(self, index: int) -> Sequence[Path | str]:
        record = self._records[index]
        if not isinstance(record, dict):  # told when it is loaded
            return ()
        return self._images / str(record.get("file_name")), self._source, str(record.get("id"))


def coco_masks() -> ModuleType:
    """pycocotools' decoder, imported only when asked for.

    Raises:
        MachineError: it is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError:
        raise MachineError('dataset=coco_instances needs pycocotools: pip install "segnet[coco]"') from None
    decoder: ModuleType = mask
    return decoder


def decoded(annotation: Any, size: tuple[int, int], source: Path) -> NDArray[np.bool_]:
    """Where an instance lies: (height, width) bool, from polygons, plain or compressed run lengths.

    Raises:
        DataError: a segmentation of none of these forms.
    """
    masks, (height, width) = coco_masks(), size
    segmentation = annotation.get("segmentation")
    if not segmentation:  # a box without a mask, or one whose polygons were too small
        return np.zeros(size, bool)
    try:
        if isinstance(segmentation, list):
            runs = masks.merge(masks.frPyObjects(segmentation, height, width))
        elif isinstance(segmentation["counts"], list):
            runs = masks.frPyObjects(segmentation, height, width)
        else:
            runs = segmentation
        area: NDArray[np.bool_] = masks.decode(runs).astype(bool)
    except Exception as error:  # its C code raises many kinds
        raise DataError(f"{source}: annotation {annotation.get('id')}: not a segmentation ({error})") from None
    if area.shape != size:
        raise DataError(
            f"{source}: annotation {annotation.get('id')}: {area.shape[1]} x {area.shape[0]} pixels, "
            f"but its image has {width} x {height}"
        )
    return area

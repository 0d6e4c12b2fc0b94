"""Panoptic annotations of COCO: things and stuff, one class a segment; what is in no segment is ignored.

Source: Kirillov et al., "Panoptic segmentation", 2019; the format is COCO's (cocodataset.org, "Data format"). Layout:
``annotations/panoptic_train2017.json`` names images in ``train2017`` and PNGs in ``annotations/panoptic_train2017``; in
these a pixel's segment is R + 256 G + 256^2 B. Names and colors of the classes are the file's, in the order of ids.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segnet.classes import Classes
from segnet.data.dataset import Sample, SegmentationDataset, refuse_other_size
from segnet.data.datasets.annotations import entry, read_json
from segnet.data.datasets.labels import mask_type
from segnet.data.datasets.pairing import below, first_folder, require_root, require_split
from segnet.errors import DataError
from segnet.images.files import read_image, read_mask_colors

UNLABELLED = 0  # segment of pixels that are nothing


class COCOPanoptic(SegmentationDataset):
    """COCO panoptic.

    Args:
        split: "train" or "val", or what else there are files of.
        root: folder that `images` and `annotations` are relative to.
        images: folder of images; {split} stands for the split.
        annotations: JSON file; the PNGs lie in the folder of its name, beside it or in `root`.

    Raises:
        ConfigError: an unknown split.
        DataError: a file or folder that is not there, or annotations that are not panoptic.
    """

    def __init__(
        self,
        split: str,
        root: str,
        images: str = "{split}2017",
        annotations: str = "annotations/panoptic_{split}2017.json",
    ) -> None:
        require_split(split)
        folder = require_root(root)
        self._source = folder / annotations.replace("{split}", split)
        record = read_json(self._source)
        categories = sorted(entry(record, "categories", list, self._source), key=lambda category: category["id"])
        self.classes = category_classes(categories, self._source)
        self._class_of = {category["id"]: index for index, category in enumerate(categories)}
        self._images = first_folder([folder / images.replace("{split}", split)], f"the {split} images of dataset.root")
        stem = self._source.stem
        self._masks = first_folder([self._source.parent / stem, folder / stem], f"the {split} masks of dataset.root")
        names = {image["id"]: image["file_name"] for image in entry(record, "images", list, self._source)}
        self._samples = [self._sample(a, names) for a in entry(record, "annotations", list, self._source)]
        if not self._samples:
            raise DataError(f"{self._source}: annotates no image")

    def _sample(self, annotation: Any, names: dict[int, str]) -> tuple[Path, Path, dict[int, int]]:
        source = self._source
        segments = {}
        for segment in entry(annotation, "segments_info", list, source):
            category = entry(segment, "category_id", int, source)
            if category not in self._class_of:
                raise DataError(f"{source}: category_id {category} is none of its categories")
            segments[entry(segment, "id", int, source)] = self._class_of[category]
        image = names.get(annotation.get("image_id"))
        if image is None:
            raise DataError(f"{source}: image_id {annotation.get('image_id')} is none of its images")
        mask = below(self._masks, entry(annotation, "file_name", str, source), source)
        return below(self._images, image, source), mask, segments

    def __len__(self) -> int:
        return len(self._samples)

    def load(self, index: int) -> Sample:
        image_path, mask_path, class_of = self._samples[index]
        image = read_image(image_path)
        colors = read_mask_colors(mask_path).astype(np.int32)
        present, places = np.unique(
            colors[..., 0] + 256 * colors[..., 1] + 256**2 * colors[..., 2], return_inverse=True
        )
        unknown = [segment for segment in present.tolist() if segment != UNLABELLED and segment not in class_of]
        if unknown:
            raise DataError(f"{mask_path}: segment {unknown[0]} is not in the segments_info of {self._source}")
        ids = np.array([class_of.get(segment, self.classes.ignore_index) for segment in present.tolist()])
        mask = ids[places.reshape(colors.shape[:2])].astype(mask_type(self.classes))
        refuse_other_size(mask, image, mask_path, image_path)
        return Sample(image, mask, str(image_path))

    def files(self, index: int) -> Sequence[Path]:
        image, mask, _ = self._samples[index]
        return image, mask, self._source


def category_classes(categories: list[Any], source: Path) -> Classes:
    """The classes of the categories of a COCO file, in their order; in its colors, where each has its own."""
    names = [entry(category, "name", str, source) for category in categories]
    colors = [tuple(category.get("color") or ()) for category in categories]
    return Classes.create(names, colors if len(set(colors)) == len(colors) > 1 else None, max(255, len(names)))

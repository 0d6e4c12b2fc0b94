"""Panoptic annotations of COCO: things and stuff, one class per category; pixels in no segment are ignored.

Source: Kirillov et al., "Panoptic segmentation", 2019; the format is COCO's (cocodataset.org, "Data format"). Layout:
``annotations/panoptic_train2017.json`` names images in ``train2017`` and PNGs in ``annotations/panoptic_train2017``; in
these a pixel's segment is R + 256 G + 256^2 B. Names and colors of the classes are the file's, in the order of ids.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from segnet.classes import Classes
from segnet.data.dataset import Sample, SegmentationDataset, refuse_other_size
from segnet.data.datasets.annotations import require_size
from segnet.data.datasets.coco_annotations import (
    Category,
    Strays,
    class_names,
    image_name,
    locate,
    note_unnamed,
    read_categories,
    read_images,
)
from segnet.data.datasets.file_names import Files
from segnet.data.datasets.json_records import Id, Record, read_record
from segnet.data.datasets.labels import Mask, mask_type
from segnet.data.datasets.pairing import first_folder, require_root, require_split
from segnet.data.datasets.splits import split_path
from segnet.errors import DataError
from segnet.images.files import read_image
from segnet.images.masks import read_mask_colors
from segnet.images.values import checked_value_range

UNLABELED = 0  # id of pixels in no segment
NUM_SEGMENTS = 256**3


class COCOPanoptic(SegmentationDataset):
    """COCO panoptic.

    Args:
        split: "train", "val" or "test", if there are files for it.
        root: folder that `images` and `annotations` are relative to.
        images: folder of images; {split} stands for the split: train, val (or valid, validation), test.
        annotations: JSON file; the PNGs lie in the folder of its name, beside it or in `root`.
        value_range: [low, high], the stored values that become black and white; null: 0 and the largest of their type.

    Raises:
        ConfigError: an unknown split.
        DataError: a file or folder that is missing, or annotations that are not panoptic.
    """

    classes_from_files = True
    has_value_range = True

    def __init__(
        self,
        split: str,
        root: str,
        images: str = "{split}2017",
        annotations: str = "annotations/panoptic_{split}2017.json",
        value_range: Sequence[float] | None = None,
    ) -> None:
        require_split(split)
        self.value_range = checked_value_range(value_range)
        folder = require_root(root)
        self._source = split_path(folder, annotations, split)
        record = read_record(self._source)
        categories = read_categories(record, self.notes)
        self.classes = category_classes(categories)
        self._class_of = {category.id: self.classes.names.index(category.name) for category in categories}
        place = first_folder([split_path(folder, images, split)], f"the {split} images of dataset.root")
        stem = self._source.stem
        masks = first_folder([self._source.parent / stem, folder / stem], f"the {split} masks of dataset.root")
        self._files, self._masks = Files(place), Files(masks)
        self._images = read_images(record, self.notes)
        note_unnamed(place, locate(self._images, self._files).values(), self._source, self.notes)
        self._samples = self._find(record)
        note_unnamed(masks, self._mask_files(), self._source, self.notes)

    def _find(self, record: Record) -> list[tuple[Id, str, dict[int, int]]]:
        """Read image, PNG and segment classes of each annotation.

        Raises:
            DataError: annotations of no image, or several of one image or PNG.
        """
        samples: dict[Id, tuple[Id, str, dict[int, int]]] = {}
        owner_of: dict[str, Id] = {}
        strays = Strays(self._source)
        for annotation in record.records("annotations"):
            number, segments = annotation.get("image_id"), self._segments(annotation)
            number = annotation.identifier("image_id") if number is not None else None
            name = annotation.text("file_name")
            if number not in self._images:
                strays.add(annotation)
            elif number in samples:
                raise DataError(f"{self._source}: image {number} is annotated twice: keep one")
            elif name in owner_of:
                raise DataError(f"{self._source}: images {owner_of[name]} and {number} share the mask '{name}'")
            else:
                samples[number], owner_of[name] = (number, name, segments), number
        strays.refuse()
        if not samples:
            raise DataError(f"{self._source}: annotates no image")
        for number, entry in self._images.items():
            if number not in samples:
                self.notes.add(self._source, "image", "left out, it has no annotation", image_name(entry))
        return list(samples.values())

    def _mask_files(self) -> Iterator[Path]:
        """Return the PNGs of all samples; names without a file are left out here, and reported on loading.

        Raises:
            DataError: two images share a file.
        """
        owner_of: dict[Path, Id] = {}
        for number, name, _ in self._samples:
            try:
                path = self._masks.find(name, self._source)
            except DataError:
                continue
            if (other := owner_of.setdefault(path, number)) != number:
                raise DataError(f"{self._source}: images {other} and {number} share the mask {path}")
            yield path

    def _segments(self, annotation: Record) -> dict[int, int]:
        """Segment -> class."""
        class_of: dict[int, int] = {}
        for segment in annotation.records("segments_info"):
            category, number = segment.identifier("category_id"), segment.integer("id")
            if category not in self._class_of:
                raise DataError(f"{self._source}: category_id {category} is none of its categories")
            if not 0 <= number < NUM_SEGMENTS:
                raise segment.error("id", "a segment of 0-16777215")
            if class_of.setdefault(number, self._class_of[category]) != self._class_of[category]:
                raise DataError(f"{self._source}: segment {number} of {annotation.place} has two categories")
        return class_of

    def __len__(self) -> int:
        return len(self._samples)

    def load(self, index: int) -> Sample:
        number, _, class_of = self._samples[index]
        image_path, mask_path = self._paths(index)
        image = read_image(image_path, self.value_range)
        require_size(self._images[number], "height", "width", (image.shape[0], image.shape[1]), image_path)
        mask = self._read_mask(mask_path, class_of)
        refuse_other_size(mask, image, mask_path, image_path)
        return Sample(image, mask, str(image_path))

    def _read_mask(self, path: Path, class_of: Mapping[int, int]) -> Mask:
        colors = read_mask_colors(path).astype(np.int32)
        present, places = np.unique(
            colors[..., 0] + 256 * colors[..., 1] + 256**2 * colors[..., 2], return_inverse=True
        )
        unknown = [segment for segment in present.tolist() if segment != UNLABELED and segment not in class_of]
        if unknown:
            raise DataError(f"{path}: segment {unknown[0]} is not in the segments_info of {self._source}")
        ids = np.array([class_of.get(segment, self.classes.ignore_index) for segment in present.tolist()])
        mask: Mask = ids[places.reshape(colors.shape[:2])].astype(mask_type(self.classes))
        return mask

    def files(self, index: int) -> Sequence[Path]:
        try:
            return *self._paths(index), self._source
        except DataError:  # reported on loading
            return ()

    def _paths(self, index: int) -> tuple[Path, Path]:
        number, name, _ = self._samples[index]
        image = self._files.find(image_name(self._images[number]), self._source)
        return image, self._masks.find(name, self._source)


def category_classes(categories: Sequence[Category]) -> Classes:
    """Return the classes of a file's categories, in their order, with its colors if they are distinct."""
    names = class_names(categories)
    colors = [next(category.color for category in categories if category.name == name) for name in names]
    distinct = len(set(colors)) == len(colors) > 1
    palette = [color for color in colors if color is not None] if distinct and None not in colors else None
    return Classes.create(names, palette, max(255, len(names)))

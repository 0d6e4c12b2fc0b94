"""Instances in COCO's JSON format, of COCO itself or of a tool that exports it: background and one class per category.

Source: Lin et al., "Microsoft COCO: common objects in context", 2014; the format is COCO's (cocodataset.org, "Data
format"). Where instances overlap, the smaller one is in front. Crowds have coarse outlines: they are ignored where
nothing else is. A category named background is class 0.
"""

from collections.abc import Sequence
from pathlib import Path

from segnet.classes import Classes, is_background
from segnet.components import did_you_mean
from segnet.data.dataset import Sample, SegmentationDataset
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
    root_category,
)
from segnet.data.datasets.coco_masks import coco_masks, decode_segmentation, has_outline
from segnet.data.datasets.file_names import Files, normal_form
from segnet.data.datasets.fronts import InstanceCanvas
from segnet.data.datasets.json_records import Id, Record, read_record
from segnet.data.datasets.notes import Notes
from segnet.data.datasets.pairing import first_folder, require_root, require_split
from segnet.data.datasets.splits import Division, split_path
from segnet.errors import ConfigError, DataError, listed
from segnet.images.files import read_image
from segnet.images.values import checked_value_range

BACKGROUND = 0


class COCOInstances(SegmentationDataset):
    """COCO instances as classes; 0 is background.

    Args:
        split: "train", "val" or "test", if there are files for it.
        root: folder that `images` and `annotations` are relative to.
        images: folder of images; {split} stands for the split: train, val (or valid, validation), test.
        annotations: JSON file; one without {split} holds all images, and is divided.
        categories: names of those that become classes, in this order; None: all, in the order of their ids. The
            others are background.
        value_range: [low, high], the stored values that become black and white; null: 0 and the largest of their type.
        val_fraction, test_fraction: fractions of the images of one file for all splits.
        split_seed: of that random choice.
        group: regular expression; images with the same matched text in their paths stay in one split.

    Raises:
        ConfigError: an unknown split or category, or a fraction outside its range.
        DataError: a file or folder that is missing, or annotations that are not of this format.
        MachineError: pycocotools is not installed.
    """

    classes_from_files = True
    has_value_range = True

    def __init__(
        self,
        split: str,
        root: str,
        images: str = "{split}2017",
        annotations: str = "annotations/instances_{split}2017.json",
        categories: Sequence[str] | None = None,
        value_range: Sequence[float] | None = None,
        val_fraction: float = 0.2,
        test_fraction: float = 0.0,
        split_seed: int = 0,
        group: str | None = None,
    ) -> None:
        require_split(split)
        division = Division(val_fraction, test_fraction, split_seed, group)
        coco_masks()  # fails here rather than in a worker
        self.value_range = checked_value_range(value_range)
        folder = require_root(root)
        self._source = split_path(folder, annotations, split)
        require_annotations(self._source, folder)
        self._record = read_record(self._source)
        known = self._categories()
        if categories is not None:
            categories = [normal_form(name) for name in categories]
            require_categories(categories, known, split_path(folder, annotations, "train"))
        names = [name for name in (class_names(known) if categories is None else categories) if not is_background(name)]
        self.classes = Classes.create(["background", *names], None, max(255, len(names) + 1))
        ids = {name: index + 1 for index, name in enumerate(names)}
        self._class_of = {c.id: BACKGROUND if is_background(c.name) else ids.get(c.name) for c in known}
        place = first_folder([split_path(folder, images, split)], f"the {split} images of dataset.root")
        self._files = Files(place)
        self._images = read_images(self._record, self.notes)
        self._ids = list(self._images)
        self._place_of = locate(self._images, self._files)
        note_unnamed(place, self._place_of.values(), self._source, self.notes)
        self._index_annotations()
        if "{split}" not in annotations:  # a tool's export: one file for all images
            names = [image_name(entry) for entry in self._images.values()]
            self._ids = division.choose(self._ids, names, split, str(self._source), self.notes)

    def _categories(self) -> list[Category]:
        """Return the categories of the file, without an unannotated root category."""
        known = read_categories(self._record, self.notes)
        root = root_category(known)
        annotations = self._record.records("annotations")
        if root is None or any(annotation.identifier("category_id") == root.id for annotation in annotations):
            return known
        self.notes.add(self._source, "category", "left out, it groups the others and is not annotated", root.name)
        return [category for category in known if category.id != root.id]

    def _index_annotations(self) -> None:
        """Find the annotations of each image.

        Raises:
            DataError: an annotation of no image or category, or no annotation with a mask.
        """
        self._annotations_of: dict[Id, list[int]] = {}
        strays, num_masks, num_boxes = Strays(self._source), 0, 0
        for index, annotation in enumerate(self._record.records("annotations")):
            category = annotation.identifier("category_id")
            if category not in self._class_of:
                raise DataError(
                    f"{self._source}: category_id {category} of {annotation.place} is none of its categories"
                )
            if not annotation.has("image_id") or annotation.identifier("image_id") not in self._images:
                strays.add(annotation)
                continue
            if has_outline(annotation.get("segmentation")):
                num_masks += 1
            else:
                num_boxes += annotation.has("bbox") and not annotation.get("segmentation")
                self.notes.add(self._source, "annotation", "left out, its segmentation has no area", annotation.place)
            if self._class_of[category] is not None:
                self._annotations_of.setdefault(annotation.identifier("image_id"), []).append(index)
        strays.refuse()
        if num_boxes and not num_masks:
            raise DataError(
                f"{self._source}: its {num_boxes:,} annotations have boxes only, no masks: export segmentations"
            )

    def __len__(self) -> int:
        return len(self._ids)

    def load(self, index: int) -> Sample:
        number = self._ids[index]
        entry = self._images[number]
        path = self._files.find(image_name(entry), self._source)
        image = read_image(path, self.value_range)
        size = (image.shape[0], image.shape[1])
        require_size(entry, "height", "width", size, path)
        canvas = InstanceCanvas(size, BACKGROUND, self.classes)
        annotations = self._record.items("annotations")
        for place in self._annotations_of.get(number, []):
            annotation = Record(annotations[place], self._source, self._record, "annotations", place)
            area = decode_segmentation(annotation, size)
            if area is None:
                continue
            if annotation.flag("iscrowd"):
                canvas.ignore(area)
            else:
                canvas.add(area, self._class_of[annotation.identifier("category_id")] or BACKGROUND)
        return Sample(image, canvas.mask(), str(path))

    def files(self, index: int) -> Sequence[Path | str]:
        path = self._place_of.get(self._ids[index])
        return () if path is None else (path, self._source, str(self._ids[index]))


def require_annotations(source: Path, root: Path) -> None:
    """Check that the annotation file exists, since tools use different names.

    Raises:
        DataError: it does not; names the JSON files that do.
    """
    if source.exists():
        return
    found = sorted(path.relative_to(root).as_posix() for path in (*root.glob("*.json"), *root.glob("*/*.json")))
    others = f"; of {listed(found)} add dataset.annotations=FILE, and dataset.images=FOLDER" if found else ""
    raise DataError(f"{source}: no such file{others}")


def require_categories(wanted: Sequence[str], known: Sequence[Category], train: Path) -> None:
    """Check the option dataset.categories; the train split may have more categories than this split.

    Raises:
        ConfigError: a name that neither has.
    """
    names = {category.name for category in known}
    missing = [name for name in wanted if name not in names and not is_background(name)]
    if missing and train.is_file():
        names |= {category.name for category in read_categories(read_record(train), Notes())}
    for name in missing:
        if name not in names:
            raise ConfigError(
                f"dataset.categories: '{name}' is no category of {train.name}.{did_you_mean(name, names)}"
            )

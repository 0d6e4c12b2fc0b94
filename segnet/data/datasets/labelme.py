"""labelme annotations: a JSON file of shapes per image.

Source: github.com/wkentaro/labelme; its files are read here without its package. X-AnyLabeling writes the same format.
Layout: images and JSON files in one folder with any folders inside, or in ``train``, ``val`` and ``test``. Later shapes
lie in front. The label ``__ignore__`` is ignored. Pixels without a shape are background, if a class is named so, and
ignored otherwise.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from segnet.classes import Classes
from segnet.components import did_you_mean
from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.datasets.annotations import Area, background_id, empty_mask, require_size
from segnet.data.datasets.file_names import Files, normal_form, walk
from segnet.data.datasets.json_records import Record, read_record
from segnet.data.datasets.labels import class_id
from segnet.data.datasets.outlines import draw_shape, points_of, stored_mask
from segnet.data.datasets.pairing import is_image, refuse, require_folder, require_root, require_split
from segnet.data.datasets.splits import Division, split_folder
from segnet.errors import ConfigError, DataError
from segnet.images.files import read_image
from segnet.images.values import checked_value_range
from segnet.system.path_names import parts_of, spellings

IGNORED_LABEL = "__ignore__"


class LabelMe(SegmentationDataset):
    """labelme's shapes as masks.

    Args:
        split: "train" or "val", and "test" with a folder or a fraction for it.
        root: folder of images and JSON files, or of ``train`` and ``val``.
        class_names: labels that become classes, in the order of their ids.
        palette: RGB colors, 0-255, one per class; chosen if not given.
        label_map: label in the files -> class, its id or "ignore", for labels that are no class names.
        unlabeled: class of pixels without a shape, or "ignore"; None: a class named background, else ignored.
        line_width: of lines, and diameter of points [pixels].
        val_fraction, test_fraction: fractions of the images, for splits without a folder.
        split_seed: of that random choice.
        group: regular expression; images with the same matched text in their paths stay in one split.
        value_range: [low, high], the stored values that become black and white; null: 0 and the largest of their type.

    Raises:
        ConfigError: a value outside these.
        DataError: a folder that is missing or has no JSON file, or an image with two.
    """

    has_value_range = True

    def __init__(
        self,
        split: str,
        root: str,
        class_names: Sequence[str],
        palette: Sequence[Sequence[int]] | None = None,
        label_map: Mapping[str, str | int] | None = None,
        unlabeled: str | None = None,
        line_width: int = 10,
        val_fraction: float = 0.2,
        test_fraction: float = 0.0,
        split_seed: int = 0,
        group: str | None = None,
        value_range: Sequence[float] | None = None,
    ) -> None:
        require_split(split)
        if isinstance(class_names, str):
            raise ConfigError(f"dataset.class_names={class_names} is not a list: write dataset.class_names=[sky,road]")
        if line_width < 1:
            raise ConfigError(f"dataset.line_width={line_width} must be 1 or more")
        division = Division(val_fraction, test_fraction, split_seed, group)
        self.classes = Classes.create(class_names, palette)
        self._background = background_id(self.classes, unlabeled)
        self._ids = {normal_form(name): index for index, name in enumerate(self.classes.names)}
        self._ids[IGNORED_LABEL] = self.classes.ignore_index
        for label, target in (label_map or {}).items():
            self._ids[normal_form(str(label))] = class_id(target, self.classes, f"dataset.label_map.{label}")
        self._line_width = line_width
        self.value_range = checked_value_range(value_range)
        self._files = Files(require_root(root))
        self._image_path_of = self._find(split, division)
        self._sources = list(self._image_path_of)

    def _find(self, split: str, division: Division) -> dict[Path, Path | None]:
        """Return the JSON files of a split, each with its image, or None if it cannot be read."""
        root = self._files.folder
        folder = root
        if split_folder(root, "*", "train").is_dir():
            folder = require_folder(split_folder(root, "*", split), f"the {split} files of dataset.root")
        paths = walk(folder, self.notes, _is_json)
        image_of = {path: self._image_path(path) for path in paths if _is_json(path)}
        if not image_of:
            raise DataError(f"{folder}: has no JSON file of labelme")
        source_of: dict[Path, Path] = {}
        for source, image in image_of.items():
            if image is not None and (other := source_of.setdefault(image, source)) != source:
                refuse(f"{source}: annotates {image}, and so does {other}: keep one of them, or correct its imagePath")
        for path in paths:
            if is_image(path) and path not in source_of:
                self.notes.add(folder, "image", "left out, it has no JSON file", path.relative_to(folder))
            elif not _is_json(path) and not is_image(path):
                self.notes.add(folder, "file", "left out, neither image nor JSON", path.relative_to(folder))
        if folder != root:
            return image_of
        keys = [path.relative_to(root).as_posix() for path in image_of]
        return {path: image_of[path] for path in division.choose(list(image_of), keys, split, str(root), self.notes)}

    def __len__(self) -> int:
        return len(self._sources)

    def load(self, index: int) -> Sample:
        source = self._sources[index]
        record = read_record(source)
        path = self._image_of(record, source)
        image = read_image(path, self.value_range)
        size = (image.shape[0], image.shape[1])
        require_size(record, "imageHeight", "imageWidth", size, path)
        mask = empty_mask(size, self._background, self.classes)
        for shape in record.records("shapes"):
            area = self._area(shape, size)
            mask[area] = self._id(shape)
        return Sample(image, mask, str(path))

    def files(self, index: int) -> Sequence[Path]:
        source = self._sources[index]
        image = self._image_path_of[source]
        return (source,) if image is None else (image, source)

    def _image_path(self, source: Path) -> Path | None:
        """Return the image of a JSON file; None if the file cannot be read, which `load` reports."""
        try:
            return self._image_of(read_record(source), source)
        except DataError:
            return None

    def _image_of(self, record: Record, source: Path) -> Path:
        """The image where the file says, but below the root; or beside the JSON file; or by the end of its path."""
        name = record.text("imagePath")
        folder = os.path.relpath(source.parent, self._files.folder)
        try:
            stated = self._files.find(name, source, folder, elsewhere=False)
            if stated.is_file():
                return stated
        except DataError:  # a path of another computer leads outside
            pass
        names = [parts[-1] for spelling in spellings(name) if (parts := parts_of(spelling)) and parts[-1] != ".."]
        places = [self._files.find(name, source, folder) for name in names]
        beside = next((path for path in places if path.is_file()), None)
        if beside is not None or not places:
            return beside or stated
        try:
            return self._files.find(name, source, folder)
        except DataError:
            return places[0]

    def _area(self, shape: Record, size: tuple[int, int]) -> Area:
        kind = shape.text("shape_type") if shape.has("shape_type") else "polygon"
        points = points_of(shape)
        if kind != "mask":
            return draw_shape(size, kind, points, shape, self._line_width)
        if not points:
            raise shape.error("points", "the corners of the mask")
        area, (height, width) = stored_mask(shape.text("mask"), points[0], size, shape)
        if len(points) == 2:
            (left, top), (right, bottom) = points
            if not (0 <= height - (bottom - top) < 2 and 0 <= width - (right - left) < 2):
                raise shape.error("points", f"the corners of its mask of {width} x {height} pixels")
        return area

    def _id(self, shape: Record) -> int:
        label = normal_form(str(shape.identifier("label")).strip())
        if label not in self._ids:
            raise DataError(
                f"{shape.source}: label '{label}' is not a class: add it to dataset.class_names, or "
                f'"dataset.label_map={{{label}:ignore}}".{did_you_mean(label, self.classes.names)}'
            )
        return self._ids[label]


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"

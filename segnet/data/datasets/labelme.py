"""Annotations of labelme: a JSON file of shapes for each image.

Source: github.com/wkentaro/labelme; its files are read here without its package. Layout: images and JSON files in one
folder with any folders inside, or in ``train``, ``val`` and ``test``. Later shapes lie in front. The label
``__ignore__`` is ignored; pixels without a shape are background, where a class is named so, and ignored else.
"""

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.classes import Classes
from segnet.components import did_you_mean
from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.datasets.annotations import background_id, drawn, empty_mask, entry, read_json
from segnet.data.datasets.labels import class_id
from segnet.data.datasets.pairing import require_folder, require_root, require_split
from segnet.data.datasets.splits import Division
from segnet.errors import ConfigError, DataError
from segnet.images.files import read_image

IGNORED_LABEL = "__ignore__"


class LabelMe(SegmentationDataset):
    """labelme's shapes as masks.

    Args:
        split: "train" or "val", and "test" where there is a folder or a share for it.
        root: folder of images and JSON files, or of ``train`` and ``val``.
        class_names: labels that become classes, in the order of their ids.
        palette: RGB colors, 0-255, one a class; chosen where not given.
        label_map: label in the files -> class, its id or "ignore", for labels that are no class names.
        unlabeled: class of pixels without a shape, or "ignore"; None: a class named background, else ignored.
        line_width: of lines, and diameter of points [pixels].
        val_fraction, test_fraction: shares of the images set aside, where there are no folders for splits.
        split_seed: of that choice.
        group: regular expression; images in whose path it matches the same text stay in one split.

    Raises:
        ConfigError: a value outside these.
        DataError: a folder that is not there or holds no JSON file.
    """

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
    ) -> None:
        require_split(split)
        if isinstance(class_names, str):
            raise ConfigError(f"dataset.class_names={class_names} is not a list: write dataset.class_names=[sky,road]")
        division = Division(val_fraction, test_fraction, split_seed, group)
        self.classes = Classes.create(class_names, palette)
        self._background = background_id(self.classes, unlabeled)
        self._ids = {name: index for index, name in enumerate(self.classes.names)}
        self._ids[IGNORED_LABEL] = self.classes.ignore_index
        for label, target in (label_map or {}).items():
            self._ids[str(label)] = class_id(target, self.classes, f"dataset.label_map.{label}")
        self._line_width = line_width
        self._root = require_root(root)
        divided = (self._root / "train").is_dir()
        folder = require_folder(self._root / split, f"the {split} files of dataset.root") if divided else self._root
        files = sorted(path for path in folder.rglob("*.json") if not path.name.startswith("."))
        if not files:
            raise DataError(f"{folder}: holds no JSON file of labelme")
        if not divided:
            keys = [path.relative_to(self._root).as_posix() for path in files]
            files = division.choose(files, keys, split, str(folder))
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def load(self, index: int) -> Sample:
        source = self._files[index]
        record = read_json(source)
        path = self._image_path(record, source)
        image = read_image(path)
        size = (image.shape[0], image.shape[1])
        told = (record.get("imageHeight") or size[0], record.get("imageWidth") or size[1])
        if told != size:
            raise DataError(
                f"{path}: {size[1]} x {size[0]} pixels, but {source} was drawn on {told[1]} x {told[0]}: "
                "annotations must fit the image"
            )
        mask = empty_mask(size, self._background, self.classes)
        for shape in entry(record, "shapes", list, source):
            mask[self._area(shape, size, source)] = self._id(entry(shape, "label", str, source), source)
        return Sample(image, mask, str(path))

    def files(self, index: int) -> Sequence[Path]:
        source = self._files[index]
        try:
            return self._image_path(read_json(source), source), source
        except DataError:  # told when it is loaded
            return (source,)

    def _image_path(self, record: Any, source: Path) -> Path:
        """The image beside the JSON file, or where the file says, but below the root."""
        name = entry(record, "imagePath", str, source)
        beside = source.parent / PureWindowsPath(name).name  # of a path with slashes or backslashes
        told = source.parent / name.replace("\\", "/") if "\0" not in name else beside
        if not beside.is_file() and told.resolve().is_relative_to(self._root.resolve()) and told.is_file():
            return told
        return beside

    def _area(self, shape: Any, size: tuple[int, int], source: Path) -> NDArray[np.bool_]:
        kind, points = shape.get("shape_type") or "polygon", entry(shape, "points", list, source)
        if kind == "mask":
            return stored_mask(entry(shape, "mask", str, source), points, size, source)
        return drawn(size, kind, points, source, self._line_width)

    def _id(self, label: str, source: Path) -> int:
        if label not in self._ids:
            raise DataError(
                f"{source}: label '{label}' is no class: add it to dataset.class_names, or "
                f'"dataset.label_map={{{label}:ignore}}".{did_you_mean(label, self.classes.names)}'
            )
        return self._ids[label]


def stored_mask(
    encoded: str, points: Sequence[Sequence[float]], size: tuple[int, int], source: Path
) -> NDArray[np.bool_]:
    """A shape of type mask: a PNG in base64, whose upper left corner lies at the first point.

    Raises:
        DataError: no such picture, or no point.
    """
    try:
        with Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)), formats=("PNG",)) as picture:
            if picture.width > size[1] + 1 or picture.height > size[0] + 1:  # corners count as pixels
                raise DataError(f"{source}: a mask of {picture.width} x {picture.height} pixels exceeds its image")
            part = np.asarray(picture.convert("L")) > 0
        left, top = int(points[0][0]), int(points[0][1])
    except DataError:
        raise
    except (binascii.Error, OSError, SyntaxError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise DataError(f"{source}: a mask that cannot be decoded ({error})") from None
    area = np.zeros(size, bool)
    top_in, left_in = max(top, 0), max(left, 0)
    inside = part[top_in - top :, left_in - left :][: max(0, size[0] - top_in), : max(0, size[1] - left_in)]
    area[top_in : top_in + inside.shape[0], left_in : left_in + inside.shape[1]] = inside
    return area

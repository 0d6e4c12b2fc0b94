"""YOLO polygons: a text file of polygons per image, and a YAML file of classes and splits.

Source: docs.ultralytics.com, "Instance segmentation datasets overview"; CVAT, Label Studio and Roboflow export it too.
Layout: ``data.yaml`` with ``path``, ``train``, ``val``, ``test`` (folders, lists of images, or lists of either) and
``names``; images in ``images/``, labels in ``labels/`` in place of it. A line is a class and the corners of a polygon:
``0 0.68 0.48 0.67 0.48 0.67 0.49``, as fractions of width and height. Where polygons overlap, the smaller one is in
front.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from segnet.classes import Classes, is_background
from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.datasets.clipping import Point
from segnet.data.datasets.fronts import InstanceCanvas
from segnet.data.datasets.pairing import require_root, require_split
from segnet.data.datasets.polygon_fill import fill_polygon
from segnet.data.datasets.splits import Division
from segnet.data.datasets.text_files import MAX_TEXT_BYTES, decode, read_bytes
from segnet.data.datasets.yolo_files import YOLOFiles
from segnet.errors import ConfigError, DataError
from segnet.images.files import read_image
from segnet.images.values import checked_value_range

TOLERANCE = 0.01  # tolerated distance of coordinates outside 0-1, as in Ultralytics; they are clipped


class YOLO(SegmentationDataset):
    """YOLO's polygons as classes; 0 is background.

    Args:
        split: "train", "val" or "test".
        root: folder of the dataset.
        data: the YAML file in it.
        val_fraction: fraction of the train images, if the YAML file names none for val.
        split_seed: of that random choice.
        group: regular expression; images with the same matched text in their paths stay in one split.
        value_range: [low, high], the stored values that become black and white; null: 0 and the largest of their type.

    Raises:
        ConfigError: an unknown split.
        DataError: a file or folder that is missing, a YAML file that is none of YOLO's, or images of one name.
    """

    classes_from_files = True
    has_value_range = True

    def __init__(
        self,
        split: str,
        root: str,
        data: str = "data.yaml",
        val_fraction: float = 0.2,
        split_seed: int = 0,
        group: str | None = None,
        value_range: Sequence[float] | None = None,
    ) -> None:
        require_split(split)
        division = Division(val_fraction, 0.0, split_seed, group)
        self.value_range = checked_value_range(value_range)
        files = YOLOFiles(require_root(root), data, self.notes)
        names = files.class_names()
        own = [name for name in dict.fromkeys(names.values()) if not is_background(name)]
        self.classes = Classes.create(["background", *own], None, max(255, len(own) + 1))
        self._class_of = {
            number: 0 if is_background(name) else self.classes.names.index(name) for number, name in names.items()
        }
        self._source = files.source
        if split == "val" and not files.has("val"):
            images = files.without_held_out(files.images("train"))
        elif split == "test" and not files.has("test"):
            raise ConfigError(f"split=test is not in {files.source}: add test: to it")
        else:
            images = files.images(split)
        if split == "train":
            images = files.without_held_out(images)
        labels = files.labels(images)
        if split != "test" and not files.has("val"):
            keys = [image.relative_to(files.root).as_posix() for image in images]
            images = division.choose(images, keys, split, str(files.source), self.notes)
        self._samples = [(image, labels[image]) for image in images]

    def __len__(self) -> int:
        return len(self._samples)

    def load(self, index: int) -> Sample:
        image_path, label_path = self._samples[index]
        image = read_image(image_path, self.value_range)
        size = (image.shape[0], image.shape[1])
        canvas = InstanceCanvas(size, 0, self.classes)
        if label_path.is_file():
            for where, number, polygon in read_polygons(label_path, self._class_of, self._source):
                canvas.add(
                    fill_polygon([(x * size[1], y * size[0]) for x, y in polygon], size, where), self._class_of[number]
                )
        return Sample(image, canvas.mask(), str(image_path))

    def files(self, index: int) -> Sequence[Path | str]:
        image, label = self._samples[index]
        if label.is_file():
            return image, label, self._source
        return image, self._source, f"without {label.name}"  # the label may be added later


def read_polygons(path: Path, classes: Mapping[int, int], source: Path) -> list[tuple[str, int, list[Point]]]:
    """Read the polygons of a label file: line, class, and corners as fractions of width and height.

    Args:
        classes: numbers of classes that exist.
        source: the YAML file that names them, for errors.

    Raises:
        DataError: a line that is no polygon of a known class.
    """
    polygons = []
    if os.path.getsize(path) == 0:
        return []  # a background image
    text = decode(read_bytes(path, MAX_TEXT_BYTES), path)
    for number, line in enumerate(text.splitlines(), 1):
        where, values = f"{path}, line {number}", line.split()
        if not values:
            continue
        numbers = [_finite_number(value) for value in values]
        if None in numbers:
            wrong = values[numbers.index(None)][:40]
            raise DataError(f"{where}: '{wrong}' is not a finite number: a line is a class and the corners x y x y ...")
        label, *coordinates = [value for value in numbers if value is not None]
        if len(coordinates) == 4:
            raise DataError(f"{where}: is a box, not a polygon: export segmentations, or remove the line")
        if len(coordinates) < 6 or len(coordinates) % 2:
            raise DataError(f"{where}: has {len(coordinates)} coordinates: a polygon has three or more corners x y")
        if not label.is_integer() or int(label) not in classes:
            raise DataError(f"{where}: class {values[0]} is not in the names of {source}")
        if min(coordinates) < -TOLERANCE or max(coordinates) > 1 + TOLERANCE:
            wrong = f"{min(coordinates):g} to {max(coordinates):g}"
            raise DataError(f"{where}: coordinates are {wrong}: they must be fractions of width and height, 0-1")
        inside = [min(max(value, 0.0), 1.0) for value in coordinates]
        polygons.append((where, int(label), list(zip(inside[::2], inside[1::2], strict=True))))
    return polygons


def _finite_number(text: str) -> float | None:
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None

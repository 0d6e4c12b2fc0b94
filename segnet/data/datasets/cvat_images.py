"""CVAT's export "CVAT for images 1.1" with images: polygons, masks, boxes and ellipses in an XML file.

Source: docs.cvat.ai, "XML annotation format". Layout: ``annotations.xml``, and the images in ``images/``, with a
folder per subset in a project. Shapes with a higher z_order are in front; of equal ones, the later shape is in front.
Pixels without a shape are background. Shapes without an area (polylines, points, skeletons, cuboids) are left out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from segnet.components import did_you_mean
from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.datasets.annotations import Area, background_id, empty_mask, require_size
from segnet.data.datasets.cvat_subsets import DEFAULT, UNUSED, splits_of_subsets
from segnet.data.datasets.file_names import Files, normal_form
from segnet.data.datasets.json_records import Record, as_integer
from segnet.data.datasets.outlines import points_of
from segnet.data.datasets.polygon_fill import ellipse, fill_corners, fill_polygon, turned
from segnet.data.datasets.run_lengths import decode_row_runs
from segnet.data.datasets.splits import Division
from segnet.data.datasets.supervisely import project_classes
from segnet.data.datasets.xml_records import Element, read_xml, record_of
from segnet.errors import ConfigError, DataError
from segnet.images.files import read_image
from segnet.images.values import ValueRange

XML_FILE = "annotations.xml"
AREAS = ("polygon", "mask", "box", "ellipse")


class CVATImages(SegmentationDataset):
    """CVAT's shapes as masks; the options are those of `segnet.data.datasets.cvat`."""

    classes_from_files = True
    has_value_range = True

    def __init__(
        self,
        split: str,
        root: Path,
        ignore: Sequence[str],
        subsets: Mapping[str, Sequence[str]] | None,
        division: Division,
        value_range: ValueRange | None,
    ) -> None:
        self.value_range = value_range
        self._source = root / XML_FILE
        top = read_xml(self._source, "annotations")
        if any(child.tag == "track" for child in top.children):
            raise DataError(
                f'{self._source}: has tracks of a video: export "CVAT for images 1.1" or "Segmentation mask 1.1"'
            )
        labels = _labels(top)
        for name in ignore:
            if name not in labels:
                raise ConfigError(f"dataset.ignore: '{name}' is not a label of the export.{did_you_mean(name, labels)}")
        kept = [{"title": name, "color": color} for name, color in labels.items() if name not in ignore]
        self.classes = project_classes(Record({"classes": kept}, self._source), add_background=True)
        self._background = background_id(self.classes, None)
        self._id_of = {name: index for index, name in enumerate(self.classes.names)}
        self._id_of |= dict.fromkeys(ignore, self.classes.ignore_index)
        self._files = Files(root / "images" if (root / "images").is_dir() else root)
        samples, held = self._find(top, subsets)
        keys = [record.text("name") for record, _, _ in samples]
        self._samples = division.choose(samples, keys, split, str(self._source), self.notes, held)

    def _find(
        self, top: Element, subsets: Mapping[str, Sequence[str]] | None
    ) -> tuple[list[tuple[Record, Path, list[Record]]], dict[int, str]]:
        """Return all images with their files and shapes, and the splits given by subsets.

        Raises:
            DataError: no image, one file for two images, or subsets of unclear meaning.
        """
        elements = list(top.find("image"))
        if not elements:
            raise DataError(f"{self._source}: names no image")
        names = [element.attributes.get("subset", "").strip() or DEFAULT for element in elements]
        owners = splits_of_subsets(dict.fromkeys(names, self._source), subsets)
        samples: list[tuple[Record, Path, list[Record]]] = []
        held: dict[int, str] = {}
        owner_of: dict[Path, str] = {}
        for index, (element, subset) in enumerate(zip(elements, names, strict=True)):
            owner = owners[subset]
            record = record_of(element, self._source, None, index)
            if owner == UNUSED:
                self.notes.add(self._source, "image", "left out, dataset.subsets does not name its subset", subset)
                continue
            path = self._image(record.text("name"), subset)
            if path in owner_of:
                raise DataError(f"{self._source}: {record.place} and {owner_of[path]} are one file, {path}")
            owner_of[path] = record.place
            if owner is not None:
                held[len(samples)] = owner
            samples.append((record, path, self._shapes(element, record)))
        return samples, held

    def _image(self, name: str, subset: str) -> Path:
        """Return the file of an image: in the folder of its subset, or directly in the folder of images."""
        if subset != DEFAULT:
            path = self._files.find(f"{subset}/{name}", self._source)
            if path.is_file():
                return path
        return self._files.find(name, self._source)

    def _shapes(self, element: Element, image: Record) -> list[Record]:
        """Return the shapes of an image from back to front; shapes without an area are noted."""
        found = []
        for index, child in enumerate(element.children):
            if child.tag in AREAS:
                shape = record_of(child, self._source, image, index)
                found.append((shape.integer("z_order") if shape.has("z_order") else 0, index, child.tag, shape))
            else:
                self.notes.add(self._source, child.tag, "left out, without an area", image.text("name"))
        if not element.children:
            self.notes.add(self._source, "image", "without shapes, taken as background", image.text("name"))
        return [shape for *_, shape in sorted(found, key=lambda entry: entry[:2])]

    def __len__(self) -> int:
        return len(self._samples)

    def load(self, index: int) -> Sample:
        record, path, shapes = self._samples[index]
        image = read_image(path, self.value_range)
        size = (image.shape[0], image.shape[1])
        require_size(record, "height", "width", size, path)
        mask = empty_mask(size, self._background, self.classes)
        for shape in shapes:
            label = normal_form(shape.text("label").strip())
            if label not in self._id_of:
                raise DataError(
                    f"{self._source}: label '{label}' of {shape.place} is not in its <labels>: export again"
                )
            mask[_draw(shape, size)] = self._id_of[label]
        return Sample(image, mask, str(path))

    def files(self, index: int) -> Sequence[Path]:
        return self._samples[index][1], self._source


def _labels(top: Element) -> dict[str, str]:
    """Return the names and colors of the labels, without the points of skeletons."""
    found: dict[str, str] = {}
    for place in ("task", "project", "job"):
        for label in top.find("meta", place, "labels", "label"):
            if not label.value("parent"):
                found[normal_form(label.value("name"))] = label.value("color")
    return found


def _draw(shape: Record, size: tuple[int, int]) -> Area:
    """Return the pixels of a shape: (height, width) bool.

    Raises:
        DataError: invalid coordinates, or run lengths of another size.
    """
    where = f"{shape.source}: {shape.place}"
    if shape.has("rle"):
        return _draw_mask(shape, size, where)
    if shape.has("points"):
        pairs = [point.split(",") for point in shape.text("points").split(";") if point.strip()]
        return fill_corners(points_of(Record({"points": pairs, "id": shape.get("id")}, where)), size, where)
    if shape.has("rx"):
        center = shape.number("cx"), shape.number("cy")
        outline = ellipse(shape.number("rx"), shape.number("ry"))
    else:
        left, top, right, bottom = (shape.number(key) for key in ("xtl", "ytl", "xbr", "ybr"))
        center, across, down = ((left + right) / 2, (top + bottom) / 2), (right - left) / 2, (bottom - top) / 2
        outline = [(-across, -down), (across, -down), (across, down), (-across, down)]
    rotation = shape.number("rotation") if shape.has("rotation") else 0.0  # around the center
    return fill_polygon(turned(outline, rotation, center), size, where)


def _draw_mask(shape: Record, size: tuple[int, int], where: str) -> Area:
    """Decode a mask within a box: run lengths along its rows, zeros first."""
    left, top, width, height = (shape.integer(key) for key in ("left", "top", "width", "height"))
    if left < 0 or top < 0 or width < 1 or height < 1 or left + width > size[1] or top + height > size[0]:
        raise DataError(
            f"{where} is a mask of {width} x {height} pixels at ({left}, {top}), outside of its image of {size[1]} x "
            f"{size[0]}"
        )
    counts = [as_integer(count) for count in shape.text("rle").split(",") if count.strip()]
    area = np.zeros(size, bool)
    area[top : top + height, left : left + width] = decode_row_runs(counts, (height, width), where)
    return area

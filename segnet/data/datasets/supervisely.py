"""Supervisely's JSON export: bitmaps, polygons with holes and rectangles.

Source: docs.supervisely.com, "Supervisely annotation format". Layout: ``meta.json`` names the classes; each dataset is
a folder with images in ``img/`` and a JSON file ``ann/IMAGE.json`` for each. Later objects lie in front. Datasets in
folders named after a split, and images with a tag named so, belong to that split; the others are divided.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from segnet.classes import Classes, is_background
from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.datasets.annotations import Area, background_id, empty_mask, require_size
from segnet.data.datasets.file_names import normal_form, walk
from segnet.data.datasets.json_records import Record, read_record
from segnet.data.datasets.outlines import draw_shape, points_of, stored_mask
from segnet.data.datasets.pairing import is_image, refuse, require_root, require_split
from segnet.data.datasets.splits import SPLIT_OF_NAME, Division, held_out
from segnet.errors import DataError
from segnet.images.files import read_image
from segnet.images.values import checked_value_range

META, IMAGES, ANNOTATIONS = "meta.json", "img", "ann"
# Geometry -> the shape that `outlines` draws.
GEOMETRIES = {
    "polygon": "polygon",
    "rectangle": "rectangle",
    "line": "linestrip",
    "polyline": "linestrip",
    "point": "point",
}


class Supervisely(SegmentationDataset):
    """Supervisely's objects as masks, with the project's classes.

    Args:
        split: "train", "val" or "test".
        root: folder of the project, which holds ``meta.json``.
        unlabeled: class of pixels without an object, or "ignore"; None: a class named background, which is added as the
            first class if the project has none.
        val_fraction, test_fraction: fractions of the images, for splits without a folder or tag.
        split_seed: of that random choice.
        group: regular expression; images with the same matched text in their paths stay in one split.
        value_range: [low, high], the stored values that become black and white; null: 0 and the largest of their type.

    Raises:
        ConfigError: an unknown split, or an impossible fraction.
        DataError: a file or folder that is missing, or annotations that are not of this format.
    """

    classes_from_files = True
    has_value_range = True

    def __init__(
        self,
        split: str,
        root: str,
        unlabeled: str | None = None,
        val_fraction: float = 0.2,
        test_fraction: float = 0.0,
        split_seed: int = 0,
        group: str | None = None,
        value_range: Sequence[float] | None = None,
    ) -> None:
        require_split(split)
        division = Division(val_fraction, test_fraction, split_seed, group)
        self.value_range = checked_value_range(value_range)
        folder = require_root(root)
        self._meta = folder / META
        self.classes = project_classes(read_record(self._meta), add_background=unlabeled is None)
        self._background = background_id(self.classes, unlabeled)
        samples = self._find(folder)
        keys = [image.relative_to(folder).as_posix() for image, _ in samples]
        held = held_out(keys) | self._tagged(samples)
        self._samples = division.choose(samples, keys, split, str(folder), self.notes, held)

    def _find(self, folder: Path) -> list[tuple[Path, Path]]:
        """Return all images with their JSON files.

        Raises:
            DataError: there is none, or a JSON file has no image.
        """
        paths = walk(folder, self.notes, lambda path: is_image(path) or path.suffix.lower() == ".json")
        images = {_place(path): path for path in paths if path.parent.name == IMAGES and is_image(path)}
        found: list[tuple[Path, Path]] = []
        for path in paths:
            if path.parent.name == ANNOTATIONS and path.suffix.lower() == ".json":
                place = (path.parent.parent, normal_form(path.stem))
                if place in images:
                    found.append((images.pop(place), path))
                else:
                    refuse(f"{path}: has no image {path.parent.parent / IMAGES / path.stem}: complete the folder")
            elif path.parent.name == IMAGES and not is_image(path):
                self.notes.add(path.parent, "file", "left out, no image by its ending", path.name)
            elif is_image(path) and path.parent.name != IMAGES:
                self.notes.add(folder, "image", f"left out, not in a folder {IMAGES}", path.relative_to(folder))
        for path in images.values():
            self.notes.add(path.parent, "image", "left out, it has no JSON file", path.name)
        if not found:
            raise DataError(f"{folder}: has no {ANNOTATIONS}/*.json with images in {IMAGES}: name the project's folder")
        return sorted(found)

    def _tagged(self, samples: Sequence[tuple[Path, Path]]) -> dict[int, str]:
        """Return the splits of images with a tag named after a split."""
        splits: dict[int, str] = {}
        for index, (_, source) in enumerate(samples):
            try:
                record = read_record(source)
                tags = [tag.text("name") for tag in record.records("tags")] if record.has("tags") else []
            except DataError:  # reported on loading
                continue
            named = {SPLIT_OF_NAME[tag.lower()] for tag in tags if tag.lower() in SPLIT_OF_NAME}
            if len(named) > 1:
                refuse(f"{source}: has tags of the splits {' and '.join(sorted(named))}: keep one")
            splits |= dict.fromkeys([index], named.pop()) if len(named) == 1 else {}
        return splits if len(splits) < len(samples) or len(set(splits.values())) > 1 else {}

    def __len__(self) -> int:
        return len(self._samples)

    def load(self, index: int) -> Sample:
        path, source = self._samples[index]
        image = read_image(path, self.value_range)
        size = (image.shape[0], image.shape[1])
        record = read_record(source)
        if record.has("size"):
            require_size(record.record("size"), "height", "width", size, path)
        mask = empty_mask(size, self._background, self.classes)
        for entry in record.records("objects"):
            name = normal_form(entry.text("classTitle").strip())
            if name not in self.classes.names:
                raise DataError(f"{source}: class '{name}' of {entry.place} is not in {META}: export the project again")
            mask[_area(entry, size)] = self.classes.names.index(name)
        return Sample(image, mask, str(path))

    def files(self, index: int) -> Sequence[Path]:
        return (*self._samples[index], self._meta)


def project_classes(meta: Record, add_background: bool) -> Classes:
    """Return the classes of a project, in their order, with their colors.

    Args:
        add_background: whether a class background comes first, if none has that name.

    Raises:
        DataError: no classes, or two of one name.
    """
    colors: dict[str, str] = {}
    for entry in meta.records("classes"):
        name = normal_form(entry.text("title").strip())
        if name in colors:
            raise DataError(f"{meta.source}: two classes are named '{name}': rename one")
        colors[name] = str(entry.get("color"))
    if not colors:
        raise DataError(f"{meta.source}: names no class")
    if add_background and not any(map(is_background, colors)):
        colors = {"background": "#000000", **colors}
    palette = [_rgb_of_hex(color) for color in colors.values()]
    known = [color for color in palette if color is not None]
    distinct = len(known) == len(palette) == len(set(known))
    return Classes.create(list(colors), known if distinct else None, max(255, len(colors)))


def _area(entry: Record, size: tuple[int, int]) -> Area:
    """Draw the pixels of an object."""
    kind = entry.text("geometryType")
    if kind == "bitmap":
        bitmap = entry.record("bitmap")
        corner = points_of(Record({"origin": [bitmap.get("origin")], "id": entry.get("id")}, entry.source), "origin")[0]
        return stored_mask(bitmap.text("data"), corner, size, entry, compressed=True)[0]
    if kind not in GEOMETRIES:
        raise entry.error("geometryType", f"bitmap or one of {', '.join(GEOMETRIES)}: convert it in Supervisely")
    outline = entry.record("points")
    area = draw_shape(size, GEOMETRIES[kind], points_of(outline, "exterior"), entry, line_width=1)
    for hole in outline.items("interior") if outline.has("interior") else []:
        corners = points_of(Record({"points": hole}, entry.source), "points")
        area &= ~draw_shape(size, "polygon", corners, entry)
    return area


def _place(image: Path) -> tuple[Path, str]:
    return image.parent.parent, normal_form(image.name)


def _rgb_of_hex(color: str) -> tuple[int, int, int] | None:
    """Convert "#FF8000" to RGB; None if it is not a color."""
    if not re.fullmatch("#[0-9a-fA-F]{6}", color):
        return None
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)

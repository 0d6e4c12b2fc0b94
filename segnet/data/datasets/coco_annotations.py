"""Common parts of COCO's annotation files: categories, images, and the ids that connect them.

Source: cocodataset.org, "Data format". Other tools write ids as text, list images twice, give two categories one name.
What has one meaning is read; what has none is refused.
"""

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segnet.data.datasets.file_names import Files, normal_form, walk
from segnet.data.datasets.json_records import Id, Record, shown
from segnet.data.datasets.notes import Notes
from segnet.data.datasets.pairing import is_image, refuse
from segnet.errors import DataError

ROOT_PARENTS = (None, "", "none")  # parents of Roboflow's root category


@dataclass(frozen=True, slots=True)
class Category:
    """A category.

    Attributes:
        id: as annotations give it.
        name: of its class; two categories may share it.
        color: RGB, 0-255; None: it has none.
    """

    id: Id
    name: str
    color: tuple[int, int, int] | None
    parent: str | None


def read_categories(record: Record, notes: Notes) -> list[Category]:
    """Return the categories of a file, in the order of their ids.

    Raises:
        DataError: there is none, or two names share one id.
    """
    found: dict[Id, Category] = {}
    for entry in record.records("categories"):
        name = normal_form(entry.text("name").strip())
        parent = entry.get("supercategory")
        category = Category(
            entry.identifier("id"), name, _color(entry), parent.strip() if isinstance(parent, str) else None
        )
        known = found.setdefault(category.id, category)
        if known.name != name:
            raise DataError(f"{record.source}: categories '{known.name}' and '{name}' share the id {category.id}")
    if not found:
        raise DataError(f"{record.source}: has no category")
    categories = [found[number] for number in sorted(found, key=lambda number: (isinstance(number, str), number))]
    first: set[str] = set()
    for category in categories:
        if category.name in first:
            notes.add(record.source, "category", "merged with another one of the same name", category.name)
        first.add(category.name)
    return categories


def class_names(categories: Sequence[Category]) -> list[str]:
    """Return the unique names of the categories, in their order."""
    return list(dict.fromkeys(category.name for category in categories))


def root_category(categories: Sequence[Category]) -> Category | None:
    """Return Roboflow's root category above all others, or None. It is a class only if annotated."""
    for category in categories:
        others = [other for other in categories if other.id != category.id]
        if category.parent in ROOT_PARENTS and others and all(other.parent == category.name for other in others):
            return category
    return None


def _color(entry: Record) -> tuple[int, int, int] | None:
    value = entry.get("color")
    if not isinstance(value, list) or len(value) != 3:
        return None
    if not all(isinstance(part, int) and not isinstance(part, bool) and 0 <= part <= 255 for part in value):
        return None
    return value[0], value[1], value[2]


def read_images(record: Record, notes: Notes) -> dict[Id, Record]:
    """Return the images of a file by id.

    Raises:
        DataError: there is none, two of them share an id, or a file has two ids.
    """
    found: dict[Id, Record] = {}
    id_of: dict[str, Id] = {}
    for entry in record.records("images"):
        number, name = entry.identifier("id"), file_key(image_name(entry))
        if number in found:
            if file_key(image_name(found[number])) != name:
                raise DataError(
                    f"{record.source}: images '{image_name(found[number])}' and '{name}' share the id {number}"
                )
            notes.add(record.source, "image", "listed more than once, counted once", name)
            continue
        if name in id_of:
            raise DataError(f"{record.source}: '{name}' is listed as images {id_of[name]} and {number}: merge them")
        found[number], id_of[name] = entry, number
    if not found:
        raise DataError(f"{record.source}: names no image")
    return found


def image_name(entry: Record) -> str:
    """Return the name of an image's file: file_name, or from the URL coco_url.

    Raises:
        DataError: it has neither.
    """
    return entry.text("coco_url" if entry.has("coco_url") and not entry.has("file_name") else "file_name")


def locate(images: Mapping[Id, Record], files: Files) -> dict[Id, Path]:
    """Return the files of images; names without a file are left out here, and reported on loading.

    Raises:
        DataError: two images share a file.
    """
    place_of: dict[Id, Path] = {}
    owner_of: dict[Path, Id] = {}
    for number, entry in images.items():
        try:
            path = files.find(image_name(entry), Path(entry.source))
        except DataError:
            continue
        other = owner_of.setdefault(path, number)
        if other != number:
            raise DataError(
                f"{entry.source}: images {other} ('{image_name(images[other])}') and {number} ('{image_name(entry)}') "
                f"are one file, {path}: keep the folders of the export"
            )
        place_of[number] = path
    return place_of


def file_key(name: str) -> str:
    """Normalize a file name for comparison: slashes, and the Unicode form NFC."""
    return normal_form(posixpath.normpath(name.replace("\\", "/")))


class Strays:
    """Collects annotations that belong to no image of the file, to refuse them in one error."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._number = 0
        self._first = ""

    def add(self, annotation: Record) -> None:
        self._number += 1
        self._first = self._first or f"{annotation.place} with image_id {shown(annotation.get('image_id'))}"

    def refuse(self) -> None:
        """Raises:
        DataError: there is one.
        """
        if self._number:
            what = "annotation belongs" if self._number == 1 else "annotations belong"
            refuse(
                f"{self._source}: {self._number:,} {what} to no image of the file, first {self._first}: correct the ids"
            )


def note_unnamed(folder: Path, named: Iterable[Path], source: Path, notes: Notes) -> None:
    """Count the files of a folder of images that an annotation file does not name."""
    named = set(named)
    for path in walk(folder, notes, is_image):
        if path.name != source.name and path not in named:
            what = "image" if is_image(path) else "file"
            notes.add(folder, what, f"left out, {source.name} does not name it", path.relative_to(folder))

"""Tasks of Label Studio's JSON exports (JSON and JSON-MIN), and their image files.

Source: labelstud.io, "Export annotations" and "Cloud storage". A task names its image by a path, an address in cloud
storage, a signed web address or an upload of Label Studio. Only its tail says which local file it is.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from segnet.data.datasets.json_records import Id, Record, read_records
from segnet.data.datasets.label_studio_regions import Region, read_region
from segnet.data.datasets.pairing import is_image
from segnet.errors import DataError
from segnet.system.files import is_hidden
from segnet.system.path_names import TailIndex

UPLOADS = ("data", "upload")  # folders of Label Studio itself, before the number of a project
PREFIX_LENGTH = len("61148fa2-")  # Label Studio puts it before the names of uploaded files
# Types of results that draw nothing.
NO_REGION = frozenset(["choices", "datetime", "number", "pairwise", "ranker", "rating", "taxonomy", "textarea"])


@dataclass(frozen=True, slots=True)
class LabelingTask:
    """A task of an export.

    Attributes:
        image: path or URL of its image, as stored.
        empty: annotations without regions.
        skipped: annotations cancelled by their author.
        drawn: annotation with regions -> its drawable regions.
        others: annotation -> kinds of its other regions.
    """

    image: str
    empty: frozenset[int]
    skipped: frozenset[int]
    drawn: Mapping[int, Sequence[Region]]
    others: Mapping[int, Sequence[str]]


def export_file(folder: Path) -> Path:
    """Return the only JSON file of a folder.

    Raises:
        DataError: there is none, or there are several.
    """
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() == ".json" and not is_hidden(path.name)]
    if len(paths) != 1:
        raise DataError(f"{folder}: has {len(paths)} JSON files, not one: put the JSON export of the project there")
    return paths[0]


def read_tasks(source: Path) -> dict[Id, LabelingTask]:
    """Return the tasks of an export by number.

    Raises:
        DataError: it is no list of tasks, or one number has two tasks.
    """
    tasks: dict[Id, LabelingTask] = {}
    for record in read_records(source):
        number = record.identifier("id")
        if number in tasks:
            raise DataError(f"{source}: two tasks have the id {number}: export the project again")
        tasks[number] = _task(record)
    return tasks


def _task(record: Record) -> LabelingTask:
    image = _image_field(record.record("data") if record.has("data") else record)
    empty, skipped = set(), set()
    drawn: dict[int, Sequence[Region]] = {}
    others: dict[int, Sequence[str]] = {}
    if record.has("annotations"):
        for annotation in record.records("annotations"):
            number = annotation.integer("id")
            regions, rest = _read_results(annotation.records("result"))
            if annotation.flag("was_cancelled"):
                skipped.add(number)
            elif regions or rest:
                drawn[number], others[number] = regions, rest
            else:
                empty.add(number)
    elif record.has("annotation_id"):  # JSON-MIN: regions are lists under the names of the controls
        number = record.integer("annotation_id")
        lists = [key for key, value in record.values().items() if isinstance(value, list)]
        shapes = [key for key in lists if all(isinstance(value, dict) for value in record.items(key))]
        values = [value for key in shapes for value in record.records(key)]
        regions = [region for value in values if (region := read_region(value, value)) is not None]
        if lists:
            rest = [
                "brush" if value.get("format") == "rle" else "" for value in values if read_region(value, value) is None
            ]
            drawn[number], others[number] = regions, rest
        else:
            empty.add(number)
    return LabelingTask(image, frozenset(empty), frozenset(skipped), drawn, others)


def _read_results(results: Iterable[Record]) -> tuple[list[Region], list[str]]:
    """Return the drawable regions of an annotation, and the kinds of the others.

    With the tag Labels, a region has two results of one id: its shape without a label, and the shape with it.
    """
    found: dict[Id, Region | str] = {}
    for place, result in enumerate(results):
        kind = str(result.get("type") or "")
        if kind in NO_REGION:
            continue
        region = read_region(result.record("value"), result) if result.has("value") else None
        key = result.identifier("id") if result.has("id") else f"#{place}"
        if not isinstance(found.get(key), Region):
            found[key] = region or ("brush" if kind.startswith("brush") else kind)
    regions = [region for region in found.values() if isinstance(region, Region)]
    return regions, [kind for kind in found.values() if isinstance(kind, str)]


def _image_field(data: Record) -> str:
    """Where a task says its image is: "image", or the only value that is a text, or one with an image's ending."""
    if data.has("image"):
        return data.text("image")
    texts = [value for value in data.values().values() if isinstance(value, str)]
    images = [text for text in texts if any(is_image(Path(path.name)) for path in paths_of(text))]
    for found in (images, texts):
        if len(found) == 1:
            return found[0]
    raise data.error("image", "the address of the image")


def paths_of(address: str) -> Iterator[PurePosixPath]:
    """Return the possible paths of a URL, the most literal first; without scheme, host and query."""
    slashes = address.replace("\\", "/")
    yield PurePosixPath(slashes.lstrip("/"))
    try:
        parts = urlsplit(slashes)
        query = parse_qs(parts.query.replace("+", "%2B"))
    except ValueError:  # for example "http://["
        return
    for local in query.get("d", []):  # /data/local-files/?d=folder/a.jpg
        yield PurePosixPath(local.lstrip("/"))
    for encoded in query.get("fileuri", []):  # /tasks/1/presign/?fileuri=..., an address in base64
        try:
            yield PurePosixPath(unquote(urlsplit(base64.b64decode(encoded).decode()).path).lstrip("/"))
        except (binascii.Error, ValueError):
            continue
    for path in (parts.path, unquote(parts.path)):
        yield PurePosixPath(path.lstrip("/"))


class ImageFinder:
    """Finds the images of tasks among local files.

    Args:
        folder: of the images.
        images: all of them.
    """

    def __init__(self, folder: Path, images: Sequence[Path]) -> None:
        self._folder = folder
        self._tails = TailIndex(image.relative_to(folder).as_posix() for image in images)

    def find(self, address: str, where: str) -> Path | None:
        """Return the image of a URL; None if there is none.

        A local path and that of the address must agree, as far as both go.

        Args:
            where: the task, for errors.

        Raises:
            DataError: several fit equally well.
        """
        for path in paths_of(address.strip()):
            if not path.parts:
                continue
            *folders, last = path.parts
            folders = [] if path.parts[:2] == UPLOADS else folders
            for name in [last, *([last[PREFIX_LENGTH:]] if _has_prefix(last) else [])]:
                best = self._tails.fitting([*folders, name])
                if len(best) > 1:
                    first, second = self._folder / best[0], self._folder / best[1]
                    raise DataError(
                        f"{where}: its image '{address}' may be {first} or {second}: keep the folders of the export"
                    )
                if best:
                    return self._folder / best[0]
        return None


def _has_prefix(name: str) -> bool:
    prefix = name[:PREFIX_LENGTH]
    return prefix[-1:] == "-" and all(character in "0123456789abcdef" for character in prefix[:-1]) and len(prefix) == 9

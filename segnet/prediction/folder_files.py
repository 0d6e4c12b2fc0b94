"""Files of annotation tools that hold the predictions of all images of an output folder.

They are made at the end of every run, from the records: of all images whose results are complete, also those of
earlier and concurrent runs. So they are right after an interrupted, repeated or sharded prediction, and after one that
failed in part.
"""

import json
import os
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from segnet.classes import Classes
from segnet.errors import DataError
from segnet.inference.annotations.coco import coco_categories
from segnet.inference.annotations.cvat import BACKGROUND_COLOR, CVATArchive, MaskPair, cvat_labels
from segnet.inference.annotations.label_studio import label_studio_task, labeling_config
from segnet.inference.annotations.yolo import yolo_data
from segnet.prediction.records import FOLDER_FILES, Records
from segnet.system.files import replacing

LABELS = "labels"  # entry of a record: names and colors of the model's classes
WEB_PREFIXES = ("/", "http://", "https://")
STDIN = "-"  # source of an image from stdin


@dataclass(frozen=True, slots=True)
class FolderSettings:
    """Settings of the files for all images.

    Attributes:
        classes: the classes of the model.
        image_root: folder that Label Studio serves; the paths of images in it are relative to it.
        image_url: address of that folder in Label Studio.
    """

    classes: Classes
    image_root: Path
    image_url: str


@dataclass(frozen=True, slots=True)
class _Entry:
    """An image in such a file.

    Attributes:
        name: path of the image without extension, with slashes.
        source: path or URL of the image.
        part: file with its results.
        record: the record of its results.
    """

    name: str
    source: str
    part: Path
    record: dict[str, Any]


def labels_of(classes: Classes) -> list[list[Any]]:
    """Names and colors of classes, as a record stores them."""
    return [[name, list(color)] for name, color in zip(classes.names, classes.palette, strict=True)]


def frame_file(records: Records, frame_name: str) -> str:
    """Path of the image of a frame of a video; segnet does not write it."""
    return os.path.abspath(records.folder / f"{frame_name}.png")


def check_folder_files(records: Records, kinds: Sequence[str], classes: Classes, names: Collection[str]) -> None:
    """Check, before any work, that the files of these kinds can hold the results of this run.

    Args:
        records: the records of the output folder.
        kinds: from `segnet.choices.FOLDER_KINDS`.
        classes: the classes of the model.
        names: names of the results of this run.

    Raises:
        DataError: a file of something else exists, or the folder has results of other classes.
        ConfigError: a class name that CVAT cannot read.
    """
    if not kinds:
        return
    if "cvat" in kinds:
        cvat_labels(classes)
    done = list(records.done())
    for kind in kinds:
        saved = [(name, record) for name, record in done if kind in record["saved"]]
        for path in (records.folder / file_name for file_name in FOLDER_FILES[kind]):
            if not saved and not records.overwrite and os.path.lexists(path):
                raise DataError(
                    f"{path}: exists already, made by something else; --overwrite replaces it, or use another "
                    "--output FOLDER"
                )
        kept = [(name, record) for name, record in saved if not records.overwrite or name not in names]
        _require_same_labels(records, kind, kept, classes)


def _require_same_labels(
    records: Records, kind: str, saved: Sequence[tuple[str, dict[str, Any]]], classes: Classes
) -> None:
    for name, record in saved:
        if record.get(LABELS) != labels_of(classes):
            raise DataError(
                f"{records.folder / FOLDER_FILES[kind][0]}: holds '{name}' with other classes or colors than this "
                "model's: use another --output FOLDER"
            )


def write_folder_files(records: Records, kinds: Sequence[str], settings: FolderSettings) -> list[tuple[Path, int]]:
    """Write the files of these kinds.

    With concurrent predictions, the last one writes the results of all.

    Returns:
        The file to import, and its number of images, of each kind with results.

    Raises:
        DataError: results of other classes, an image that Label Studio does not serve, or damaged results.
        MachineError: a file cannot be written.
    """
    written = []
    for kind in kinds:
        with records.locked(kind):
            saved = [(name, record) for name, record in records.done() if kind in record["saved"]]
            _require_same_labels(records, kind, saved, settings.classes)
            entries = [entry for name, record in saved for entry in _entries(records, kind, name, record)]
            if entries:
                paths = [records.folder / file_name for file_name in FOLDER_FILES[kind]]
                _WRITE[kind](paths, entries, settings)
                written.append((paths[0], len(entries)))
    return written


def _entries(records: Records, kind: str, name: str, record: dict[str, Any]) -> Iterator[_Entry]:
    """Return the entry of an image, or those of the frames of a video."""
    part = records.target(name, kind)
    if part.is_file():
        yield _Entry(PurePath(name).as_posix(), record["source"], part, record)
        return
    for number in range(1, record.get("frames", 0) + 1):
        frame_name = f"{name}/{number:06d}"
        part = records.target(frame_name, kind)
        if part.is_file():
            yield _Entry(PurePath(frame_name).as_posix(), frame_file(records, frame_name), part, record)


def _write_cvat(paths: Sequence[Path], entries: Sequence[_Entry], settings: FolderSettings) -> None:
    archive_path, labels_path = paths
    with (
        replacing(archive_path) as temporary,
        open(temporary, "wb") as file,
        CVATArchive(file, settings.classes) as archive,
    ):
        for entry in entries:
            archive.add(entry.name, _read_masks(entry.part))
    labels = [
        {"name": name, "color": f"#{color[0]:02x}{color[1]:02x}{color[2]:02x}", "attributes": []}
        for name, color in cvat_labels(settings.classes).items()
        if color != BACKGROUND_COLOR
    ]
    _write_text(labels_path, json.dumps(labels, ensure_ascii=False, indent=1))


def _read_masks(part: Path) -> MaskPair:
    try:
        with zipfile.ZipFile(part) as file:
            return MaskPair(*(file.read(member) for member in MaskPair._fields))
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise DataError(f"{part}: is damaged ({error}): delete it, and predict its image again") from None


def _read_part(part: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(part.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{part}: is damaged ({error}): delete it, and predict its image again") from None
    return content


def _write_label_studio(paths: Sequence[Path], entries: Sequence[_Entry], settings: FolderSettings) -> None:
    tasks_path, config_path = paths
    with replacing(tasks_path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for place, entry in enumerate(entries):
            prediction = _read_part(entry.part)
            digest = entry.record["job"].get("checkpoint", "")
            version = f"{entry.record.get('checkpoint', '')} {digest}".strip()
            task = label_studio_task(image_address(entry.source, settings), prediction, version)
            file.write(("[" if place == 0 else ",\n") + json.dumps(task))
        file.write("]\n")
    _write_text(config_path, labeling_config(settings.classes))


def image_address(source: str, settings: FolderSettings) -> str:
    """The address of an image in Label Studio.

    Args:
        source: a URL, which is its address already, or the absolute path of a file.
        settings: the folder that Label Studio serves, and its address.

    Raises:
        DataError: the file is outside of that folder.
    """
    if "://" in source:
        return source
    path = PurePath(os.path.relpath(source, settings.image_root))
    if path.parts[0] == "..":
        raise DataError(
            f"{source}: is outside of --label-studio-root {settings.image_root}: set it to the folder that Label "
            "Studio serves (LOCAL_FILES_DOCUMENT_ROOT)"
        )
    text = path.as_posix()
    return settings.image_url + (quote(os.fsencode(text)) if settings.image_url.startswith(WEB_PREFIXES) else text)


def _write_coco(paths: Sequence[Path], entries: Sequence[_Entry], settings: FolderSettings) -> None:
    """Write one file of all images; images and annotations are numbered in the order of the entries."""
    (path,) = paths
    images: dict[str, dict[str, Any]] = {}
    number = 0
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write('{"annotations": [')
        for entry in entries:
            part = _read_part(entry.part)
            (image,) = part["images"]
            name = _path_in_folder(entry)
            if name in images:
                raise DataError(
                    f"{path}: two images would be called '{name}', one of them is {entry.source}: predict them into "
                    "different --output FOLDERs"
                )
            images[name] = {**image, "id": len(images) + 1, "file_name": name}
            for annotation in part["annotations"]:
                number += 1
                numbered = {**annotation, "id": number, "image_id": images[name]["id"]}
                file.write(("\n" if number == 1 else ",\n") + json.dumps(numbered))
        rest = {"images": list(images.values()), "categories": coco_categories(settings.classes)}
        file.write(f"\n], {json.dumps(rest)[1:]}\n")


def _path_in_folder(entry: _Entry) -> str:
    """The path of an image in the folder that was predicted, with slashes; the end of a URL."""
    if entry.source == STDIN:
        return entry.name
    if "://" in entry.source:
        return PurePath(unquote(urlsplit(entry.source).path)).name or entry.name
    depth = len(PurePath(entry.name).parts)  # names of results keep the subfolders
    return PurePath(*PurePath(entry.source).parts[-depth:]).as_posix()


def _write_yolo(paths: Sequence[Path], entries: Sequence[_Entry], settings: FolderSettings) -> None:
    data_path, list_path = paths
    lines = []
    for entry in entries:
        place = urlsplit(entry.source).path if "://" in entry.source else entry.source
        lines.append(f"./images/train/{entry.name}{PurePath(place).suffix}\n")
    _write_text(list_path, "".join(lines))
    _write_text(data_path, yolo_data(settings.classes))


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


_WRITE: dict[str, Callable[[Sequence[Path], Sequence[_Entry], FolderSettings], None]] = {
    "coco": _write_coco,
    "yolo": _write_yolo,
    "cvat": _write_cvat,
    "label-studio": _write_label_studio,
}

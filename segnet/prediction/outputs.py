"""Output files of a prediction, by kind, and the table of class fractions."""

import csv
import json
import os
import zipfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segnet.classes import Classes
from segnet.errors import printable
from segnet.images.files import write_image, write_mask, write_planes
from segnet.inference.segmentation import Segmentation
from segnet.prediction.records import SHARES, Records
from segnet.system.files import replacing


@dataclass(frozen=True, slots=True)
class Style:
    """Drawing options.

    Attributes:
        only: names of the classes to draw; None: all.
        tolerance: largest distance between a simplified polygon and the exact outline [pixels].
    """

    only: tuple[str, ...] | None = None
    tolerance: float = 0.0


def _mask(path: Path, result: Segmentation, style: Style, source: str) -> None:
    write_mask(path, result.mask, result.classes.palette)


def _planes(path: Path, result: Segmentation, style: Style, source: str) -> None:
    write_planes(path, result.mask, result.classes.names)


def _overlay(path: Path, result: Segmentation, style: Style, source: str) -> None:
    write_image(path, result.overlay(only=style.only))


def _colors(path: Path, result: Segmentation, style: Style, source: str) -> None:
    write_image(path, result.colors(style.only))


def _confidence(path: Path, result: Segmentation, style: Style, source: str) -> None:
    write_image(path, (255 * result.confidence).round().astype(np.uint8))


def _save_probabilities(path: Path, result: Segmentation, style: Style, source: str) -> None:
    assert result.probabilities is not None
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, probabilities=result.probabilities, classes=np.array(result.classes.names))


def _geojson(path: Path, result: Segmentation, style: Style, source: str) -> None:
    _write_json(path, result.to_geojson(style.only, style.tolerance))


def _coco(path: Path, result: Segmentation, style: Style, source: str) -> None:
    _write_json(path, result.to_coco(source, style.only))  # segnet.prediction.folder_files names the image


def _labelme(path: Path, result: Segmentation, style: Style, source: str) -> None:
    place = source if "://" in source else os.path.relpath(source, path.parent)
    _write_json(path, result.to_labelme(place, style.only, style.tolerance))


def _yolo(path: Path, result: Segmentation, style: Style, source: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(result.to_yolo(style.only, style.tolerance), encoding="utf-8", newline="\n")


def _cvat(path: Path, result: Segmentation, style: Style, source: str) -> None:
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as file:
        for member, png in result.cvat_masks(style.only)._asdict().items():
            file.writestr(member, png)


def _label_studio(path: Path, result: Segmentation, style: Style, source: str) -> None:
    _write_json(path, result.to_label_studio(style.only))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


# By kind, from segnet.choices.IMAGE_KINDS. The last argument is the source of the image: a path or a URL.
WRITERS: dict[str, Callable[[Path, Segmentation, Style, str], None]] = {
    "mask": _mask,
    "overlay": _overlay,
    "colors": _colors,
    "confidence": _confidence,
    "probabilities": _save_probabilities,
    "geojson": _geojson,
    "coco": _coco,
    "labelme": _labelme,
    "yolo": _yolo,
    "cvat": _cvat,
    "label-studio": _label_studio,
}
WITHOUT_IGNORED = (
    "coco",
    "labelme",
    "yolo",
    "cvat",
    "label-studio",
)  # their readers take unlabeled pixels as background
PLANES = "planes"
WRITERS_OF_SEVERAL = {PLANES: _planes}  # for models with several classes per pixel
SEVERAL_CLASSES = {"mask": PLANES}  # requested kind -> the kind that they write instead
NEED_PROBABILITIES = frozenset({"confidence", "probabilities", "label-studio"})


def fitting_kinds(kinds: Sequence[str], classes: Classes) -> tuple[str, ...]:
    """Return the kinds of results that a model with these classes writes for the requested ones.

    Raises:
        ConfigError: a format that holds one class per pixel, and classes overlap.
    """
    if "cvat" in kinds:
        classes.require_one_class("--save cvat")
    return tuple(SEVERAL_CLASSES.get(kind, kind) if classes.is_multilabel else kind for kind in kinds)


def write_shares(records: Records, class_names: Sequence[str]) -> Path:
    """Write shares.csv: a row for each input whose record has counted pixels; a column for refused ones if any may be.

    With concurrent predictions, the last one writes all rows.

    Raises:
        MachineError: the file cannot be written.
    """
    path = records.folder / SHARES
    with records.locked(SHARES):
        rows = [(name, record) for name, record in records.done() if "pixels" in record]
        names = list(dict.fromkeys([*class_names, *(key for _, record in rows for key in record["pixels"])]))
        refused = ["refused"] if any("refused" in record for _, record in rows) else []
        with (
            replacing(path) as temporary,
            open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
        ):
            table = csv.writer(file)
            table.writerow(
                map(inert_cell, ["result", "input", "checkpoint", "height", "width", "frames", *refused, *names])
            )
            for name, record in rows:
                numbers = _numbers(record, names, bool(refused))
                table.writerow(map(inert_cell, [name, record["source"], record.get("checkpoint", ""), *numbers]))
    return path


def _numbers(record: dict[str, Any], names: Collection[str], has_refused: bool) -> list[str]:
    counts, refused = record["pixels"], record.get("refused", 0)
    height, width = record.get("size", ("", ""))
    # Classes may overlap: their pixels can be more, or fewer, than those of the image.
    every = height * width * record.get("frames", 1) if "size" in record else sum(counts.values()) + refused
    total = max(1, every)
    shares = [f"{refused / total:.6f}"] if has_refused else []
    shares += [f"{counts[name] / total:.6f}" if name in counts else "" for name in names]
    return [str(height), str(width), str(record.get("frames", 1)), *shares]


def inert_cell(cell: str) -> str:
    """A cell without control characters that spreadsheets do not evaluate as a formula."""
    text = printable(cell, keep="\t")
    return f"'{text}" if cell.lstrip(" \n").startswith(("=", "+", "-", "@", "\t", "\r")) else text

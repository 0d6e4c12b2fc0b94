"""The results of `segnet rank`: rank.json, rank.csv, rank.txt and the page rank.html."""

import csv
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segnet.classes import Classes
from segnet.errors import DataError
from segnet.images.bands import displayable, read_bands
from segnet.images.drawing import colorize, doubt_map
from segnet.inference.uncertainty import Observer
from segnet.prediction.outputs import inert_cell
from segnet.system.files import replacing
from segnet.verb_config import RankConfig
from segnet.workflows.report import IMAGE_WIDTH, encoded_image, render

log = logging.getLogger(__name__)

STRONGEST = 99.5  # percentile of the uncertainty on the page that is drawn in full red


@dataclass(frozen=True, slots=True)
class RankedImage:
    """An image without labels.

    Attributes:
        path: its absolute path.
        scores: by name of `segnet.inference.uncertainty.MEASURES`: the mean over the pixels, 0-1; 0 is certain.
        value: the value by which it was ranked; None if there is none, as for random images.
    """

    path: Path
    scores: Mapping[str, float]
    value: float | None


@dataclass(frozen=True, slots=True, repr=False)
class Ranking:
    """The images of a pool, those to label first at the top.

    Attributes:
        folder: the folder of rank.json, rank.csv, rank.txt and rank.html.
        images: all images, ranked.
        number: number of images to label next.
        classes: the classes of the model.
        num_labeled: images of the dataset that are labeled.
        num_left_out: images of the pool that are labeled already.
        num_repeated: images of the pool with the same pixels as another one.
        failed: images that could not be read -> reason.
    """

    folder: Path
    images: Sequence[RankedImage]
    number: int
    classes: Classes
    num_labeled: int = 0
    num_left_out: int = 0
    num_repeated: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def chosen(self) -> list[Path]:
        """The images to label next."""
        return [image.path for image in self.images[: self.number]]

    def __repr__(self) -> str:
        return f"Ranking(folder={str(self.folder)!r}, {len(self.chosen):,} of {len(self.images):,} images chosen)"


def write_ranking(ranking: Ranking, config: RankConfig) -> None:
    """Write rank.json and rank.csv with all images, and rank.txt with the paths of those to label next.

    Raises:
        MachineError: a file cannot be written.
    """
    rows = [
        {"rank": number, "path": str(image.path), "value": image.value, **image.scores}
        for number, image in enumerate(ranking.images, 1)
    ]
    names = ("checkpoint", "method", "number", "dataset", "splits", "flip", "scales", "seed")
    record = {
        **{name: getattr(config, name) for name in names},
        **{name: getattr(ranking, name) for name in ("num_labeled", "num_left_out", "num_repeated", "failed")},
        "images": rows,
    }
    with replacing(ranking.folder / "rank.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1, allow_nan=False, default=str) + "\n", encoding="utf-8")
    with (
        replacing(ranking.folder / "rank.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        table = csv.writer(file)
        table.writerow(rows[0])
        for row in rows:
            table.writerow(["" if cell is None else inert_cell(str(cell)) for cell in row.values()])
    broken = [path for path in ranking.chosen if {"\n", "\r"} & set(str(path))]
    for path in broken:
        log.warning("%r: not in rank.txt, which has a path a line: remove the line break from its name", str(path))
    with replacing(ranking.folder / "rank.txt") as temporary:
        temporary.write_bytes(b"".join(os.fsencode(path) + b"\n" for path in ranking.chosen if path not in broken))


def write_page(ranking: Ranking, config: RankConfig, measure: str, observer: Observer) -> None:
    """Write rank.html: image, prediction and uncertainty of the images to label next.

    Args:
        config: its `num_images` is the largest number of images on the page.
        measure: the uncertainty to draw, from `segnet.inference.uncertainty.MEASURES`.
        observer: the model.

    Raises:
        MachineError: out of memory, or the file cannot be written.
    """
    shown = ranking.images[: min(ranking.number, config.num_images)]
    found = [(image, row) for image in shown if (row := _row_of_page(image, measure, observer)) is not None]
    strongest = max((float(np.percentile(row["uncertainty"], STRONGEST)) for _, row in found), default=0.0) or 1.0
    for _, row in found:
        heat = doubt_map(row["small"], np.clip(row["uncertainty"] / strongest, 0, 1))
        row["uncertainty"] = encoded_image(heat, "png")
    page = render(
        "rank.html.jinja",
        ranking=ranking,
        method=config.method,
        measure=measure,
        rows=[{**row, "path": str(image.path), "scores": image.scores, "value": image.value} for image, row in found],
        classes=ranking.classes,
    )
    with replacing(ranking.folder / "rank.html") as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


def _row_of_page(image: RankedImage, measure: str, observer: Observer) -> dict[str, Any] | None:
    """The images of a row of the page, at its size; None for a file that has vanished since it was ranked."""
    try:
        pixels = read_bands(image.path, observer.channels, observer.value_range)
    except DataError as error:
        log.warning("%s: not on the page", error)
        return None
    [observation] = observer.observe([pixels], maps=True)
    shown = displayable(pixels)
    small = _at_page_size(shown)
    return {
        "small": small,
        "image": encoded_image(small, "jpeg"),
        "prediction": encoded_image(colorize(observer.segment(pixels).mask, observer.classes), "png"),
        "uncertainty": _at_page_size(observation.maps[measure]),
    }


def _at_page_size(values: NDArray[Any]) -> NDArray[Any]:
    """An image or map, averaged over areas to the width of the page if it is wider."""
    height, width = values.shape[:2]
    if width <= IMAGE_WIDTH:
        return values
    return cv2.resize(values, (IMAGE_WIDTH, max(1, round(IMAGE_WIDTH * height / width))), interpolation=cv2.INTER_AREA)

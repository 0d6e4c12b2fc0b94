"""Count the values or colors in the masks of a split without class names."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from segnet.data.dataset import SegmentationDataset
from segnet.data.datasets.label_advice import RGB
from segnet.data.scan.band_values import fill_little, measured, stored_limits
from segnet.data.scan.finding import Finding
from segnet.data.scan.scan import progress_shown
from segnet.errors import DataError
from segnet.images.bands import Channels, scale_channels
from segnet.images.masks import ColoredMaskError, code_to_rgb, rgb_to_code
from segnet.images.values import ValueRange, ValueRangeError
from segnet.system.machine import num_cores

MAX_KEPT = 256  # most frequent colors kept per image

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MaskContent:
    """Values or colors of a mask.

    Attributes:
        finding: the sample's finding, with the size and values of its image, or its problem.
        ids: value -> number of pixels; empty for a color mask.
        colors: color -> number of pixels, at most `MAX_KEPT` colors; empty for a mask of values.
        num_colors: total number of colors.
        no_data: number of pixels without a value (NaN, or masked by the file).
        declared: the nodata value that the file declares; None: none.
    """

    finding: Finding
    ids: dict[int, int] = field(default_factory=dict)
    colors: dict[RGB, int] = field(default_factory=dict)
    num_colors: int = 0
    no_data: int = 0
    declared: float | None = None


@dataclass(frozen=True)
class SplitContent:
    """Values or colors of the masks of a split.

    Attributes:
        split: name of the split.
        masks: one per sample.
        notes: files and labels that the dataset left out, one line each.
    """

    split: str
    masks: Sequence[MaskContent]
    notes: Sequence[str] = ()

    @property
    def findings(self) -> list[Finding]:
        """The samples' findings."""
        return [mask.finding for mask in self.masks]

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """(height, width) -> number of images of this size."""
        return Counter(finding.size for finding in self.findings if not finding.problem)

    def counts(self, colored: bool) -> tuple[Counter[Any], Counter[Any]]:
        """Count the pixels of each value or color, and the masks that contain it."""
        pixels: Counter[Any] = Counter()
        images: Counter[Any] = Counter()
        for mask in self.masks:
            found = mask.colors if colored else mask.ids
            pixels.update(found)
            images.update(found.keys())
        return pixels, images


def read_contents(datasets: dict[str, SegmentationDataset]) -> list[SplitContent]:
    """Read every sample of the splits. If any mask is in colors, all masks are read as colors.

    Args:
        datasets: split -> dataset with `stored_labels`.
    """
    found = {split: _mapped(dataset, split, _content) for split, dataset in datasets.items()}
    if any(mask.num_colors for masks in found.values() for mask in masks):
        found = {split: _mapped(dataset, split, _colored_content) for split, dataset in datasets.items()}
    return [SplitContent(split, found[split], dataset.notes.lines()) for split, dataset in datasets.items()]


def _mapped(dataset: SegmentationDataset, split: str, read: Callable[[SegmentationDataset, int], T]) -> list[T]:
    pool = ThreadPoolExecutor(num_cores())
    try:
        found = pool.map(lambda index: read(dataset, index), range(len(dataset)))
        return list(progress_shown(found, len(dataset), f"reading the {split} split", True))
    finally:
        pool.shutdown(cancel_futures=True)


def _content(dataset: SegmentationDataset, index: int) -> MaskContent:
    try:
        found = dataset.stored_labels(index)
    except ColoredMaskError as error:
        return MaskContent(Finding(_name(dataset, index)), num_colors=error.num_colors)
    except DataError as error:
        return MaskContent(Finding(_name(dataset, index), str(error)))
    known = found.ids if found.no_data is None else found.ids[~found.no_data]
    no_data = 0 if found.no_data is None else int(found.no_data.sum())
    finding = _image_finding(dataset, index, found.ids.shape)
    return MaskContent(finding, _pixel_counts(known), no_data=no_data, declared=found.nodata)


def _colored_content(dataset: SegmentationDataset, index: int) -> MaskContent:
    try:
        colors = dataset.stored_colors(index)
    except DataError as error:
        return MaskContent(Finding(_name(dataset, index), str(error)))
    codes = Counter(_pixel_counts(rgb_to_code(colors)))
    kept = {code_to_rgb(code): number for code, number in codes.most_common(MAX_KEPT)}
    return MaskContent(_image_finding(dataset, index, colors.shape[:2]), colors=kept, num_colors=len(codes))


def _name(dataset: SegmentationDataset, index: int) -> str:
    files = dataset.files(index)
    return str(files[0]) if files else str(index)


def _image_finding(dataset: SegmentationDataset, index: int, size: tuple[int, ...]) -> Finding:
    """Build a finding with the size and values of an image, or with the problem of image and mask."""
    image, mask = dataset.files(index)[:2]
    try:
        stored, full = dataset.stored_values(index)
        # The values of a scene's window are a column, without nodata pixels.
        if stored.shape[1] != 1 and stored.shape[:2] != size:
            raise DataError(
                f"{mask}: {size[1]} x {size[0]} pixels, but its image {image} has {stored.shape[1]} x "
                f"{stored.shape[0]}: a mask must have the size of its image"
            )
        values, limits = _measured_image(stored, full, str(image), dataset.value_range)
    except DataError as error:
        return Finding(_name(dataset, index), str(error))
    return Finding(_name(dataset, index), "", (size[0], size[1]), values=values, limits=limits)


def _measured_image(
    stored: NDArray[Any], full: float, name: str, value_range: ValueRange | None
) -> tuple[list[list[float]], list[float]]:
    """Return the band statistics of an image for `Finding`, and its limits if a value range would help.

    Raises:
        DataError: no value range makes the values readable.
    """
    try:
        values = measured(scale_channels(Channels(stored, full), name, value_range))
    except ValueRangeError as error:
        return measured(stored, full), [error.low, error.high, error.full]
    if value_range is not None or not fill_little(values):
        return values, []
    return measured(stored, full), stored_limits(stored, full)


def _pixel_counts(values: NDArray[np.integer]) -> dict[int, int]:
    distinct, counts = np.unique(values, return_counts=True)
    return dict(zip(distinct.tolist(), counts.tolist(), strict=True))

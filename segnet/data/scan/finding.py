"""Finding: the result of the dataset scan for one sample."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """The finding of one sample.

    Attributes:
        name: path or number of the sample, for messages.
        problem: the reason why it cannot be used; empty: it can be used, and the other attributes are set.
        size: (height, width) [pixels].
        pixels: class id or `ignore_index` -> number of pixels. In multilabel masks a pixel counts for each of its
            classes, and `ignore_index` counts the pixels that are ignored in all planes.
        image_hash, mask_hash: hashes of the values, not of the files.
        labels: value -> number of pixels, of a mask with unknown labels.
        colors: the first colors of a color mask; `num_colors` is their total number.
        values: statistics of the image's bands, see `segnet.data.scan.band_values.measured`.
        limits: [low, high, white] of the stored values, if they fill little of their range.
        num_pages: pages or frames of the image's file; only the first is read.
        nodata: class id that is the nodata value of the mask's file; -1: none.
        has_nodata: whether labeled pixels have the nodata value of the image's file.
    """

    name: str
    problem: str = ""
    size: tuple[int, int] = (0, 0)
    pixels: dict[int, int] = field(default_factory=dict)
    image_hash: str = ""
    mask_hash: str = ""
    labels: dict[int, int] = field(default_factory=dict)
    colors: list[tuple[int, int, int]] = field(default_factory=list)
    num_colors: int = 0
    values: list[list[float]] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)
    num_pages: int = 1
    nodata: int = -1
    has_nodata: bool = False

    @classmethod
    def restored(cls, record: Sequence[Any]) -> "Finding":
        """Build a finding from the JSON of `dataclasses.astuple(finding)`.

        Raises:
            ValueError, TypeError, AttributeError, IndexError: the record is not a finding.
        """
        name, problem, size, pixels, image_hash, mask_hash, *more = record
        values, limits = more[3:5] if len(more) >= 5 else ([], [])
        num_pages, nodata = map(int, more[5:7] if len(more) >= 7 else (1, -1))
        counts = {int(label): int(count) for label, count in pixels.items()}
        found = cls(name, problem, (size[0], size[1]), counts, image_hash, mask_hash)
        found = replace(found, num_pages=num_pages, nodata=nodata, has_nodata=bool(more[7:] and more[7]))
        return replace(found, values=[[*map(float, row)] for row in values], limits=[*map(float, limits)])

    def labeled(self, ignore_index: int) -> int:
        """Return the number of labeled pixels; in multilabel masks, of pixels that are not ignored in all planes."""
        return self.size[0] * self.size[1] - self.pixels.get(ignore_index, 0)

"""Finding: what the dataset scan keeps of one sample."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """What one sample holds.

    Attributes:
        name: path or number, as messages name it.
        problem: why it cannot be used; empty: it can, and the rest is known.
        size: (height, width) [pixels].
        pixels: class id or `ignore_index` -> how many pixels have it.
        image_hash, mask_hash: of their values, not of their files.
        labels: value -> its pixels, of a mask with labels that are no class.
        colors: of a mask in colors, the first of its `num_colors`.
        values: of the image's bands, see `segnet.data.scan.band_values.measured`.
        limits: [low, high, white] of the values that the file stores, where they fill little of their range.
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

    @classmethod
    def restored(cls, record: Sequence[Any]) -> "Finding":
        """From what JSON keeps of `dataclasses.astuple(finding)`.

        Raises:
            ValueError, TypeError, AttributeError, IndexError: it is none.
        """
        name, problem, size, pixels, image_hash, mask_hash, *more = record
        values, limits = more[3:5] if len(more) >= 5 else ([], [])
        counts = {int(label): int(count) for label, count in pixels.items()}
        found = cls(name, problem, (size[0], size[1]), counts, image_hash, mask_hash)
        return replace(found, values=[[*map(float, row)] for row in values], limits=[*map(float, limits)])

    def labeled(self, ignore_index: int) -> int:
        """How many pixels have a class."""
        return sum(count for label, count in self.pixels.items() if label != ignore_index)

"""Windows: the rectangular parts in which a image larger than memory is read, predicted and written.

`grid` is for samples, which do not overlap; `Mosaic` for predictions, whose windows overlap and are blended.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

STRIP = 6  # windows side by side: the overlaps of a row of windows wait for the next one, and are as long as a strip


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a image [pixels]."""

    top: int
    left: int
    height: int
    width: int

    def ranges(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns, as rasterio takes them."""
        return (self.top, self.top + self.height), (self.left, self.left + self.width)

    def within(self, other: "Window | None" = None) -> tuple[slice, slice]:
        """Rows and columns as slices: of the image, or of a window around this one."""
        top, left = (self.top - other.top, self.left - other.left) if other else (self.top, self.left)
        return slice(top, top + self.height), slice(left, left + self.width)


def grid(size: tuple[int, int], window: Sequence[int]) -> list[Window]:
    """Windows that cover a image of (height, width), row by row; those at its end are as small as what is left."""
    height, width = size
    return [
        Window(top, left, min(window[0], height - top), min(window[1], width - left))
        for top in range(0, height, window[0])
        for left in range(0, width, window[1])
    ]


@dataclass(frozen=True)
class Side:
    """One side of a image, cut into windows of the same length that overlap; the last one ends where the side does.

    Args:
        length: of the side [pixels].
        window: its windows' length, at most the side's [pixels].
        overlap: the share of a window that the next one repeats at least, 0 up to but not including 1.
    """

    length: int
    window: int
    overlap: float

    @cached_property
    def starts(self) -> list[int]:
        """Where the windows begin, ascending: as few as have the overlap, and all of them the same."""
        last = self.length - self.window
        steps = math.ceil(last / max(1, math.floor(self.window * (1 - self.overlap))))
        return [round(last * index / steps) for index in range(steps + 1)] if steps else [0]

    @cached_property
    def edges(self) -> list[int]:
        """Where a window begins or ends, ascending: between two of them the same windows lie everywhere."""
        return sorted({edge for start in self.starts for edge in (start, start + self.window)})

    def weights(self, index: int) -> NDArray[np.float32]:
        """The weights of a window's pixels, (window,): falling towards its ends, and with those of the others 1."""
        start = self.starts[index]
        return self._ramp / self._total[start : start + self.window]

    def last_over(self, position: int) -> int:
        """The last of the windows that cover a pixel."""
        return bisect_right(self.starts, position) - 1

    def pieces(self, index: int) -> list[tuple[int, int]]:
        """The parts of a window between edges: where each begins and ends."""
        edges = self.edges[bisect_right(self.edges, self.starts[index]) - 1 :]
        edges = edges[: bisect_right(edges, self.starts[index] + self.window)]
        return list(pairwise(edges))

    @cached_property
    def _ramp(self) -> NDArray[np.float32]:
        distance = np.arange(self.window) + 0.5
        ramp: NDArray[np.float32] = np.minimum(distance, distance[::-1]).astype(np.float32)
        return ramp

    @cached_property
    def _total(self) -> NDArray[np.float32]:
        total = np.zeros(self.length, np.float32)
        for start in self.starts:
            total[start : start + self.window] += self._ramp
        return total


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a window that the same windows cover everywhere.

    Attributes:
        place: in the image.
        shared: whether other windows cover it too.
        complete: whether this window is the last of those.
    """

    place: Window
    shared: bool
    complete: bool


class Mosaic:
    """A image cut into windows that overlap, in an order in which little has to wait for its neighbors.

    Row by row within strips of at most `STRIP` windows: what waits is the overlap of a strip's last row. The window
    between two strips comes in both.

    Args:
        size: (height, width) of the image [pixels].
        window: the side of a window; along a shorter side of the image, that side [pixels].
        overlap: the share of a window that the next one repeats at least, 0 up to but not including 1.
    """

    def __init__(self, size: tuple[int, int], window: int, overlap: float) -> None:
        self.rows, self.columns = (Side(length, min(window, length), overlap) for length in size)

    def __iter__(self) -> Iterator[tuple[Window, list[Piece]]]:
        """The windows, each with those of its pieces that belong to the strip."""
        starts = [*self.columns.starts, self.columns.length]
        begins = range(0, len(starts) - 1, STRIP - 1) if len(starts) - 1 > STRIP else [0]
        for first in begins:
            behind = min(first + STRIP - 1, len(starts) - 1) if len(begins) > 1 else len(starts) - 1
            low, high = starts[first], starts[behind]
            touching = [index for index in range(behind) if starts[index] + self.columns.window > low]
            for row in range(len(self.rows.starts)):
                for column in touching:
                    yield self._window(row, column), self._pieces(row, column, low, high)

    def weights(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of a window's rows (h,) and columns (w,): their products, summed over all windows, are 1 at every pixel."""
        rows, columns = self.rows, self.columns
        return rows.weights(rows.starts.index(window.top)), columns.weights(columns.starts.index(window.left))

    def _window(self, row: int, column: int) -> Window:
        return Window(self.rows.starts[row], self.columns.starts[column], self.rows.window, self.columns.window)

    def _pieces(self, row: int, column: int, low: int, high: int) -> list[Piece]:
        found = []
        for top, bottom in self.rows.pieces(row):
            for left, right in self.columns.pieces(column):
                if low <= left < high:
                    place = Window(top, left, bottom - top, right - left)
                    last = self.rows.last_over(top) == row and self.columns.last_over(left) == column
                    found.append(Piece(place, self._is_shared(place), last))
        return found

    def _is_shared(self, place: Window) -> bool:
        def covers(side: Side, position: int) -> int:
            last = side.last_over(position)
            return sum(start + side.window > position for start in side.starts[: last + 1])

        return covers(self.rows, place.top) * covers(self.columns, place.left) > 1

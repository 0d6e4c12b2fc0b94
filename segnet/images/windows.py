"""Sliding windows for images larger than memory.

`grid` gives disjoint windows for training samples; `Mosaic` gives overlapping windows for blended predictions.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

STRIP = 6  # windows per row of a strip: the pending overlaps have the width of a strip


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle in an image [pixels]."""

    top: int
    left: int
    height: int
    width: int

    def ranges(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns as ranges for rasterio."""
        return (self.top, self.top + self.height), (self.left, self.left + self.width)

    def within(self, other: "Window | None" = None) -> tuple[slice, slice]:
        """Rows and columns as slices, relative to the image or to an enclosing window."""
        top, left = (self.top - other.top, self.left - other.left) if other else (self.top, self.left)
        return slice(top, top + self.height), slice(left, left + self.width)


def grid(size: tuple[int, int], window: Sequence[int]) -> list[Window]:
    """Disjoint windows that cover an image of (height, width), row by row; the last ones may be smaller."""
    height, width = size
    return [
        Window(top, left, min(window[0], height - top), min(window[1], width - left))
        for top in range(0, height, window[0])
        for left in range(0, width, window[1])
    ]


@dataclass(frozen=True)
class Side:
    """One axis of an image with overlapping windows of equal length; the last one ends at the image border.

    Args:
        length: length of the axis [pixels].
        window: length of the windows, at most `length` [pixels].
        overlap: smallest overlap of adjacent windows, as a fraction of their length, 0 <= overlap < 1.
    """

    length: int
    window: int
    overlap: float

    @cached_property
    def starts(self) -> list[int]:
        """Starts of the windows, ascending: the fewest evenly spaced windows with the overlap."""
        last = self.length - self.window
        steps = math.ceil(last / max(1, math.floor(self.window * (1 - self.overlap))))
        return [round(last * index / steps) for index in range(steps + 1)] if steps else [0]

    @cached_property
    def edges(self) -> list[int]:
        """Starts and ends of the windows, ascending: between two edges, the set of covering windows is constant."""
        return sorted({edge for start in self.starts for edge in (start, start + self.window)})

    def weights(self, index: int) -> NDArray[np.float32]:
        """Blending weights of a window, (window,): decreasing towards its ends; all windows sum to 1."""
        start = self.starts[index]
        return self._ramp / self._total[start : start + self.window]

    def last_over(self, position: int) -> int:
        """Index of the last window that covers a pixel."""
        return bisect_right(self.starts, position) - 1

    def num_over(self, position: int) -> int:
        """Number of windows that cover a pixel."""
        return bisect_right(self.starts, position) - bisect_right(self.starts, position - self.window)

    def pieces(self, index: int) -> list[tuple[int, int]]:
        """Start and end of the parts of a window between edges."""
        start, edges = self.starts[index], self.edges
        return list(pairwise(edges[bisect_right(edges, start) - 1 : bisect_right(edges, start + self.window)]))

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
    """A part of a window with a constant set of covering windows.

    Attributes:
        place: position in the image.
        shared: whether other windows cover it too.
        complete: whether this window is the last one that covers it.
    """

    place: Window
    shared: bool
    complete: bool


class Mosaic:
    """Overlapping windows of an image, in an order that needs little memory for pending overlaps.

    The order is row by row within strips of at most `STRIP` windows: only the overlap of a strip's last row is pending.
    A window at the border of two strips occurs in both.

    Args:
        size: (height, width) of the image [pixels].
        window: side of a window, limited by the side of the image [pixels].
        overlap: smallest overlap of adjacent windows, as a fraction of their side, 0 <= overlap < 1.
    """

    def __init__(self, size: tuple[int, int], window: int, overlap: float) -> None:
        self.rows, self.columns = (Side(length, min(window, length), overlap) for length in size)

    def __iter__(self) -> Iterator[tuple[Window, list[Piece]]]:
        """Yield windows with their pieces in the current strip."""
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
        """Blending weights of a window's rows (h,) and columns (w,); their products sum to 1 over all windows."""
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
                    shared = self.rows.num_over(top) * self.columns.num_over(left) > 1
                    found.append(Piece(place, shared, last))
        return found

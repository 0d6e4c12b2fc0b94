"""Fill polygons of continuous coordinates: a pixel is covered if its center is inside (even-odd rule)."""

import math
from collections.abc import Sequence

import numpy as np

from segnet.data.datasets.annotations import Area
from segnet.data.datasets.clipping import Point, around, clip_polygon, is_inside
from segnet.errors import DataError

MIN_OUTLINE = 100_000  # outlines up to this length are always allowed [pixels]
NUM_ELLIPSE_POINTS = 360
OUTLINE_DIVISOR = 8  # longer outlines: at most the image's pixels divided by this number


def near_polygon(points: Sequence[Point], size: tuple[int, int], where: str) -> Sequence[Point]:
    """Clip a polygon to an image and its surroundings.

    Args:
        size: (height, width) of the image [pixels].
        where: the annotation, for errors.

    Raises:
        DataError: its outline is so long that drawing it would take many times the image's memory.
    """
    box = around(size, max(size))
    if not is_inside(points, box):
        points = clip_polygon(points, box)
    length = sum(
        max(abs(x - before_x), abs(y - before_y))
        for (x, y), (before_x, before_y) in zip(points, [*points[-1:], *points[:-1]], strict=True)
    )
    if length > max(MIN_OUTLINE, size[0] * size[1] // OUTLINE_DIVISOR):
        raise DataError(f"{where}: a polygon's outline is {length:,.0f} pixels long, too long for its image")
    return points


def fill_polygon(points: Sequence[Point], size: tuple[int, int], where: str) -> Area:
    """Fill a polygon.

    Args:
        points: (x, y) in pixels, finite; (0, 0) is the image's corner, not the center of its first pixel.
        size: (height, width) of the image [pixels].
        where: the annotation, for errors.

    Returns:
        (height, width) bool.

    Raises:
        DataError: as `near_polygon`.
    """
    points = near_polygon(points, size, where)
    height, width = size
    if len(points) < 3:
        return np.zeros(size, bool)
    start = np.array(points, np.float64) - 0.5  # pixel centers become integers
    end = np.roll(start, -1, axis=0)
    # The rows that each edge crosses at their centers, without the upper end and with the lower end.
    top = np.ceil(np.minimum(start[:, 1], end[:, 1])).clip(0, height).astype(np.int64)
    bottom = np.ceil(np.maximum(start[:, 1], end[:, 1])).clip(0, height).astype(np.int64)
    counts = np.maximum(bottom - top, 0)
    edges = np.repeat(np.arange(len(points)), counts)
    rows = np.arange(len(edges)) - np.repeat(np.cumsum(counts) - counts, counts) + top[edges]
    slope = (end[edges, 0] - start[edges, 0]) / (end[edges, 1] - start[edges, 1])
    crossings = start[edges, 0] + (rows - start[edges, 1]) * slope
    columns = np.ceil(crossings).clip(0, width).astype(np.int64)
    turns = np.zeros((height, width + 1), np.uint8)
    np.bitwise_xor.at(turns, (rows, columns), 1)
    return np.bitwise_xor.accumulate(turns, axis=1)[:, :width].astype(bool)


def fill_corners(points: Sequence[Point], size: tuple[int, int], where: str) -> Area:
    """Fill a polygon as an annotation gives it; see `fill_polygon`.

    Raises:
        DataError: fewer than 3 points, or as `near_polygon`.
    """
    if len(points) < 3:
        raise DataError(f"{where} is a polygon of {len(points)} points: correct or remove it")
    return fill_polygon(points, size, where)


def ellipse(across: float, down: float) -> list[Point]:
    """Return the outline of an ellipse around (0, 0), of these radii [pixels]."""
    angles = [2 * math.pi * step / NUM_ELLIPSE_POINTS for step in range(NUM_ELLIPSE_POINTS)]
    return [(across * math.cos(angle), down * math.sin(angle)) for angle in angles]


def turned(outline: Sequence[Point], degrees: float, place: Point) -> list[Point]:
    """Turn an outline clockwise around (0, 0), then move (0, 0) to `place`."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [(place[0] + x * cosine - y * sine, place[1] + x * sine + y * cosine) for x, y in outline]

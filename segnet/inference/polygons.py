"""Convert class masks to polygons with holes along pixel edges.

Coordinates are (x, y) [pixels] from the image's upper left corner, y downwards. Pixel (0, 0) has the corners (0, 0)
and (1, 1), so the area of a polygon without its holes is its number of pixels. Regions are 4-connected: pixels that
touch only at a corner belong to different polygons.
"""

from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

# Offset (dx, dy) from the start of an edge to the pixel on its right, for edges to the east, south, west and north.
INNER = np.array([(0, 0), (-1, 0), (-1, -1), (0, -1)])

Ring = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Polygon:
    """A connected region of one class.

    Attributes:
        class_id: class of its pixels.
        exterior: (N, 2) corners (x, y), clockwise as displayed; the first corner is not repeated.
        holes: rings of the same form, counter-clockwise.
    """

    class_id: int
    exterior: Ring
    holes: tuple[Ring, ...]

    @property
    def area(self) -> float:
        """Area of the region without its holes [pixels]."""
        return ring_area(self.exterior) + sum(ring_area(hole) for hole in self.holes)


def ring_area(ring: Ring) -> float:
    """Signed area of a ring [pixels]; negative if it is counter-clockwise as displayed."""
    x, y = ring[:, 0] - ring[0, 0], ring[:, 1] - ring[0, 1]
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def find_polygons(mask: NDArray[np.integer], class_ids: Collection[int], tolerance: float = 0.0) -> list[Polygon]:
    """Find the regions of the given classes, in order of class id.

    Args:
        mask: (H, W) class ids, or planes (classes, H, W) of 0 and 1.
        class_ids: ids of the classes to include.
        tolerance: largest distance between the simplified and the exact outline [pixels]; 0 keeps every corner.
    """
    found: list[Polygon] = []
    for class_id in sorted(class_ids):
        where = pixels_of(mask, class_id)
        if not where.any():
            continue
        rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
        top, left = int(rows[0]), int(columns[0])
        found += _regions(where[top : rows[-1] + 1, left : columns[-1] + 1], class_id, (left, top), tolerance)
    return found


def pixels_of(mask: NDArray[np.integer], class_id: int) -> NDArray[np.bool_]:
    """Return the pixels (H, W) of a class in a mask of class ids (H, W), or in planes (classes, H, W) of 0 and 1."""
    found: NDArray[np.bool_] = mask[class_id] == 1 if mask.ndim == 3 else mask == class_id
    return found


def _regions(where: NDArray[np.bool_], class_id: int, origin: tuple[int, int], tolerance: float) -> list[Polygon]:
    _, labels = cv2.connectedComponents(where.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    exteriors: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = {}
    for corners, pixel in _rings(where):
        label, is_hole = int(labels[pixel[1], pixel[0]]), ring_area(corners) < 0
        ring = _simplified(corners, tolerance) + np.asarray(origin, np.float64)
        if is_hole and abs(ring_area(ring)) > 0:
            holes.setdefault(label, []).append(ring)
        elif not is_hole:
            exteriors[label] = ring
    return [Polygon(class_id, ring, tuple(holes.get(label, ()))) for label, ring in sorted(exteriors.items())]


def _simplified(ring: Ring, tolerance: float) -> Ring:
    """Simplify a ring with the Douglas-Peucker algorithm; a ring that would degenerate stays unchanged."""
    if tolerance <= 0 or len(ring) <= 4:
        return ring
    simple = cv2.approxPolyDP(ring.astype(np.float32)[:, None], tolerance, closed=True)[:, 0].astype(np.float64)
    return simple if len(simple) >= 3 and ring_area(simple) * ring_area(ring) > 0 else ring


def _rings(where: NDArray[np.bool_]) -> list[tuple[Ring, tuple[int, int]]]:
    """All outlines of a mask, each with an adjacent pixel (x, y): exteriors clockwise, holes counter-clockwise."""
    starts, ends, ways = _straight_edges(where)
    width = where.shape[1] + 1
    key_of_start = (starts[:, 1] * width + starts[:, 0]) * 4 + ways
    order = np.argsort(key_of_start)
    sorted_keys = key_of_start[order]

    def way_from(turn: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        wanted = (ends[:, 1] * width + ends[:, 0]) * 4 + (ways + turn) % 4
        place = np.minimum(np.searchsorted(sorted_keys, wanted), len(order) - 1)
        return order[place], sorted_keys[place] == wanted

    right, there_is_right = way_from(1)  # at a shared corner, the right turn stays on the same region
    left, _ = way_from(3)
    following = np.where(there_is_right, right, left).tolist()
    pixels = (starts + INNER[ways]).tolist()
    visited = bytearray(len(following))
    rings = []
    for first in range(len(following)):
        chain = []
        way = first
        while not visited[way]:
            visited[way] = 1
            chain.append(way)
            way = following[way]
        if chain:
            rings.append((starts[chain].astype(np.float64), (pixels[first][0], pixels[first][1])))
    return rings


def _straight_edges(where: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """The maximal straight edges of a mask: starts and ends (N, 2) as (x, y), and directions (N,), 0-3."""
    padded = np.pad(where, 1)
    inner = padded[1:-1, 1:-1]
    outside = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])  # above, right, below, left
    starts, ends, ways = [], [], []
    for way, neighbor in enumerate(outside):
        edges = inner & ~neighbor  # per pixel: whether this side is part of an outline
        lines = edges if way % 2 == 0 else edges.T
        steps = np.diff(np.pad(lines, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        line, low = np.nonzero(steps == 1)
        _, high = np.nonzero(steps == -1)
        across = line + (way in (1, 2))  # right and lower sides are offset by one
        first, last = (low, high) if way in (0, 1) else (high, low)
        flat = way % 2 == 0
        starts.append(np.stack((first, across) if flat else (across, first), axis=1))
        ends.append(np.stack((last, across) if flat else (across, last), axis=1))
        ways.append(np.full(len(line), way))
    return np.concatenate(starts), np.concatenate(ends), np.concatenate(ways)

"""A region with holes as a single ring, as formats without holes need it: labelme, YOLO.

Each hole is joined to the ring around it by a horizontal cut of zero width, to its left. The ring is moved into its
region by an eighth of a pixel, so that all usual ways to draw a polygon give the pixels of the region: those whose
center is inside (even-odd rule), and those of a polygon with its outline on coordinates that are cut to integers
(Pillow, as in labelme; OpenCV, as in Ultralytics).
"""

import numpy as np

from segnet.inference.polygons import Polygon, Ring

INSET = 0.125  # [pixels]; a binary fraction, so that coordinates stay short


def single_ring(polygon: Polygon) -> Ring:
    """Join the exterior and the holes of a region.

    Returns:
        (N, 2) corners (x, y), clockwise as displayed; the first corner is not repeated.
    """
    ring = _inset(polygon.exterior)
    for hole in sorted(map(_inset, polygon.holes), key=lambda hole: float(hole[:, 0].min())):
        start = int(np.lexsort((hole[:, 1], hole[:, 0]))[0])  # the leftmost corner, and of those the uppermost
        loop = np.concatenate((hole[start:], hole[: start + 1]))
        edge, place = _left_of(hole[start], ring)
        ring = np.concatenate((ring[: edge + 1], place, loop, place, ring[edge + 1 :]))
    return ring


def _inset(ring: Ring) -> Ring:
    """Move each edge of a ring to its right, where the region is."""
    steps = np.roll(ring, -1, axis=0) - ring
    normals = np.stack((-steps[:, 1], steps[:, 0]), axis=1) / np.hypot(steps[:, 0], steps[:, 1])[:, None]
    return ring + INSET * (normals + np.roll(normals, 1, axis=0))


def _left_of(point: Ring, ring: Ring) -> tuple[int, Ring]:
    """Return the edge of a ring that a ray from a point to the left meets first, and where, (1, 2).

    Without such an edge, as simplification may leave it, the nearest corner and its place.
    """
    ends = np.roll(ring, -1, axis=0)
    low, high = np.minimum(ring[:, 1], ends[:, 1]), np.maximum(ring[:, 1], ends[:, 1])
    crossing = np.flatnonzero((low <= point[1]) & (point[1] <= high) & (low < high))
    fraction = (point[1] - ring[crossing, 1]) / (ends[crossing, 1] - ring[crossing, 1])
    x = ring[crossing, 0] + fraction * (ends[crossing, 0] - ring[crossing, 0])
    left = np.flatnonzero(x <= point[0])
    if len(left) == 0:
        near = int(np.square(ring - point).sum(axis=1).argmin())
        return near, ring[near : near + 1]
    best = left[x[left].argmax()]
    return int(crossing[best]), np.array([[x[best], point[1]]])

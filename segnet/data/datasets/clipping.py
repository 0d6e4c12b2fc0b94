"""Clip polygons and line segments to an image, so that drawing routines get no coordinates far outside."""

from collections.abc import Sequence

Point = tuple[float, float]
FAR_AWAY = 1e9  # limit of coordinates; crossings are still exact to a millionth of a pixel

Box = tuple[float, float, float, float]  # left, top, right, bottom


def around(size: tuple[int, int], margin: float) -> Box:
    """Return an image's box with a margin on each side; size (height, width) [pixels]."""
    return -margin, -margin, size[1] + margin, size[0] + margin


def is_inside(points: Sequence[Point], box: Box) -> bool:
    return all(box[0] <= x <= box[2] and box[1] <= y <= box[3] for x, y in points)


def clip_polygon(points: Sequence[Point], box: Box) -> list[Point]:
    """Return the part of a closed polygon inside a box; it may be empty.

    Source: Sutherland and Hodgman, "Reentrant polygon clipping", 1974. Parts that the box cuts apart stay connected
    along its border, where they enclose no area.
    """
    clipped = [_nearer(point) for point in points]
    for axis, limit, sign in ((0, box[0], 1), (0, box[2], -1), (1, box[1], 1), (1, box[3], -1)):
        kept: list[Point] = []
        for start, end in zip([*clipped[-1:], *clipped[:-1]], clipped, strict=True):
            start_in, end_in = (sign * (point[axis] - limit) >= 0 for point in (start, end))
            if start_in != end_in:
                kept.append(_crossing(start, end, axis, limit))
            if end_in:
                kept.append(end)
        clipped = kept
    return clipped


def clip_segment(start: Point, end: Point, box: Box) -> tuple[Point, Point] | None:
    """Return the part of a line segment inside a box; None if it is outside."""
    start, end = _nearer(start), _nearer(end)
    for axis, limit, sign in ((0, box[0], 1), (0, box[2], -1), (1, box[1], 1), (1, box[3], -1)):
        start_in, end_in = (sign * (point[axis] - limit) >= 0 for point in (start, end))
        if not start_in and not end_in:
            return None
        if not start_in:
            start = _crossing(start, end, axis, limit)
        elif not end_in:
            end = _crossing(start, end, axis, limit)
    return start, end


def _nearer(point: Point) -> Point:
    return min(max(point[0], -FAR_AWAY), FAR_AWAY), min(max(point[1], -FAR_AWAY), FAR_AWAY)


def _crossing(start: Point, end: Point, axis: int, limit: float) -> Point:
    """Return the point where a segment crosses a line of the box."""
    other = 1 - axis
    share = (limit - start[axis]) / (end[axis] - start[axis])
    across = start[other] * (1 - share) + end[other] * share
    return (limit, across) if axis == 0 else (across, limit)

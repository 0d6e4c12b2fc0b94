"""Instance masks of COCO annotations: polygons, plain and compressed run lengths.

Polygons are drawn by pycocotools, an optional package, so that masks are COCO's to the pixel. Its native code trusts
its input: coordinates that are not finite never end, far ones take all memory. So polygons are checked and clipped
first.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from segnet.data.datasets.annotations import Area
from segnet.data.datasets.clipping import Point
from segnet.data.datasets.json_records import Record, as_number
from segnet.data.datasets.polygon_fill import near_polygon
from segnet.data.datasets.run_lengths import decode_runs
from segnet.errors import DataError, MachineError


def coco_masks() -> ModuleType:
    """Import pycocotools' decoder on demand.

    Raises:
        MachineError: it is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError:
        raise MachineError('polygons of COCO need pycocotools: pip install "segnet[coco]"') from None
    module: ModuleType = mask
    return module


def has_outline(segmentation: Any) -> bool:
    """Return True if a segmentation may cover pixels; a cheap test that does not validate it.

    A box without a mask has none; neither have polygons of fewer than three points.
    """
    if not isinstance(segmentation, list):
        return bool(segmentation)
    if len(segmentation) >= 3 and all(not isinstance(part, list) or len(part) == 2 for part in segmentation):
        return True  # one list of numbers, or of points
    return any(
        not isinstance(part, list) or len(part) >= 6 or any(isinstance(p, list) for p in part) for part in segmentation
    )


def decode_segmentation(annotation: Record, size: tuple[int, int]) -> Area | None:
    """Return the pixels of an instance: bool (height, width); None if it covers none.

    Raises:
        DataError: a segmentation that is none, or does not fit the image.
    """
    segmentation = annotation.get("segmentation")
    where = f"{annotation.source}: {annotation.place}"
    if isinstance(segmentation, dict):
        return decode_runs(annotation.record("segmentation"), size, where) if segmentation else None
    if isinstance(segmentation, list) and segmentation and all(map(_is_runs, segmentation)):
        areas = [decode_runs(runs, size, where) for runs in annotation.records("segmentation")]
        return np.asarray(np.any(areas, axis=0), bool)
    if segmentation is None:
        return None
    if not isinstance(segmentation, list):
        raise annotation.error("segmentation", "a list of polygons, or run lengths")
    polygons = [polygon for polygon in polygons_of(segmentation, where) if len(polygon) >= 3]
    drawn = [[number for point in near_polygon(polygon, size, where) for number in point] for polygon in polygons]
    drawn = [polygon for polygon in drawn if len(polygon) >= 6]
    if not drawn:
        return None
    masks = coco_masks()
    area = masks.decode([masks.merge(masks.frPyObjects(drawn, size[0], size[1]))])
    return np.asarray(area[:, :, 0], bool)


def _is_runs(part: Any) -> bool:
    return isinstance(part, dict) and "counts" in part


def polygons_of(segmentation: Sequence[Any], where: str) -> list[list[Point]]:
    """Return the polygons of a segmentation.

    COCO writes a list [x, y, x, y, ...] for each. Other tools write one such list without the list around it, or points
    [x, y] in place of single numbers.

    Args:
        where: the annotation, for errors.

    Raises:
        DataError: an odd number of coordinates, or one that is not a finite number.
    """
    if not segmentation:
        return []
    if not any(isinstance(part, list) for part in segmentation):
        return [_points(segmentation, where)]
    if len(segmentation) >= 3 and all(
        isinstance(part, list) and len(part) == 2 and not isinstance(part[0], list) for part in segmentation
    ):
        return [_points(segmentation, where)]
    return [_points(part if isinstance(part, list) else [part], where) for part in segmentation]


def _points(values: Sequence[Any], where: str) -> list[Point]:
    """Convert [x, y, x, y, ...] or [[x, y], [x, y], ...] to points."""
    if any(isinstance(value, list) for value in values):
        if not all(isinstance(value, list) and len(value) == 2 for value in values):
            raise DataError(f"{where}: a polygon mixes numbers and lists, or has points that are not [x, y]")
        values = [number for value in values for number in value]
    numbers = []
    for value in values:
        number = as_number(value)
        if number is None:
            raise DataError(f"{where}: a polygon has the coordinate {str(value)[:40]}, which is not a finite number")
        numbers.append(number)
    if len(numbers) % 2:
        raise DataError(f"{where}: a polygon has an odd number of coordinates ({len(numbers)})")
    return list(zip(numbers[::2], numbers[1::2], strict=True))

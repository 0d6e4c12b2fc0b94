"""Georeferences of GeoTIFFs: comparison in pixels, and copy from a scene to its mask."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

MAX_OFFSET = 0.1  # allowed offset between scene and mask: above rounding, below half a pixel [pixels]


def georeference(dataset: Any) -> dict[str, Any]:
    """The georeference of a rasterio dataset as arguments of `rasterio.open(..., "w")`; empty without one.

    It consists of an affine transform, ground control points, rational polynomials, or several of them.
    """
    found: dict[str, Any] = {}
    points, points_crs = dataset.gcps
    if not dataset.transform.is_identity:
        found["transform"] = dataset.transform
    elif points:
        found["gcps"] = points
    crs = dataset.crs or (points_crs if points else None)
    if crs:
        found["crs"] = crs
    if dataset.rpcs:
        found["rpcs"] = dataset.rpcs
    return found


def offset(scene: Any, mask: Any) -> float | None:
    """Largest distance between the corners of a mask and of its scene [pixels of the scene]; may be infinite.

    Both are rasterio datasets of equal size. Different coordinate systems are transformed. None if they cannot be
    compared: one has no georeference, or another kind.
    """
    here, there = georeference(scene), georeference(mask)
    height, width = scene.height, scene.width
    if "transform" in here and "transform" in there:
        if here["transform"].is_degenerate:
            return None
        corners = [(0, 0), (width, 0), (0, height), (width, height), (width / 2, height / 2)]
        places = [_moved(there["transform"], corner) for corner in corners]
        places = _in_system_of(places, there.get("crs"), here.get("crs"))
        return _largest_distance([_moved(~here["transform"], place) for place in places], corners)
    if "gcps" in here and "gcps" in there:
        return _offset_of_points(here, there)
    return None


def _offset_of_points(here: dict[str, Any], there: dict[str, Any]) -> float:
    """The offset between control points: the mask's are mapped by the affine transform fitted to the scene's."""
    from rasterio.transform import from_gcps

    fitted = from_gcps(here["gcps"])
    if fitted.is_degenerate:
        return math.inf
    others = from_gcps(there["gcps"])
    corners = [(point.col, point.row) for point in here["gcps"]]
    places = _in_system_of([_moved(others, corner) for corner in corners], there.get("crs"), here.get("crs"))
    return _largest_distance([_moved(~fitted, place) for place in places], corners)


def _moved(transform: Any, place: tuple[float, float]) -> tuple[float, float]:
    x, y = place  # affine 2 multiplies by *, affine 3 by @
    return transform.a * x + transform.b * y + transform.c, transform.d * x + transform.e * y + transform.f


def _in_system_of(places: Sequence[tuple[float, float]], source: Any, target: Any) -> list[tuple[float, float]]:
    if not source or not target or source == target:
        return list(places)
    from rasterio.errors import RasterioError
    from rasterio.warp import transform

    try:
        xs, ys = transform(source, target, *zip(*places, strict=True))
    except RasterioError:  # such as a local and a geographic system
        return [(math.inf, math.inf)] * len(places)
    return list(zip(xs, ys, strict=True))


def _largest_distance(places: Sequence[tuple[float, float]], others: Sequence[tuple[float, float]]) -> float:
    distance = float(np.abs(np.array(places) - np.array(others)).max())
    return distance if math.isfinite(distance) else math.inf

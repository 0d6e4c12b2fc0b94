"""GeoJSON (RFC 7946), except that coordinates are pixels."""

from collections.abc import Sequence
from typing import Any

from segnet.classes import Classes
from segnet.inference.polygons import Polygon, Ring


def geojson(polygons: Sequence[Polygon], classes: Classes) -> dict[str, Any]:
    """A FeatureCollection with one Polygon per region (RFC 7946, except that coordinates are pixels)."""

    def closed(ring: Ring) -> list[list[float]]:
        return [*ring.tolist(), ring[0].tolist()]

    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [closed(p.exterior), *map(closed, p.holes)]},
                "properties": {
                    "class": classes.names[p.class_id],
                    "class_id": p.class_id,
                    "area": p.area,
                    "color": "#{:02x}{:02x}{:02x}".format(*classes.palette[p.class_id]),
                },
            }
            for p in polygons
        ],
    }

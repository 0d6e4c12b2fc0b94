"""labelme's annotation file (github.com/wkentaro/labelme): polygons without holes, drawn with their outline."""

from collections.abc import Sequence
from typing import Any

from segnet.classes import Classes
from segnet.inference.annotations.rings import single_ring
from segnet.inference.polygons import Polygon, ring_area


def labelme(polygons: Sequence[Polygon], classes: Classes, size: tuple[int, int], file_name: str) -> dict[str, Any]:
    """A labelme annotation file: one polygon per region, largest first.

    Args:
        polygons: the regions. labelme has no holes: each hole is joined to the exterior by a cut of zero width.
        classes: the class names.
        size: (height, width) of the image.
        file_name: name of the image file.
    """
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": [
            {
                "label": classes.names[polygon.class_id],
                "points": single_ring(polygon).tolist(),
                "group_id": None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            for polygon in sorted(polygons, key=lambda polygon: -ring_area(polygon.exterior))
        ],
        "imagePath": file_name,
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }

"""Regions of Label Studio's JSON exports (polygons, rectangles, ellipses, brush labels), drawn as masks.

Source: labelstud.io, the tags PolygonLabels, RectangleLabels, EllipseLabels and BrushLabels. Coordinates are percent of
the image's width and height; rotations are degrees clockwise, of a rectangle around its upper left corner.
"""

from dataclasses import dataclass

from segnet.data.datasets.annotations import Area, require_size
from segnet.data.datasets.brush_runs import decode_brush
from segnet.data.datasets.file_names import normal_form
from segnet.data.datasets.json_records import Record
from segnet.data.datasets.outlines import points_of
from segnet.data.datasets.polygon_fill import ellipse, fill_corners, fill_polygon, turned
from segnet.errors import DataError

# Key of the labels of a drawable value -> kind of region.
DRAWN_BY = {"rle": "brush", "points": "polygon", "radiusX": "ellipse", "width": "rectangle"}


@dataclass(frozen=True, slots=True)
class Region:
    """A region of an annotation.

    Attributes:
        label: name of its class.
        kind: "polygon", "rectangle", "ellipse" or "brush".
        value: its coordinates.
        size: record with the size of the image; often `value` itself.
    """

    label: str
    kind: str
    value: Record
    size: Record


def read_region(value: Record, stated: Record) -> Region | None:
    """Read the region of a value; None if it draws nothing, or has no label.

    Args:
        stated: record with the size of the image.

    Raises:
        DataError: several labels, or a label that is not text.
    """
    kind = next((kind for key, kind in DRAWN_BY.items() if value.has(key)), "")
    labels = [
        label for key in value.values() if key.endswith("labels") and value.has(key) for label in value.items(key)
    ]
    if kind == "rectangle" and not value.has("height"):  # a key point has only a width
        kind = ""
    if not kind or not labels:
        return None
    if len(labels) > 1:
        raise DataError(f"{value.source}: {value.place} has {len(labels)} labels: a region is of one class")
    label = Record({"label": labels[0]}, value.source, value, "labels").text("label")
    return Region(normal_form(label.strip()), kind, value, stated)


def draw_region(region: Region, size: tuple[int, int], image: object) -> Area:
    """Draw a region.

    Args:
        size: (height, width) of the image [pixels].
        image: path of the image, for errors.

    Returns:
        (height, width) bool.

    Raises:
        DataError: an image of another size, or invalid coordinates.
    """
    value, where = region.value, f"{region.value.source}: {region.value.place}"
    require_size(region.size, "original_height", "original_width", size, image)
    if region.size.has("image_rotation") and region.size.number("image_rotation") % 360:
        raise DataError(f"{where} was drawn on a rotated image: rotate the image file, and export again")
    if region.kind == "brush":
        return decode_brush(value.items("rle"), size, where)
    across, down = size[1] / 100, size[0] / 100
    if region.kind == "polygon":
        return fill_corners([(x * across, y * down) for x, y in points_of(value)], size, where)
    place = value.number("x") * across, value.number("y") * down
    if region.kind == "rectangle":
        width, height = value.number("width") * across, value.number("height") * down
        outline = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
    else:
        outline = ellipse(value.number("radiusX") * across, value.number("radiusY") * down)
    rotation = value.number("rotation") if value.has("rotation") else 0.0
    return fill_polygon(turned(outline, rotation, place), size, where)

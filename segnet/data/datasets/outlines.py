"""Draw the shapes of annotation tools: polygons, rectangles, circles, lines, points, and masks stored as PNG.

Pixels as labelme sets them (github.com/wkentaro/labelme, utils/shape.py): by Pillow, with the outline. A shape that its
points do not define is refused; what is outside of the image is cut off.
"""

import base64
import binascii
import io
import itertools
import math
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from segnet.data.datasets.annotations import Area
from segnet.data.datasets.clipping import Point, around, clip_polygon, clip_segment, is_inside
from segnet.data.datasets.json_records import Record, as_number, shown
from segnet.errors import DataError

REACH = 16  # limit of coordinates without clipping, as a multiple of the image's longer side
PNG_OVERHEAD = 2**16  # size of a PNG's other chunks [bytes]


def points_of(record: Record, key: str = "points") -> list[Point]:
    """Return the points [[x, y], ...] of a record.

    Raises:
        DataError: they are no list of pairs of finite numbers.
    """
    points = []
    for value in record.items(key):
        pair = [as_number(number) for number in value] if isinstance(value, list) else []
        if len(pair) != 2 or pair[0] is None or pair[1] is None:
            raise DataError(
                f"{record.source}: {record.place} has the point {shown(value)}: points are [x, y], finite numbers"
            )
        points.append((pair[0], pair[1]))
    return points


def draw_shape(size: tuple[int, int], kind: str, points: Sequence[Point], record: Record, line_width: int = 10) -> Area:
    """Draw a shape.

    Args:
        size: (height, width) of the image [pixels].
        kind: one of `SHAPES`.
        points: (x, y) [pixels], finite.
        record: the shape's, for errors.
        line_width: of lines, and the diameter of points [pixels].

    Returns:
        (height, width) bool.

    Raises:
        DataError: an unknown kind, or a number of points that does not define it.
    """
    if kind not in SHAPES:
        raise record.error("shape_type", f"one of {', '.join(SHAPES)}, mask")
    allowed, paint = SHAPES[kind]
    if not allowed(len(points)):
        raise DataError(f"{record.source}: {record.place} is a {kind} with {len(points)} points: correct or remove it")
    canvas = Image.new("1", (size[1], size[0]))
    paint(ImageDraw.Draw(canvas), size, points, line_width)
    return np.array(canvas, bool)


Paint = Callable[[ImageDraw.ImageDraw, tuple[int, int], Sequence[Point], int], None]


def _polygon(pen: ImageDraw.ImageDraw, size: tuple[int, int], points: Sequence[Point], line_width: int) -> None:
    box = around(size, REACH * max(size))
    if not is_inside(points, box):
        points = clip_polygon(points, box)
    if len(points) >= 2:
        pen.polygon(list(points), fill=1, outline=1)


def _rectangle(pen: ImageDraw.ImageDraw, size: tuple[int, int], points: Sequence[Point], line_width: int) -> None:
    """Draw a rectangle of two opposite corners in any order (labelme), or of four corners (X-AnyLabeling)."""
    if len(points) == 4:
        _quadrangle(pen, size, points, line_width)
        return
    reach = REACH * max(size)
    (x1, y1), (x2, y2) = (tuple(min(max(value, -reach), reach) for value in point) for point in points)
    pen.rectangle((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), fill=1, outline=1)


def _quadrangle(pen: ImageDraw.ImageDraw, size: tuple[int, int], points: Sequence[Point], line_width: int) -> None:
    """Draw a possibly rotated rectangle of four corners, in any order."""
    x, y = (math.fsum(point[axis] / 4 for point in points) for axis in (0, 1))
    _polygon(pen, size, sorted(points, key=lambda point: math.atan2(point[1] - y, point[0] - x)), line_width)


def _circle(pen: ImageDraw.ImageDraw, size: tuple[int, int], points: Sequence[Point], line_width: int) -> None:
    """Draw a circle of its center and a point on it."""
    (x, y), (rim_x, rim_y) = points
    radius, reach = math.hypot(rim_x - x, rim_y - y), REACH * max(size)
    if radius <= reach and is_inside([(x, y)], around(size, 2 * reach)):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1, outline=1)
        return
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float64)
    with np.errstate(over="ignore"):
        inside = np.hypot(columns - x, rows - y) <= radius
    pen.bitmap((0, 0), Image.fromarray(inside), fill=1)


def _lines(pen: ImageDraw.ImageDraw, size: tuple[int, int], points: Sequence[Point], line_width: int) -> None:
    box = around(size, REACH * max(size))
    for start, end in itertools.pairwise(points):
        part = clip_segment(start, end, box)
        if part is not None:
            pen.line(part, fill=1, width=line_width)


def _dots(pen: ImageDraw.ImageDraw, size: tuple[int, int], points: Sequence[Point], line_width: int) -> None:
    radius = line_width / 2
    for x, y in points:
        if is_inside([(x, y)], around(size, line_width)):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)


# Kind -> which numbers of points define it, and how it is drawn.
SHAPES: dict[str, tuple[Callable[[int], bool], Paint]] = {
    "polygon": (lambda number: number >= 3, _polygon),
    "rectangle": (lambda number: number in (2, 4), _rectangle),
    "rotation": (lambda number: number == 4, _quadrangle),  # X-AnyLabeling's rotated rectangle
    "oriented_rectangle": (lambda number: number == 4, _quadrangle),
    "quadrilateral": (lambda number: number == 4, _polygon),
    "circle": (lambda number: number == 2, _circle),
    "line": (lambda number: number == 2, _lines),
    "linestrip": (lambda number: number >= 2, _lines),
    "point": (lambda number: number == 1, _dots),
    "points": (lambda number: number >= 1, _dots),
}


def stored_mask(
    encoded: str, corner: tuple[float, float], size: tuple[int, int], record: Record, compressed: bool = False
) -> tuple[Area, tuple[int, int]]:
    """Draw a mask stored as a PNG in base64; its upper left pixel is at `corner`.

    Args:
        corner: (x, y) [pixels]; fractions are cut off.
        size: (height, width) of the image [pixels]; what is outside is cut off.
        record: the shape's, for errors.
        compressed: whether zlib compressed the PNG once more.

    Returns:
        (height, width) bool, and (height, width) of the stored mask.

    Raises:
        DataError: no base64, no PNG, a PNG in colors, or one larger than the image.
    """
    where = f"{record.source}: {record.place}"
    try:
        data = base64.b64decode(encoded, validate=True)
        if compressed:
            limit = 4 * size[0] * size[1] + PNG_OVERHEAD
            unpacker = zlib.decompressobj()
            data = unpacker.decompress(data, limit)
            if unpacker.unconsumed_tail:
                raise DataError(f"{where} has a mask that unpacks to more than its image: refused")
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            height, width = image.height, image.width
            if width > size[1] + 1 or height > size[0] + 1:  # a box around pixel centers is one pixel larger
                raise DataError(
                    f"{where} has a mask of {width} x {height} pixels, but its image has {size[1]} x {size[0]}"
                )
            part = _set_pixels(image)
    except DataError:
        raise
    except (binascii.Error, zlib.error, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{where} has a mask that cannot be decoded ({' '.join(str(error).split())})") from None
    area = np.zeros(size, bool)
    left, top = (int(min(max(value, -(2**31)), 2**31)) for value in corner)
    top_in, left_in = max(top, 0), max(left, 0)
    inside = part[top_in - top :, left_in - left :][: max(0, size[0] - top_in), : max(0, size[1] - left_in)]
    area[top_in : top_in + inside.shape[0], left_in : left_in + inside.shape[1]] = inside
    return area, (height, width)


def _set_pixels(image: Image.Image) -> Area:
    """Return the set pixels: opaque pixels if the PNG has transparency, otherwise nonzero pixels."""
    if "A" in image.mode or "transparency" in image.info:
        return np.asarray(image.convert("RGBA"))[:, :, 3] > 0
    values = np.asarray(image)
    if values.ndim != 2:
        raise ValueError(f"a PNG of mode {image.mode}: it must be gray, or have transparency")
    return values > 0

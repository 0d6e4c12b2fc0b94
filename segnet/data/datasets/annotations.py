"""What datasets with annotation files share: reading JSON, finding the image, drawing shapes."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from segnet.classes import Classes
from segnet.data.datasets.labels import class_id, mask_type
from segnet.errors import DataError

MAX_JSON_BYTES = 4 * 2**30  # of a JSON file; the largest of COCO has half a gigabyte
BACKGROUND_NAMES = ("background", "_background_")


def read_json(path: Path) -> Any:
    """Raises:
    DataError: missing, too large, or no JSON.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise DataError(f"{path}: refused, above {MAX_JSON_BYTES // 2**30} GiB: divide it")
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON, damaged or cut off ({error})") from None


def entry(record: Any, key: str, kind: type | tuple[type, ...], path: Path) -> Any:
    """The value of a key in a record of an annotation file.

    Raises:
        DataError: it is not there, or of another kind.
    """
    value = record.get(key) if isinstance(record, Mapping) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DataError(f"{path}: '{key}' is missing or of the wrong type: {str(value)[:60]!r}")
    return value


def background_id(classes: Classes, unlabeled: str | int | None) -> int:
    """The id of pixels that no shape covers: what the option dataset.unlabeled says, else a class of that name.

    Raises:
        ConfigError: `unlabeled` is no class.
    """
    if unlabeled is not None:
        return class_id(unlabeled, classes, "dataset.unlabeled")
    named = [classes.names.index(name) for name in BACKGROUND_NAMES if name in classes.names]
    return named[0] if named else classes.ignore_index


def empty_mask(size: tuple[int, int], value: int, classes: Classes) -> NDArray[np.uint8 | np.int32]:
    """A mask of one value; size (height, width)."""
    return np.full(size, value, mask_type(classes))


def drawn(
    size: tuple[int, int], kind: str, points: Sequence[Sequence[float]], source: Path, line_width: int = 10
) -> NDArray[np.bool_]:
    """Where a shape lies, as labelme draws it: (height, width) bool.

    Args:
        size: (height, width) [pixels].
        kind: polygon, rectangle (two corners), circle (center, point on it), line, linestrip, point or points.
        points: (x, y) [pixels]; what lies outside is cut off.
        source: the annotation file, for errors.
        line_width: of lines, and the diameter of points [pixels].

    Raises:
        DataError: a kind that is none of these, too few points, or coordinates that are no numbers.
    """
    height, width = size
    needed = {"polygon": 3, "rectangle": 2, "circle": 2, "line": 2, "linestrip": 2, "point": 1, "points": 1}
    if kind not in needed:
        raise DataError(f"{source}: a shape of type '{kind}' is not known: use {', '.join(needed)} or mask")
    try:
        places = [(float(x), float(y)) for x, y in points]
    except (TypeError, ValueError):
        raise DataError(f"{source}: a {kind} has points that are not [x, y]: {str(points)[:60]}") from None
    if len(places) < needed[kind] or not all(math.isfinite(value) for place in places for value in place):
        raise DataError(f"{source}: a {kind} has too few points, or such that are no numbers: {str(points)[:60]}")
    reach = 16 * max(height, width)  # absurd coordinates would take a painter minutes
    places = [(min(max(x, -reach), reach), min(max(y, -reach), reach)) for x, y in places]
    canvas = Image.new("1", (width, height))
    pen = ImageDraw.Draw(canvas)
    if kind == "polygon":
        pen.polygon(places, fill=1, outline=1)
    elif kind == "rectangle":
        (x1, y1), (x2, y2) = places[:2]
        pen.rectangle((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), fill=1, outline=1)
    elif kind == "circle":
        (x, y), (rim_x, rim_y) = places[:2]
        radius = math.hypot(rim_x - x, rim_y - y)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1, outline=1)
    elif kind in ("line", "linestrip"):
        pen.line(places, fill=1, width=line_width)
    else:
        for x, y in places:
            pen.ellipse((x - line_width / 2, y - line_width / 2, x + line_width / 2, y + line_width / 2), fill=1)
    return np.array(canvas, bool)

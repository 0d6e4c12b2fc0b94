"""The answers of POST /predict: JSON with the mask, the mask or overlay as a PNG, polygons."""

import base64
import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.classes import Classes
from segnet.components import did_you_mean
from segnet.errors import ConfigError
from segnet.images.bands import displayable
from segnet.images.files import mask_image
from segnet.inference.polygons import geojson
from segnet.inference.segmentation import Segmentation

ANSWER_TYPES = {  # output -> its content type
    "json": "application/json",
    "mask": "image/png",
    "overlay": "image/png",
    "polygons": "application/geo+json",
}
PARAMETERS = {"json": "image", "overlay": "opacity", "polygons": "tolerance"}  # output -> what goes with it alone
IMAGE_SIDE = 2048  # longer side of the image that JSON may hold, at most [pixels]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The answer that a request asks for.

    Attributes:
        output: one of `ANSWER_TYPES`.
        opacity: of the overlay's colors, 0-1.
        tolerance: distance that a polygon may have from the exact outline [pixels].
        image: whether JSON holds the image too, as the model saw it, and the class ids as a page can read them.
    """

    output: str = "json"
    opacity: float = 0.5
    tolerance: float = 0.0
    image: bool = False

    @classmethod
    def read(cls, query: Mapping[str, str]) -> "Wanted":
        """Read the query of a request.

        Raises:
            ConfigError: an unknown parameter or value, or one that the output has no use for.
        """
        output = query.get("output", "json")
        if output not in ANSWER_TYPES:
            raise ConfigError(f"output={output} is none of {', '.join(ANSWER_TYPES)}")
        known = ("output", *PARAMETERS.values())
        for key in query:
            if key not in known:
                raise ConfigError(f"{key}: no such parameter.{did_you_mean(key, known)}")
            if key not in ("output", PARAMETERS.get(output)):
                raise ConfigError(f"{key} has no meaning with output={output}")
        image = query.get("image", "false")
        if image not in ("true", "false"):
            raise ConfigError(f"image={image} is neither true nor false")
        opacity = _number(query, "opacity", 0.5, 1)
        tolerance = _number(query, "tolerance", 0, 1000)
        return cls(output, opacity, tolerance, image == "true")


def _number(query: Mapping[str, str], key: str, default: float, most: float) -> float:
    try:
        number = float(query.get(key, default))
    except ValueError:
        number = -1.0
    if not 0 <= number <= most:
        raise ConfigError(f"{key}={query[key]} is not a number of 0-{most}")
    return number


def render_answer(segmentation: Segmentation, wanted: Wanted, seconds: float) -> bytes:
    """The body of an answer.

    Args:
        seconds: that the prediction took, for the JSON.
    """
    if wanted.output == "mask":
        return _mask_png(segmentation)
    if wanted.output == "overlay":
        return _image_bytes(Image.fromarray(segmentation.overlay(wanted.opacity)), "PNG")
    if wanted.output == "polygons":
        return _json(geojson(segmentation.polygons(tolerance=wanted.tolerance), segmentation.classes))
    height, width = segmentation.mask.shape
    shares = segmentation.shares
    answer: dict[str, Any] = {
        "width": width,
        "height": height,
        "seconds": round(seconds, 4),
        "classes": [{**entry, "share": shares[entry["name"]]} for entry in class_entries(segmentation.classes)],
        "mask": base64.b64encode(_mask_png(segmentation)).decode(),
    }
    if wanted.image:
        image = Image.fromarray(displayable(segmentation.image))
        image.thumbnail((IMAGE_SIDE, IMAGE_SIDE))
        answer["image"] = base64.b64encode(_image_bytes(image, "JPEG", quality=90)).decode()
        answer["ids"] = base64.b64encode(_ids(segmentation.mask)).decode()
    return _json(answer)


def class_entries(classes: Classes) -> list[dict[str, Any]]:
    """Id, name and color of each class, as JSON tells them."""
    pairs = zip(classes.names, classes.palette, strict=True)
    return [{"id": index, "name": name, "color": list(color)} for index, (name, color) in enumerate(pairs)]


def _mask_png(segmentation: Segmentation) -> bytes:
    return _image_bytes(mask_image(segmentation.mask, segmentation.classes.palette), "PNG")


def _ids(mask: NDArray[np.uint8 | np.uint16]) -> bytes:
    """Deflated class ids, row by row: one byte each, or two (little-endian) where the mask is of 16 bits."""
    return zlib.compress(mask.astype(mask.dtype.newbyteorder("<"), copy=False).tobytes(), 1)


def _image_bytes(image: Image.Image, file_format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()

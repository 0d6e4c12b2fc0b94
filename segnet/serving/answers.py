"""The answers of POST /predict: JSON with the mask, the mask or overlay as a PNG, polygons."""

import base64
import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.classes import Classes
from segnet.components import did_you_mean
from segnet.errors import ConfigError
from segnet.images.bands import displayable
from segnet.images.files import mask_image
from segnet.inference.refinement import Refinement
from segnet.inference.segmentation import Segmentation

ANSWER_TYPES = {  # output -> its content type
    "json": "application/json",
    "mask": "image/png",
    "overlay": "image/png",
    "polygons": "application/geo+json",
}
PARAMETERS = {"json": "image", "overlay": "opacity", "polygons": "tolerance"}  # output -> its parameter
REFINEMENT = ("threshold", "refuse", "min_area")  # parameters of every output, see segnet.inference.refinement
IMAGE_SIDE = 2048  # longest side of the image in JSON [pixels]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The requested answer.

    Attributes:
        output: one of `ANSWER_TYPES`.
        opacity: opacity of the overlay's colors, 0-1.
        tolerance: largest distance between a polygon and the exact outline [pixels].
        image: whether JSON also contains the image as seen by the model, and the raw class ids for the web page.
        refinement: parameters of REFINEMENT that replace those of the server, by name.
    """

    output: str = "json"
    opacity: float = 0.5
    tolerance: float = 0.0
    image: bool = False
    refinement: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, query: Mapping[str, str]) -> "Wanted":
        """Read the query of a request.

        Raises:
            ConfigError: an unknown parameter or value, or a parameter of another output.
        """
        output = query.get("output", "json")
        if output not in ANSWER_TYPES:
            raise ConfigError(f"output={output} must be one of {', '.join(ANSWER_TYPES)}")
        known = ("output", *REFINEMENT, *PARAMETERS.values())
        for key in query:
            if key not in known:
                raise ConfigError(f"{key}: no such parameter.{did_you_mean(key, known)}")
            if key not in ("output", *REFINEMENT, PARAMETERS.get(output)):
                raise ConfigError(f"{key} is not a parameter of output={output}")
        image = query.get("image", "false")
        if image not in ("true", "false"):
            raise ConfigError(f"image={image} must be true or false")
        opacity = _number(query, "opacity", 0.5, 1)
        tolerance = _number(query, "tolerance", 0, 1000)
        refinement = {key: query[key] for key in REFINEMENT if key in query}
        Refinement().changed(**refinement)  # refuses wrong values before the image is received
        return cls(output, opacity, tolerance, image == "true", refinement)


def _number(query: Mapping[str, str], key: str, default: float, most: float) -> float:
    try:
        number = float(query.get(key, default))
    except ValueError:
        number = -1.0
    if not 0 <= number <= most:
        raise ConfigError(f"{key}={query[key]} must be a number of 0-{most}")
    return number


def render_answer(segmentation: Segmentation, wanted: Wanted, seconds: float) -> bytes:
    """The body of an answer.

    Args:
        seconds: duration of the prediction, for the JSON [seconds].
    """
    if wanted.output == "mask":
        return _mask_png(segmentation)
    if wanted.output == "overlay":
        return _image_bytes(Image.fromarray(segmentation.overlay(wanted.opacity)), "PNG")
    if wanted.output == "polygons":
        return _json(segmentation.to_geojson(tolerance=wanted.tolerance))
    height, width = segmentation.mask.shape
    shares = segmentation.shares
    answer: dict[str, Any] = {
        "width": width,
        "height": height,
        "seconds": round(seconds, 4),
        "refused": segmentation.refused / segmentation.mask.size,
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
    """Id, name and color of each class, for JSON."""
    pairs = zip(classes.names, classes.palette, strict=True)
    return [{"id": index, "name": name, "color": list(color)} for index, (name, color) in enumerate(pairs)]


def _mask_png(segmentation: Segmentation) -> bytes:
    return _image_bytes(mask_image(segmentation.mask, segmentation.classes.palette), "PNG")


def _ids(mask: NDArray[np.uint8 | np.uint16]) -> bytes:
    """Deflated class ids, row by row: one byte each, or two bytes (little-endian) for a 16-bit mask."""
    return zlib.compress(mask.astype(mask.dtype.newbyteorder("<"), copy=False).tobytes(), 1)


def _image_bytes(image: Image.Image, file_format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()

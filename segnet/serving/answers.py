"""The answers of POST /predict: JSON with the mask, the mask or overlay as an image, polygons.

A mask of one class per pixel is a PNG of class ids; of several, a TIFF with a page per class, as predict writes it.
"""

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
from segnet.data.augment.plane_codes import to_codes
from segnet.errors import ConfigError, DataError
from segnet.images.bands import displayable
from segnet.images.files import encoded_planes, mask_image
from segnet.inference.refinement import Refinement
from segnet.inference.segmentation import Segmentation

ANSWER_TYPES = {  # output -> its content type
    "json": "application/json",
    "mask": "image/png",
    "overlay": "image/png",
    "confidence": "image/png",
    "polygons": "application/geo+json",
}
PARAMETERS = {  # output -> its parameters
    "json": ("image", "confidence"),
    "overlay": ("opacity",),
    "polygons": ("tolerance",),
}
REFINEMENT = ("threshold", "refuse", "min_area")  # parameters of every output, see segnet.inference.refinement
IMAGE_SIDE = 2048  # longest side of the image in JSON [pixels]
MAX_PROBABILITIES = 2**30  # memory for the probabilities of all classes, which a confidence needs [bytes]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The requested answer.

    Attributes:
        output: one of `ANSWER_TYPES`.
        opacity: opacity of the overlay's colors, 0-1.
        tolerance: largest distance between a polygon and the exact outline [pixels].
        image: whether JSON also contains the image as seen by the model, and the raw class ids for the web page.
        confidence: whether JSON also contains the confidence of each pixel.
        refinement: parameters of REFINEMENT that replace those of the server, by name.
    """

    output: str = "json"
    opacity: float = 0.5
    tolerance: float = 0.0
    image: bool = False
    confidence: bool = False
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
        known = ("output", *REFINEMENT, *(key for keys in PARAMETERS.values() for key in keys))
        for key in query:
            if key not in known:
                raise ConfigError(f"{key}: no such parameter.{did_you_mean(key, known)}")
            if key not in ("output", *REFINEMENT, *PARAMETERS.get(output, ())):
                raise ConfigError(f"{key} is not a parameter of output={output}")
        opacity = _number(query, "opacity", 0.5, 1)
        tolerance = _number(query, "tolerance", 0, 1000)
        refinement = {key: query[key] for key in REFINEMENT if key in query}
        Refinement().changed(**refinement)  # refuses wrong values before the image is received
        return cls(output, opacity, tolerance, _switch(query, "image"), _switch(query, "confidence"), refinement)

    def needs_probabilities(self, num_classes: int, num_pixels: int) -> bool:
        """Whether the prediction must keep the probabilities of all classes.

        Raises:
            DataError: output=confidence of an image whose probabilities exceed MAX_PROBABILITIES; JSON leaves the
                confidence out.
        """
        if not self.confidence and self.output != "confidence":
            return False
        fits = 2 * num_classes * num_pixels <= MAX_PROBABILITIES
        if not fits and self.output == "confidence":
            most = MAX_PROBABILITIES / 2 / num_classes / 1e6
            raise DataError(
                f"output=confidence takes at most {most:.1f} megapixels with {num_classes} classes: scale it down"
            )
        return fits


def _switch(query: Mapping[str, str], key: str) -> bool:
    value = query.get(key, "false")
    if value not in ("true", "false"):
        raise ConfigError(f"{key}={value} must be true or false")
    return value == "true"


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
        return _mask_file(segmentation)
    if wanted.output == "overlay":
        return _image_bytes(Image.fromarray(segmentation.overlay(wanted.opacity)), "PNG")
    if wanted.output == "confidence":
        return _image_bytes(Image.fromarray(_confidence_levels(segmentation)), "PNG")
    if wanted.output == "polygons":
        return _json(segmentation.to_geojson(tolerance=wanted.tolerance))
    height, width = segmentation.size
    shares = segmentation.shares
    answer: dict[str, Any] = {
        "width": width,
        "height": height,
        "seconds": round(seconds, 4),
        "refused": segmentation.refused / (height * width),
        "classes": [{**entry, "share": shares[entry["name"]]} for entry in class_entries(segmentation.classes)],
        "mask": base64.b64encode(_mask_file(segmentation)).decode(),
    }
    if wanted.image:
        image = Image.fromarray(displayable(segmentation.image))
        image.thumbnail((IMAGE_SIDE, IMAGE_SIDE))
        answer["image"] = base64.b64encode(_image_bytes(image, "JPEG", quality=90)).decode()
        ids, combinations = _page_ids(segmentation)
        answer["ids"] = base64.b64encode(_packed(ids)).decode()
        if combinations is not None:
            answer["combinations"] = combinations
    if wanted.confidence and segmentation.probabilities is not None:
        deflated = zlib.compress(_confidence_levels(segmentation).tobytes(), 1)
        answer["confidence"] = base64.b64encode(deflated).decode()
    return _json(answer)


def class_entries(classes: Classes) -> list[dict[str, Any]]:
    """Id, name and color of each class, for JSON."""
    pairs = zip(classes.names, classes.palette, strict=True)
    return [{"id": index, "name": name, "color": list(color)} for index, (name, color) in enumerate(pairs)]


def content_type(output: str, classes: Classes) -> str:
    """The content type of an answer."""
    return "image/tiff" if output == "mask" and classes.is_multilabel else ANSWER_TYPES[output]


def _mask_file(segmentation: Segmentation) -> bytes:
    classes = segmentation.classes
    if classes.is_multilabel:
        return encoded_planes(segmentation.mask, classes.names)
    return _image_bytes(mask_image(segmentation.mask, classes.palette), "PNG")


def _confidence_levels(segmentation: Segmentation) -> NDArray[np.uint8]:
    """The confidence of each pixel, (H, W), 0-255 for 0-1."""
    confidence: NDArray[np.uint8] = (255 * segmentation.confidence).round().astype(np.uint8)
    return confidence


def _page_ids(segmentation: Segmentation) -> tuple[NDArray[np.unsignedinteger], list[list[int]] | None]:
    """One number for each pixel (H, W): its class; or that of its combination of classes, and the combinations."""
    if not segmentation.classes.is_multilabel:
        return segmentation.mask, None
    codes, table = to_codes(segmentation.mask.astype(np.uint8, copy=False))
    combinations = [np.flatnonzero(row == 1).tolist() for row in table]
    return codes.astype(np.min_scalar_type(len(table) - 1)), combinations


def _packed(ids: NDArray[np.unsignedinteger]) -> bytes:
    """Deflated numbers, row by row, in as many bytes as their type has (little-endian)."""
    return zlib.compress(ids.astype(ids.dtype.newbyteorder("<"), copy=False).tobytes(), 1)


def _image_bytes(image: Image.Image, file_format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()

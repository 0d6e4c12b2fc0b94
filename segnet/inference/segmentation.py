"""The result of segmenting one image: mask, overlay, polygons."""

import io
import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.classes import Classes, is_background
from segnet.components import did_you_mean
from segnet.errors import ConfigError
from segnet.images.bands import displayable
from segnet.images.drawing import colorize, overlay
from segnet.images.values import Bands
from segnet.inference.annotations.coco import coco
from segnet.inference.annotations.cvat import CVATArchive, MaskPair, cvat_masks
from segnet.inference.annotations.geojson import geojson
from segnet.inference.annotations.label_studio import label_studio_prediction
from segnet.inference.annotations.labelme import labelme
from segnet.inference.annotations.yolo import yolo_labels
from segnet.inference.polygons import Polygon, find_polygons, pixels_of

LARGEST_SHOWN = 2048  # longest side of the overlay in a notebook [pixels]


@dataclass(frozen=True)
class Segmentation:
    """An image with the class, or the classes, of each of its pixels.

    Attributes:
        image: (H, W, channels), 0-255: uint8 RGB, or the output of `segnet.images.bands.read_bands`.
        mask: (H, W) class ids, uint8 for up to 256 classes, else uint16. Refused pixels have `classes.ignore_index`.
            Of a model with several classes per pixel: planes (classes, H, W) uint8, 1 where a pixel has the class.
        classes: names and palette of the class ids.
        probabilities: (classes, H, W) float16, 0-1; None unless requested.
    """

    image: Bands
    mask: NDArray[np.uint8 | np.uint16]
    classes: Classes
    probabilities: NDArray[np.float16] | None = None

    @cached_property
    def pixels(self) -> dict[str, int]:
        """The number of pixels of each class, by name."""
        if self.classes.is_multilabel:
            return dict(zip(self.classes.names, self.mask.sum(axis=(1, 2), dtype=np.int64).tolist(), strict=True))
        counts = np.bincount(self.mask.ravel(), minlength=len(self.classes.names))
        return {name: int(counts[index]) for index, name in enumerate(self.classes.names)}

    @property
    def refused(self) -> int:
        """The number of pixels without a class, see `segnet.inference.refinement`."""
        return 0 if self.classes.is_multilabel else self.mask.size - sum(self.pixels.values())

    @property
    def shares(self) -> dict[str, float]:
        """The fraction of pixels of each class, 0-1, by name; refused pixels belong to none."""
        return {name: count / math.prod(self.size) for name, count in self.pixels.items()}

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of image and mask [pixels]."""
        return self.mask.shape[-2], self.mask.shape[-1]

    def pixels_of(self, name: str) -> NDArray[np.bool_]:
        """The pixels of a class, (H, W).

        Raises:
            ConfigError: an unknown class name.
        """
        return pixels_of(self.mask, class_ids(self.classes, [name])[0])

    @property
    def confidence(self) -> NDArray[np.float32]:
        """The largest probability of each pixel, (H, W), 0-1; requires `probabilities`.

        With several classes per pixel: that of its least certain answer, which is the probability of a class that it
        has, and 1 - the probability of a class that it lacks.
        """
        assert self.probabilities is not None
        if self.classes.is_multilabel:
            least = np.ones(self.size, np.float32)
            for plane, found in zip(self.mask, self.probabilities, strict=True):  # not all planes in float32 at once
                probability = found.astype(np.float32)
                np.minimum(least, np.where(plane == 1, probability, 1 - probability), out=least)
            return least
        confidence: NDArray[np.float32] = self.probabilities.max(axis=0).astype(np.float32)
        return confidence

    def overlay(self, opacity: float = 0.5, only: Collection[str] | None = None) -> NDArray[np.uint8]:
        """Blend the image with the class colors: (H, W, 3) uint8 RGB.

        Args:
            opacity: opacity of the colors, 0-1.
            only: names of the classes to color; None: all.

        Raises:
            ConfigError: an unknown class name.
        """
        shown = displayable(self.image)
        if self.classes.is_multilabel:
            return overlay(shown, self._only(only), self.classes, opacity)
        mixed = overlay(shown, self.mask, self.classes, opacity)
        return mixed if only is None else np.where(self._is_one_of(only)[:, :, None], mixed, shown)

    def colors(self, only: Collection[str] | None = None) -> NDArray[np.uint8]:
        """The mask in class colors, (H, W, 3) uint8 RGB; white for classes not in `only`.

        Raises:
            ConfigError: an unknown class name.
        """
        return colorize(self._only(only), self.classes)

    def _only(self, only: Collection[str] | None) -> NDArray[np.integer]:
        """The mask, without other classes."""
        if only is None:
            return self.mask
        if self.classes.is_multilabel:
            wanted = np.isin(np.arange(len(self.mask)), class_ids(self.classes, only))
            return self.mask * wanted[:, None, None]
        return np.where(self._is_one_of(only), self.mask, np.int32(-1))

    def polygons(self, only: Collection[str] | None = None, tolerance: float = 0.0) -> list[Polygon]:
        """The regions of the classes as polygons with holes, in pixels.

        Args:
            only: names of the classes to include; None: all.
            tolerance: largest distance between the simplified and the exact outline [pixels]; 0 keeps every corner.

        Raises:
            ConfigError: an unknown class name.
        """
        return find_polygons(self.mask, class_ids(self.classes, only), tolerance)

    def to_geojson(self, only: Collection[str] | None = None, tolerance: float = 0.0) -> dict[str, Any]:
        """The regions as GeoJSON, in pixels. Arguments and errors are those of `polygons`."""
        return geojson(self.polygons(only, tolerance), self.classes)

    def to_coco(self, file_name: str, only: Collection[str] | None = None) -> dict[str, Any]:
        """A COCO file of this image, with run lengths.

        Args:
            file_name: of the image.
            only: names of the classes to include; None: all.

        Raises:
            ConfigError: an unknown class name.
        """
        return coco(self.mask, class_ids(self.classes, only), self.classes, file_name)

    def to_labelme(self, file_name: str, only: Collection[str] | None = None, tolerance: float = 0.0) -> dict[str, Any]:
        """A labelme file of this image.

        Args:
            file_name: path of the image, relative to the file.
            only: names of the classes to include; None: all but a class named background, whose pixels stay unlabeled.
            tolerance: as of `polygons`.

        Raises:
            ConfigError: an unknown class name.
        """
        if only is None:
            only = [name for name in self.classes.names if not is_background(name)]
        return labelme(self.polygons(only, tolerance), self.classes, self.size, file_name)

    def to_yolo(self, only: Collection[str] | None = None, tolerance: float = 0.0) -> str:
        """YOLO's label file of this image. Arguments and errors are those of `polygons`."""
        return yolo_labels(self.polygons(only, tolerance), self.classes, self.size)

    def to_label_studio(self, only: Collection[str] | None = None) -> dict[str, Any]:
        """A prediction of Label Studio, for `predictions` of a task; with scores if there are `probabilities`.

        Args:
            only: names of the classes to include; None: all.

        Raises:
            ConfigError: an unknown class name.
        """
        confidence = None if self.probabilities is None else self.confidence
        return label_studio_prediction(self.mask, class_ids(self.classes, only), self.classes, confidence)

    def to_cvat(self, name: str, only: Collection[str] | None = None) -> bytes:
        """An archive of this image, which CVAT imports as "Segmentation mask 1.1".

        Args:
            name: path of the image in its task, without extension.
            only: names of the classes to include; None: all.

        Raises:
            ConfigError: an unknown class name, or one that CVAT's label map cannot hold.
        """
        buffer = io.BytesIO()
        with CVATArchive(buffer, self.classes) as archive:
            archive.add(name, self.cvat_masks(only))
        return buffer.getvalue()

    def cvat_masks(self, only: Collection[str] | None = None) -> MaskPair:
        """The two masks of this image in CVAT's archive. Arguments and errors are those of `to_cvat`."""
        return cvat_masks(self.mask, class_ids(self.classes, only), self.classes)

    def _repr_png_(self) -> bytes:
        """The overlay for a notebook; large images are subsampled."""
        step = math.ceil(max(self.size) / LARGEST_SHOWN)
        mask = self.mask[..., ::step, ::step]
        shown = replace(self, image=np.ascontiguousarray(self.image[::step, ::step]), mask=mask)
        buffer = io.BytesIO()
        Image.fromarray(shown.overlay()).save(buffer, "PNG")
        return buffer.getvalue()

    def _is_one_of(self, names: Collection[str]) -> NDArray[np.bool_]:
        return np.isin(self.mask, class_ids(self.classes, names))


def class_ids(classes: Classes, names: Collection[str] | None) -> list[int]:
    """The ids of the named classes, in order; all ids if `names` is None.

    Raises:
        ConfigError: an unknown class name.
    """
    for name in names or ():
        if name not in classes.names:
            raise ConfigError(f"'{name}' is no class of this model.{did_you_mean(name, classes.names)}")
    return [index for index, name in enumerate(classes.names) if names is None or name in names]

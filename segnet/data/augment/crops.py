"""Random scale and crop that resizes no more of an image than the crop shows.

The whole image scaled by a random factor, padded at random sides where it is smaller than the crop, and cropped at a
random place: as in mmsegmentation and PaddleSeg. Here the place is drawn first, in whole pixels of the image, and that
part alone is resized to the crop; so the factor of an axis is crop size / a whole number of pixels, up to half a pixel
of the part off the one drawn.

Crops that one class fills almost alone are drawn again, at another place of the same scale: mmsegmentation's
`cat_max_ratio` (mmseg/datasets/transforms/transforms.py, RandomCrop), of which ignored pixels are no part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

NUM_REDRAWS = 10  # as in mmsegmentation; the last is taken as it is


@dataclass(frozen=True, slots=True)
class Span:
    """One axis of a crop: pixels `source` to `source + source_length` of the image become `target` to
    `target + target_length` of the crop [pixels]."""

    source: int
    source_length: int
    target: int
    target_length: int

    def taken(self) -> slice:
        return slice(self.source, self.source + self.source_length)

    def given(self) -> slice:
        return slice(self.target, self.target + self.target_length)


@dataclass(frozen=True, slots=True)
class Crop:
    """Which part of an image a crop shows, and where in the crop; what is left of the crop is padding."""

    rows: Span
    columns: Span

    def cut(
        self, values: NDArray[Any], crop_size: Sequence[int], fill: Sequence[int] | int, interpolation: int
    ) -> NDArray[Any]:
        """An image (H, W, channels) or mask (H, W) -> a new one of the crop's size, of the same type.

        Args:
            crop_size: (height, width) [pixels].
            fill: value of padded pixels, of an image in each channel.
            interpolation: of OpenCV.
        """
        size = (self.rows.target_length, self.columns.target_length)
        part = values[self.rows.taken(), self.columns.taken()]
        resized = part if part.shape[:2] == size else cv2.resize(part, size[::-1], interpolation=interpolation)
        if resized.ndim < values.ndim:  # OpenCV drops a single channel
            resized = resized[..., None]
        if size == tuple(crop_size):
            return part.copy() if resized is part else resized
        padded = np.empty((*crop_size, *values.shape[2:]), values.dtype)
        padded[...] = fill
        padded[self.rows.given(), self.columns.given()] = resized
        return padded


def draw_crop(rng: Generator, size: Sequence[int], crop_size: Sequence[int], scale: float) -> Crop:
    """A crop at a random place.

    Args:
        size: (height, width) of the image [pixels].
        crop_size: (height, width) [pixels].
        scale: factor on the image's size, of which at least one pixel is left.
    """
    rows, columns = (_draw_span(rng, length, crop, scale) for length, crop in zip(size, crop_size, strict=True))
    return Crop(rows, columns)


def _draw_span(rng: Generator, length: int, crop: int, scale: float) -> Span:
    scaled = max(1, int(length * scale))
    if scaled <= crop:
        return Span(0, length, int(rng.integers(crop - scaled, endpoint=True)), scaled)
    shown = max(1, round(crop / scale))
    return Span(int(rng.integers(length - shown, endpoint=True)), shown, 0, crop)


def is_one_class(mask: NDArray[np.integer], max_ratio: float, ignore_index: int) -> bool:
    """Whether a class has `max_ratio` of the labeled pixels or more, or is the only one, or there is none."""
    counts = np.bincount(mask.ravel())
    if ignore_index < len(counts):
        counts[ignore_index] = 0
    return bool(np.count_nonzero(counts) < 2 or counts.max() >= max_ratio * counts.sum())


def cut_at_random(
    rng: Generator,
    image: NDArray[Any],
    mask: NDArray[Any],
    *,
    crop_size: Sequence[int],
    scale: float,
    fill: Sequence[int],
    ignore_index: int,
    category_max_ratio: float = 1.0,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Image (H, W, channels) and mask (H, W), scaled and cropped alike.

    Args:
        crop_size: (height, width) of what comes out [pixels].
        scale: factor on the image's size.
        fill: value of padded pixels in each channel.
        ignore_index: mask value of padded pixels.
        category_max_ratio: share of the labeled pixels from which a class makes a crop be drawn again; 1: never.
    """
    height, width = mask.shape

    def draw() -> tuple[Crop, NDArray[Any]]:
        crop = draw_crop(rng, (height, width), crop_size, scale)
        # INTER_NEAREST would be half a pixel off the image
        return crop, crop.cut(mask, crop_size, ignore_index, cv2.INTER_NEAREST_EXACT)

    crop, ids = draw()
    shows_all = (crop.rows.source_length, crop.columns.source_length) == (height, width)
    for _ in range(NUM_REDRAWS if category_max_ratio < 1 and not shows_all else 0):
        if not is_one_class(ids, category_max_ratio, ignore_index):
            break
        crop, ids = draw()
    return crop.cut(image, crop_size, fill, cv2.INTER_LINEAR), ids

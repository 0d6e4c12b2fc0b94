"""Random scale and crop that resizes only the part of an image that the crop shows.

The result is that of mmsegmentation and PaddleSeg: scale the whole image by a random factor, pad it at random sides if
it is smaller than the crop, and crop at a random place. Here the place is chosen first, in whole pixels of the image,
and only that part is resized. The factor of an axis is therefore crop size / a whole number of pixels: at most half a
source pixel off.

Crops of almost one class are drawn again, at another place and the same scale: mmsegmentation's `cat_max_ratio`
(mmseg/datasets/transforms/transforms.py, RandomCrop). Ignored pixels do not count.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from segnet.images.partial import Pixels

NUM_REDRAWS = 10  # as in mmsegmentation; the last crop is used in any case


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
    """The part of an image that a crop shows, and its place in the crop; the rest of the crop is padding."""

    rows: Span
    columns: Span

    def cut(
        self, values: Pixels, crop_size: Sequence[int], fill: Sequence[int] | int, interpolation: int
    ) -> NDArray[Any]:
        """Crop an image (H, W, channels) or mask (H, W) into a new array of the same type.

        Args:
            crop_size: (height, width) [pixels].
            fill: value of padded pixels; for an image, one per channel.
            interpolation: flag of OpenCV.
        """
        size = (self.rows.target_length, self.columns.target_length)
        part = values[self.rows.taken(), self.columns.taken()]
        resized = part if part.shape[:2] == size else cv2.resize(part, size[::-1], interpolation=interpolation)
        if resized.ndim < len(values.shape):  # OpenCV drops a single channel
            resized = resized[..., None]
        if size == tuple(crop_size):
            return part.copy() if resized is part else resized
        padded = np.empty((*crop_size, *values.shape[2:]), values.dtype)
        padded[...] = fill
        padded[self.rows.given(), self.columns.given()] = resized
        return padded


def draw_crop(rng: Generator, size: Sequence[int], crop_size: Sequence[int], scale: float) -> Crop:
    """Draw a crop at a random position.

    Args:
        rng: source of randomness.
        size: (height, width) of the image [pixels].
        crop_size: (height, width) of the crop [pixels].
        scale: factor of the image's size; at least one pixel remains.
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
    """Return True if a class has at least `max_ratio` of the labeled pixels, or fewer than two classes are present."""
    counts = np.bincount(mask.ravel())
    if ignore_index < len(counts):
        counts[ignore_index] = 0
    return bool(np.count_nonzero(counts) < 2 or counts.max() >= max_ratio * counts.sum())


def cut_at_random(
    rng: Generator,
    image: Pixels,
    mask: Pixels,
    *,
    crop_size: Sequence[int],
    scale: float,
    fill: Sequence[int],
    ignore_index: int,
    category_max_ratio: float = 1.0,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scale and crop an image (H, W, channels) and its mask (H, W) together. Of lazy ones, only the crop is decoded.

    Args:
        crop_size: (height, width) of the result [pixels].
        scale: factor on the image's size.
        fill: value of padded pixels in each channel.
        ignore_index: mask value of padded pixels.
        category_max_ratio: a crop with a larger fraction of one class is drawn again; 1: never.
    """
    height, width = mask.shape
    if category_max_ratio < 1:
        mask = mask[:, :]  # decode it once for all draws

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

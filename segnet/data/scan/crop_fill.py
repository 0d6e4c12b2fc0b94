"""Fraction of a training crop that images fill after random scaling."""

from collections.abc import Mapping, Sequence

import numpy as np

from segnet.config import DataConfig, known
from segnet.data.augment.presets import complete_augment
from segnet.data.scan.readings import option_text

LEAST_FILL = 0.33  # smallest mean filled fraction of a crop; below it most of a batch is padding
MIN_CROP_SIDE = 64  # smallest side of a suggested crop [pixels]
NUM_SCALES = 200


def fill(size: tuple[int, int], crop_size: Sequence[int], scale_range: Sequence[float]) -> float:
    """Return the fraction of a crop that an image of (height, width) fills, averaged over the random scales."""
    scales = np.linspace(scale_range[0], scale_range[-1], NUM_SCALES)
    sides = [np.minimum(1, length * scales / crop) for length, crop in zip(size, crop_size, strict=True)]
    return float((sides[0] * sides[1]).mean())


def fitting_crop(sizes: Mapping[tuple[int, int], int], largest: int) -> list[int]:
    """Return [height, width] of a training crop: the images' median sides, between MIN_CROP_SIDE and `largest`.

    A crop larger than the images would be padded: that costs time, and CamVid at half size learned less from crops of
    192 x 256 than from its whole images of 180 x 240.

    Args:
        sizes: (height, width) -> number of images; empty: unknown.
        largest: upper limit of both sides [pixels].
    """
    if not sizes:
        return [largest, largest]
    return [min(largest, max(MIN_CROP_SIDE, int(side))) for side in median_size(sizes)]


def small_images(split: str, sizes: Mapping[tuple[int, int], int], data: DataConfig) -> str:
    """Return a warning with a fitting crop size if images are much smaller than the training crops; empty otherwise.

    Args:
        split: name of the split; only "train" is cropped.
        sizes: (height, width) -> number of images.
        data: crop size and scale range.
    """
    fitting = smaller_crop(sizes, data) if split == "train" else None
    if fitting is None or data.crop_size is None:
        return ""
    filled = 100 * _mean_fill(sizes, data)
    height, width = (round(side) for side in median_size(sizes))
    images = f"images of {width} x {height}{' (median)' if len(sizes) > 1 else ''}"
    return (
        f"train: {images} fill {filled:.1f} % of a crop of {data.crop_size[1]} x {data.crop_size[0]}, "
        f"the rest is padding: set {option_text('data.crop_size', fitting)}"
    )


def smaller_crop(sizes: Mapping[tuple[int, int], int], data: DataConfig) -> list[int] | None:
    """Return a crop size for images much smaller than data.crop_size; None if it fits, or follows the images."""
    crop = data.crop_size
    if not sizes or crop is None or len(crop) != 2 or min(crop) < 1:
        return None
    fitting = [min(side, old) for side, old in zip(fitting_crop(sizes, max(crop)), crop, strict=True)]
    return fitting if _mean_fill(sizes, data) < LEAST_FILL and fitting != list(crop) else None


def _mean_fill(sizes: Mapping[tuple[int, int], int], data: DataConfig) -> float:
    scale_range = known(complete_augment(data).scale_range)
    return sum(fill(size, known(data.crop_size), scale_range) * number for size, number in sizes.items()) / sum(
        sizes.values()
    )


def median_size(sizes: Mapping[tuple[int, int], int]) -> tuple[float, float]:
    """Return the median height and width of the images."""
    every = np.repeat(np.array(list(sizes)), list(sizes.values()), axis=0)
    height, width = np.median(every, axis=0).tolist()
    return height, width

"""How much of a training crop images fill, after the random scale."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from segnet.config import DataConfig

LEAST_FILL = 0.33  # of a crop that images fill on average: below it most of a batch is padding
CROP_STEP = 32  # of the crop that is suggested: the largest stride of a backbone [pixels]
NUM_SCALES = 200


def fill(size: tuple[int, int], crop_size: Sequence[int], scale_range: Sequence[float]) -> float:
    """The fraction of a crop that an image of (height, width) fills, the mean over the random scales."""
    scales = np.linspace(scale_range[0], scale_range[-1], NUM_SCALES)
    sides = [np.minimum(1, length * scales / crop) for length, crop in zip(size, crop_size, strict=True)]
    return float((sides[0] * sides[1]).mean())


def fitting_crop(sizes: Mapping[tuple[int, int], int], largest: int) -> list[int]:
    """[height, width] of a training crop: the median side of the images, rounded up to the stride of a backbone.

    Args:
        sizes: (height, width) -> number of images; empty: unknown.
        largest: upper limit of both sides [pixels].
    """
    if not sizes:
        return [largest, largest]
    numbers = list(sizes.values())
    medians = [float(np.median(np.repeat([size[axis] for size in sizes], numbers))) for axis in (0, 1)]
    return [min(largest, max(2, math.ceil(side / CROP_STEP)) * CROP_STEP) for side in medians]


def small_images(split: str, sizes: Mapping[tuple[int, int], int], data: DataConfig) -> str:
    """A warning if images are much smaller than the training crops, with the crop that fits; else empty.

    Args:
        split: only "train" is cropped.
        sizes: (height, width) -> number of images.
        data: crop size and scale range.
    """
    total = sum(sizes.values())
    if split != "train" or not total or data.crop_size is None or len(data.crop_size) != 2 or min(data.crop_size) < 1:
        return ""
    mean = sum(fill(size, data.crop_size, data.scale_range) * number for size, number in sizes.items()) / total
    if mean >= LEAST_FILL:
        return ""
    (height, width), _ = max(sizes.items(), key=lambda item: item[1])
    fitting = fitting_crop({(height, width): 1}, max(data.crop_size))
    crop = [min(side, old) for side, old in zip(fitting, data.crop_size, strict=True)]
    return (
        f"train: images of {width} x {height} fill {100 * mean:.1f} % of a crop of {data.crop_size[1]} x "
        f"{data.crop_size[0]}, the rest is padding: set data.crop_size=[{crop[0]},{crop[1]}]"
    )

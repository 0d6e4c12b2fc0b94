"""Augmentation: scale and crop (`segnet.data.augment.crops`), then flip and color jitter by albumentations.

Only this module imports albumentations, so that it can be replaced.
"""

import os
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise importing it asks the network for a newer version

import albumentations as A

from segnet.data.augment.crops import cut_at_random
from segnet.errors import ConfigError


class TrainTransform:
    """Random scale, pad, crop, flip and color jitter.

    Args:
        crop_size: (height, width) of the result [pixels].
        scale_range: smallest and largest factor of the image's size.
        flip: probability of a horizontal flip.
        color_jitter: strength of brightness, contrast and saturation jitter, 0 for none; hue jitter is a quarter of it.
        category_max_ratio: a crop with a larger fraction of one class is drawn again; 1: never.
        fill: value of padded pixels in each channel before color jitter, 0-255.
        ignore_index: mask value of padded pixels.
        seed: the only source of randomness, together with the epoch and the index of the image.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(
        self,
        *,
        crop_size: Sequence[int],
        scale_range: Sequence[float],
        flip: float,
        color_jitter: float,
        category_max_ratio: float = 1.0,
        fill: Sequence[int],
        ignore_index: int,
        seed: int,
    ) -> None:
        if len(crop_size) != 2 or min(crop_size) < 1:
            raise ConfigError(f"data.crop_size={list(crop_size)} must be [height, width], each 1 or more")
        if len(scale_range) != 2 or not 0 < scale_range[0] <= scale_range[1]:
            raise ConfigError(f"data.scale_range={list(scale_range)} must be [smallest, largest], both above 0")
        if not 0 <= flip <= 1:
            raise ConfigError(f"data.flip={flip} must be a probability between 0 and 1")
        if not 0 <= color_jitter <= 1:
            raise ConfigError(f"data.color_jitter={color_jitter} must be between 0 and 1")
        if color_jitter > 0 and len(fill) != 3:
            raise ConfigError(
                f"data.color_jitter={color_jitter} needs RGB, but the images have {len(fill)} channels: "
                "set data.color_jitter=0"
            )
        if not 0 < category_max_ratio <= 1:
            raise ConfigError(f"data.category_max_ratio={category_max_ratio} must be above 0, up to 1")
        strength = color_jitter
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # an unknown argument is only warned about
            self._pipeline = A.Compose(
                [
                    A.HorizontalFlip(p=flip),
                    A.ColorJitter(
                        brightness=(1 - strength, 1 + strength),
                        contrast=(1 - strength, 1 + strength),
                        saturation=(1 - strength, 1 + strength),
                        hue=(-strength / 4, strength / 4),
                        p=float(strength > 0),
                    ),
                ],
            )
        self._crop_size = (crop_size[0], crop_size[1])
        self._scale_range = (scale_range[0], scale_range[1])
        self._category_max_ratio = category_max_ratio
        self._fill = tuple(fill)
        self._ignore_index = ignore_index
        self._seed = seed

    def __call__(
        self, image: NDArray[np.uint8 | np.float32], mask: NDArray[np.uint8 | np.int32], *, epoch: int, index: int
    ) -> tuple[NDArray[np.uint8 | np.float32], NDArray[np.uint8 | np.int32]]:
        """Augment an image (H, W, channels), 0-255, and its mask (H, W); both keep their types."""
        seed = np.random.SeedSequence([self._seed, epoch, index])
        rng = np.random.default_rng(seed)
        # Set before each sample: otherwise albumentations repeats its randomness in every worker and epoch.
        self._pipeline.set_random_seed(int(seed.spawn(1)[0].generate_state(1)[0]))
        image, mask = cut_at_random(
            rng,
            image,
            mask,
            crop_size=self._crop_size,
            scale=rng.uniform(*self._scale_range),
            fill=self._fill,
            ignore_index=self._ignore_index,
            category_max_ratio=self._category_max_ratio,
        )
        result = self._pipeline(image=image, mask=mask)
        return result["image"], result["mask"]

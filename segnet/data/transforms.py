"""Augmentation by albumentations: geometry and colour only; images stay uint8 RGB.

The one module that knows albumentations, so that it can be replaced.
"""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the network for a newer version

import albumentations as A
import cv2

from segnet.errors import ConfigError


class RandomScale(A.RandomScale):
    """Leaves at least one pixel of a picture that is only a few pixels high or wide; albumentations fails there."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        smallest = (1 + 1e-6) / min(params["shape"][:2])  # sizes are rounded down
        return {"scale": max(params["scale"], smallest)}


class TrainTransform:
    """Random scale, pad, crop, flip and colour jitter.

    Args:
        crop_size: (height, width) of what comes out [pixels].
        scale_range: smallest and largest factor on the image's size.
        flip: probability of a horizontal flip.
        colour_jitter: strength on brightness, contrast and saturation, 0 for none; on hue a quarter of it.
        fill: value of padded pixels in each channel before colour jitter, 0-255.
        ignore_index: mask value of padded pixels.
        seed: with the epoch and the index of the image, the only source of randomness.

    Raises:
        ConfigError: a value outside these.
    """

    def __init__(
        self,
        *,
        crop_size: Sequence[int],
        scale_range: Sequence[float],
        flip: float,
        colour_jitter: float,
        fill: Sequence[int],
        ignore_index: int,
        seed: int,
    ) -> None:
        if len(crop_size) != 2 or min(crop_size) < 1:
            raise ConfigError(f"data.crop_size={list(crop_size)} is not [height, width], each 1 or more")
        if len(scale_range) != 2 or not 0 < scale_range[0] <= scale_range[1]:
            raise ConfigError(f"data.scale_range={list(scale_range)} is not [smallest, largest], both above 0")
        if not 0 <= flip <= 1:
            raise ConfigError(f"data.flip={flip} is not a probability between 0 and 1")
        if not 0 <= colour_jitter <= 1:
            raise ConfigError(f"data.colour_jitter={colour_jitter} is not a strength between 0 and 1")
        if colour_jitter > 0 and len(fill) != 3:
            raise ConfigError(
                f"data.colour_jitter={colour_jitter} is for RGB, but the images have {len(fill)} channels: "
                "set data.colour_jitter=0"
            )
        # OpenCV pads at most 4 channels with values of their own: of more, the fill is made 0 for the while.
        self._offset = np.array(fill, np.float32) if len(fill) > 4 else None
        height, width = crop_size
        strength = colour_jitter
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # an unknown argument is only warned about
            self._pipeline = A.Compose(
                [
                    RandomScale(
                        (scale_range[0] - 1, scale_range[1] - 1),
                        interpolation=cv2.INTER_LINEAR,
                        mask_interpolation=cv2.INTER_NEAREST_EXACT,  # INTER_NEAREST is half a pixel off the image
                        p=1,
                    ),
                    A.PadIfNeeded(
                        height,
                        width,
                        position="random",
                        border_mode=cv2.BORDER_CONSTANT,
                        fill=0 if self._offset is not None else tuple(fill),
                        fill_mask=ignore_index,
                        p=1,
                    ),
                    A.RandomCrop(height, width, p=1),
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
        self._seed = seed

    def __call__(
        self, image: NDArray[np.uint8 | np.float32], mask: NDArray[np.uint8 | np.int32], *, epoch: int, index: int
    ) -> tuple[NDArray[np.uint8 | np.float32], NDArray[np.uint8 | np.int32]]:
        """Image (H, W, channels), 0-255, and mask (H, W) -> both in crop size, with the types they came in."""
        # Set before each sample: albumentations repeats its draws in every worker and every epoch otherwise.
        self._pipeline.set_random_seed(int(np.random.SeedSequence([self._seed, epoch, index]).generate_state(1)[0]))
        if self._offset is None:
            result = self._pipeline(image=image, mask=mask)
            return result["image"], result["mask"]
        result = self._pipeline(image=image.astype(np.float32) - self._offset, mask=mask)
        shifted = result["image"] + self._offset
        return (shifted.round().astype(np.uint8) if image.dtype == np.uint8 else shifted), result["mask"]

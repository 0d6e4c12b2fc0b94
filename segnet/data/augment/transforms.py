"""Augmentation: scale, crop and turn, flip and jitter, then the transforms of data.augment.

Every draw follows from (seed, epoch, index), never from a worker or an earlier sample.
"""

from collections.abc import Sequence
from typing import Any

import albumentations as A
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from segnet.data.augment.crops import cut_at_random
from segnet.data.augment.listed import ListedTransforms
from segnet.data.augment.plane_codes import to_codes, to_planes
from segnet.data.augment.presets import listed_transforms
from segnet.data.augment.turns import apply_turns, before_turns
from segnet.errors import ConfigError
from segnet.images.partial import Pixels


class TrainTransform:
    """Random scale, pad, crop, turn, flip and color jitter, and further transforms.

    Args:
        crop_size: (height, width) of the result [pixels].
        scale_range: smallest and largest factor of the image's size.
        flip: probability of a horizontal flip.
        color_jitter: strength of brightness, contrast and saturation jitter, 0 for none; hue jitter is a quarter of it.
            Only RGB images have saturation and hue.
        category_max_ratio: a crop with a larger fraction of one class is drawn again; 1: never. In multilabel masks, a
            combination of classes counts as a class, and pixels without any class as another.
        fill: value of padded pixels in each channel before color jitter, 0-255.
        ignore_index: mask value of padded pixels.
        seed: the only source of randomness, together with the epoch and the index of the image.
        augment: a preset or list of transforms, see `segnet.data.augment.presets`.

    Raises:
        ConfigError: a value out of range, or a transform that cannot be used.
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
        augment: Any = None,
    ) -> None:
        if len(crop_size) != 2 or min(crop_size) < 1:
            raise ConfigError(f"data.crop_size={list(crop_size)} must be [height, width], each 1 or more")
        if len(scale_range) != 2 or not 0 < scale_range[0] <= scale_range[1]:
            raise ConfigError(f"data.scale_range={list(scale_range)} must be [smallest, largest], both above 0")
        if not 0 <= flip <= 1:
            raise ConfigError(f"data.flip={flip} must be a probability between 0 and 1")
        if not 0 <= color_jitter <= 1:
            raise ConfigError(f"data.color_jitter={color_jitter} must be between 0 and 1")
        if not 0 < category_max_ratio <= 1:
            raise ConfigError(f"data.category_max_ratio={category_max_ratio} must be above 0, up to 1")
        is_rgb = len(fill) == 3
        self._pipeline = A.Compose([A.HorizontalFlip(p=flip), _rgb_jitter(color_jitter if is_rgb else 0.0)])
        self._band_jitter = 0.0 if is_rgb else color_jitter
        self._listed = ListedTransforms(listed_transforms(augment, len(fill)), fill, ignore_index)
        self._crop_size = (crop_size[0], crop_size[1])
        self._scale_range = (scale_range[0], scale_range[1])
        self._category_max_ratio = category_max_ratio
        self._fill = tuple(fill)
        self._ignore_index = ignore_index
        self._seed = seed

    def __call__(
        self, image: Pixels, mask: Pixels, *, epoch: int, index: int
    ) -> tuple[NDArray[np.uint8 | np.float32], NDArray[np.uint8 | np.int32]]:
        """Augment an image (H, W, channels), 0-255, and its mask (H, W) or (classes, H, W); both keep their types."""
        if len(mask.shape) == 3:
            codes, table = to_codes(mask)  # type: ignore[arg-type]  # planes are uint8
            image, codes = self(image, codes, epoch=epoch, index=index)
            return image, to_planes(codes, table)
        sequence = np.random.SeedSequence([self._seed, epoch, index])
        rng = np.random.default_rng(sequence)
        first, second, third = sequence.spawn(3)
        scale = rng.uniform(*self._scale_range)
        turns = self._listed.draw_turns(rng)
        part, ids = cut_at_random(
            rng,
            image,
            mask,
            crop_size=before_turns(self._crop_size, turns),
            scale=scale,
            fill=self._fill,
            ignore_index=self._ignore_index,
            category_max_ratio=self._category_max_ratio,
        )
        if turns:
            part, ids = apply_turns(part, turns), apply_turns(ids, turns)
        # Set before each sample: otherwise albumentations repeats its randomness in every worker and epoch.
        self._pipeline.set_random_seed(_seed_of(first))
        result = self._pipeline(image=part, mask=ids)
        part, ids = result["image"], result["mask"]
        if self._band_jitter > 0:
            part = jitter_bands(np.random.default_rng(second), part, self._band_jitter)
        return self._listed(part, ids, _seed_of(third))

    def try_listed(self, num_classes: int) -> None:
        """Try the transforms of data.augment on a crop.

        Raises:
            ConfigError: a transform fails on these channels, changes the size of a crop, or invents class ids.
        """
        self._listed.try_all(self._crop_size, num_classes)


def _rgb_jitter(strength: float) -> Any:
    return A.ColorJitter(
        brightness=(1 - strength, 1 + strength),
        contrast=(1 - strength, 1 + strength),
        saturation=(1 - strength, 1 + strength),
        hue=(-strength / 4, strength / 4),
        p=float(strength > 0),
    )


def jitter_bands(
    rng: Generator, image: NDArray[np.uint8 | np.float32], strength: float
) -> NDArray[np.uint8 | np.float32]:
    """Change brightness and contrast of an image of any channels.

    Both factors are drawn from 1 - strength to 1 + strength. They are the same for all bands, so that ratios of bands,
    such as vegetation indices, hardly change. Contrast is about the mean of each band: bands differ in their level.

    Args:
        image: (H, W, channels), 0-255.
        strength: 0-1.

    Returns:
        An image of the same type, 0-255.
    """
    brightness, contrast = rng.uniform(1 - strength, 1 + strength, 2)
    level = image.mean(axis=(0, 1), dtype=np.float64) * (1 - contrast) * brightness
    changed = image.astype(np.float32) * np.float32(brightness * contrast) + level.astype(np.float32)
    limited: NDArray[np.float32] = np.clip(changed, 0, 255)
    return np.rint(limited).astype(np.uint8) if image.dtype == np.uint8 else limited


def _seed_of(sequence: np.random.SeedSequence) -> int:
    return int(sequence.generate_state(1)[0])

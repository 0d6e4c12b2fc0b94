"""Apply the transforms of data.augment to the crops: a preset, or transforms of one's own."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import albumentations as A
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from segnet.config import DataConfig
from segnet.data.augment.building import Borders, build_transform, require_spec, short_reason
from segnet.data.augment.presets import complete_augment, listed_transforms
from segnet.data.augment.trials import try_transform
from segnet.data.augment.turns import TURNS, Turn
from segnet.errors import ConfigError

UINT8, FLOAT32 = np.dtype(np.uint8), np.dtype(np.float32)


class ListedTransforms:
    """The transforms of data.augment.

    albumentations expects floating-point images in 0-1, so those are scaled before and after.

    Args:
        listed: specs with their places (`segnet.data.augment.presets.listed_transforms`).
        fill: value of borders in each channel, 0-255.
        ignore_index: mask value of borders.

    Raises:
        ConfigError: an unknown transform or argument, or one that does not suit images with masks.
    """

    def __init__(self, listed: Sequence[tuple[str, Any]], fill: Sequence[int], ignore_index: int) -> None:
        for where, spec in listed:
            require_spec(where, spec)
        self._borders: dict[np.dtype[Any], Borders] = {UINT8: Borders(list(fill), 255, ignore_index)}
        if len(fill) != 3:  # RGB images are always uint8
            self._borders[FLOAT32] = Borders([value / 255 for value in fill], 1, ignore_index)
        self._turning = [(where, spec) for where, spec in listed if spec["name"] in TURNS]
        self._others = [(where, spec) for where, spec in listed if spec["name"] not in TURNS]
        self._turns = [
            (build_transform(where, spec, self._borders[UINT8]).p, TURNS[spec["name"]]) for where, spec in self._turning
        ]
        self._composed = {
            dtype: A.Compose([build_transform(where, spec, borders) for where, spec in self._others])
            for dtype, borders in self._borders.items()
        }

    def draw_turns(self, rng: Generator) -> list[Turn]:
        """Draw the turns of a sample; nothing is drawn from `rng` if none are listed."""
        return [
            turns[int(rng.integers(len(turns)))] for probability, turns in self._turns if rng.random() < probability
        ]

    def __call__(
        self, image: NDArray[np.uint8 | np.float32], mask: NDArray[np.uint8 | np.int32], seed: int
    ) -> tuple[NDArray[np.uint8 | np.float32], NDArray[np.uint8 | np.int32]]:
        """Apply the transforms other than turns to an image (H, W, channels), 0-255, and its mask (H, W).

        Raises:
            ConfigError: a transform fails, or changes the size.
        """
        if not self._others:
            return image, mask
        composed = self._composed[image.dtype]
        composed.set_random_seed(seed)  # before each sample, see `segnet.data.augment.transforms`
        scale = np.float32(1 if image.dtype == np.uint8 else 255)
        try:
            result = composed(image=image if scale == 1 else image / scale, mask=mask)
        except MemoryError:
            raise
        except Exception as error:  # of any type: albumentations, OpenCV and NumPy raise their own
            raise ConfigError(
                f"data.augment: {self._names}: {short_reason(error)}: remove the one that fails"
            ) from error
        changed, ids = result["image"], result["mask"]
        if changed.shape != image.shape or ids.shape != mask.shape:
            raise ConfigError(
                f"data.augment: {self._names}: a crop of {image.shape[1]} x {image.shape[0]} became one of "
                f"{changed.shape[1]} x {changed.shape[0]}: remove the transform that changes the size"
            )
        return (changed if scale == 1 else np.clip(changed * scale, 0, 255)), ids

    @cached_property
    def _names(self) -> str:
        return ", ".join(dict.fromkeys(spec["name"] for _, spec in self._others))

    def try_all(self, crop_size: Sequence[int], num_classes: int) -> None:
        """Try each transform on a crop.

        Args:
            crop_size: (height, width) [pixels].
            num_classes: number of classes.

        Raises:
            ConfigError: a transform does not suit such crops; see `try_transform`.
        """
        for where, spec in self._others:
            for borders in self._borders.values():
                try_transform(where, spec, borders, crop_size, num_classes)


def checked_augment(data: DataConfig) -> DataConfig:
    """Return `complete_augment`, with the names of all transforms and their arguments checked.

    Raises:
        ConfigError: an unknown preset, transform or argument.
        DataError: the file of data.augment cannot be read.
    """
    completed = complete_augment(data)
    for where, spec in listed_transforms(completed.augment, channels=3):
        require_spec(where, spec)
    return completed

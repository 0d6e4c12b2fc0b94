"""CutMix (arXiv 1905.04899): replace a rectangle of image and mask by that of another crop of the batch."""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from segnet.data.dataset import Sample
from segnet.errors import ConfigError


class CutMix:
    """Mix the crops of a batch.

    Args:
        probability: probability of mixing a crop, 0-1.
        seed: the only source of randomness, together with the epoch and number of each sample.

    Raises:
        ConfigError: the probability is not in 0-1.
    """

    def __init__(self, probability: float, seed: int) -> None:
        if not 0 <= probability <= 1:
            raise ConfigError(f"data.cutmix={probability} must be a probability between 0 and 1")
        self._probability = probability
        self._seed = seed

    def __call__(self, samples: Sequence[Sample], keys: Sequence[tuple[int, int]]) -> list[Sample]:
        """Return new samples, some with a rectangle of the preceding sample; the last sample precedes the first.

        Args:
            samples: samples of equal size; they are not modified.
            keys: (epoch, number) of each sample.
        """
        if self._probability == 0:
            return list(samples)
        before = [samples[-1], *samples[:-1]]
        return [self._mixed(*three) for three in zip(samples, before, keys, strict=True)]

    def _mixed(self, sample: Sample, other: Sample, key: tuple[int, int]) -> Sample:
        # The 1 gives a separate random stream: the augmentation uses [seed, epoch, number].
        rng = np.random.default_rng([self._seed, *key, 1])
        if rng.random() >= self._probability:
            return sample
        rows, columns = _draw_rectangle(rng, *sample.mask.shape[-2:])
        image, mask = sample.image.copy(), sample.mask.copy()
        image[rows, columns] = other.image[rows, columns]
        mask[..., rows, columns] = other.mask[..., rows, columns]  # of planes too
        return Sample(image, mask, sample.name)


def _draw_rectangle(rng: Generator, height: int, width: int) -> tuple[slice, slice]:
    """Draw a rectangle with the crop's proportions, of uniform area and center, clipped to the crop."""
    side = rng.random() ** 0.5
    spans = []
    for length in (height, width):
        half = side * length / 2
        center = rng.random() * length
        spans.append(slice(max(0, round(center - half)), min(length, round(center + half))))
    return spans[0], spans[1]

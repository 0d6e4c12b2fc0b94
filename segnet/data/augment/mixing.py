"""CutMix (arXiv 1905.04899): a rectangle of each crop comes from another crop of its batch, image and mask alike."""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from segnet.data.dataset import Sample
from segnet.errors import ConfigError


class CutMix:
    """Mixes the crops of a batch.

    Args:
        probability: of a crop to be mixed, 0-1.
        seed: with the epoch and the number of each sample, the only source of randomness.

    Raises:
        ConfigError: no probability.
    """

    def __init__(self, probability: float, seed: int) -> None:
        if not 0 <= probability <= 1:
            raise ConfigError(f"data.cutmix={probability} is not a probability between 0 and 1")
        self._probability = probability
        self._seed = seed

    def __call__(self, samples: Sequence[Sample], keys: Sequence[tuple[int, int]]) -> list[Sample]:
        """Samples of one size, and (epoch, number) of each -> as many, in which some hold a rectangle of the one before
        them, the first of the last; those that came in are left as they are."""
        if self._probability == 0:
            return list(samples)
        before = [samples[-1], *samples[:-1]]
        return [self._mixed(*three) for three in zip(samples, before, keys, strict=True)]

    def _mixed(self, sample: Sample, other: Sample, key: tuple[int, int]) -> Sample:
        # The last number keeps these draws apart from the augmentation's, which has the seed and the two of the key.
        rng = np.random.default_rng([self._seed, *key, 1])
        if rng.random() >= self._probability:
            return sample
        rows, columns = _draw_rectangle(rng, *sample.mask.shape)
        image, mask = sample.image.copy(), sample.mask.copy()
        image[rows, columns] = other.image[rows, columns]
        mask[rows, columns] = other.mask[rows, columns]
        return Sample(image, mask, sample.name)


def _draw_rectangle(rng: Generator, height: int, width: int) -> tuple[slice, slice]:
    """A rectangle of the crop's proportions, its share of the area and its center uniform; what lies beyond is cut."""
    side = rng.random() ** 0.5
    spans = []
    for length in (height, width):
        half = side * length / 2
        center = rng.random() * length
        spans.append(slice(max(0, round(center - half)), min(length, round(center + half))))
    return spans[0], spans[1]

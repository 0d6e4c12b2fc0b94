"""CutMix: rectangles of another crop, in image and mask; only seed, epoch and number determine them."""

import numpy as np
import pytest

from segnet.data.augment.mixing import CutMix
from segnet.data.dataset import Sample
from segnet.errors import ConfigError


def crops(count, height=24, width=40, channels=3):
    """Return samples of one color and one class each: their number modulo 256."""
    masks = [np.full((height, width), number % 256, np.uint8) for number in range(count)]
    return [Sample(np.stack([mask] * channels, axis=2), mask, str(number)) for number, mask in enumerate(masks)]


def keys(count, epoch=0):
    return [(epoch, 10 + number) for number in range(count)]


def test_a_rectangle_comes_from_the_preceding_crop_in_image_and_mask():
    samples = crops(64)
    shares = []
    for index, mixed in enumerate(CutMix(1.0, seed=0)(samples, keys(64))):
        assert mixed.name == str(index)
        assert np.array_equal(mixed.image, np.repeat(mixed.mask[..., None], 3, axis=2))
        foreign = mixed.mask == (index - 1) % 64
        assert np.all(foreign | (mixed.mask == index))
        rows, columns = foreign.any(axis=1), foreign.any(axis=0)
        assert np.array_equal(foreign, rows[:, None] & columns)
        assert np.count_nonzero(np.diff(rows)) <= 2
        assert np.count_nonzero(np.diff(columns)) <= 2
        shares.append(foreign.mean())
    assert min(shares) < 0.1
    assert max(shares) > 0.6
    assert all(np.array_equal(sample.mask, crop.mask) for sample, crop in zip(samples, crops(64), strict=True))


def test_the_probability_is_the_fraction_of_mixed_crops():
    count = 2000
    mixed = CutMix(0.3, seed=1)(crops(count, 8, 8), keys(count))
    changed = sum(bool((crop.mask != index % 256).any()) for index, crop in enumerate(mixed))
    assert 0.2 < changed / count < 0.34  # some rectangles have no pixel


def test_mixing_depends_only_on_seed_epoch_and_number():
    def masks(seed, epoch, count):
        return [crop.mask for crop in CutMix(1.0, seed)(crops(count), keys(count, epoch))]

    def alike(one, other):
        return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))

    assert alike(masks(0, 0, 8), masks(0, 0, 8))
    assert alike(masks(0, 0, 8)[1:4], masks(0, 0, 4)[1:])
    assert not alike(masks(0, 0, 8), masks(1, 0, 8))
    assert not alike(masks(0, 0, 8), masks(0, 1, 8))


def test_crops_are_unchanged_without_cutmix_or_in_a_batch_of_one():
    samples = crops(3)
    assert CutMix(0.0, seed=0)(samples, keys(3)) == samples
    (alone,) = CutMix(1.0, seed=0)(samples[:1], keys(1))
    assert np.array_equal(alone.image, samples[0].image)
    assert np.array_equal(alone.mask, samples[0].mask)


@pytest.mark.parametrize("probability", [-0.1, 1.5])
def test_a_probability_outside_0_to_1_is_refused(probability):
    with pytest.raises(ConfigError, match=rf"data\.cutmix={probability} must be a probability between 0 and 1"):
        CutMix(probability, seed=0)

"""Order of training samples: by seed and epoch, divided among processes, rare classes more often."""

import numpy as np
import pytest

from segnet.data.sampler import EpochSampler, class_factors, repeat_factors


def test_the_sampler_yields_every_index_once_with_its_epoch():
    sampler = EpochSampler(11, seed=0)
    sampler.set_epoch(4)
    keys = list(sampler)
    assert len(sampler) == len(keys) == 11
    assert {epoch for epoch, _ in keys} == {4}
    assert sorted(index for _, index in keys) == list(range(11))


def test_the_order_depends_only_on_seed_and_epoch():
    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochSampler(30, seed)
        list(sampler)  # an earlier pass changes nothing
        sampler.set_epoch(epoch)
        return [index for _, index in sampler]

    orders = [order(seed, epoch) for seed in range(3) for epoch in range(3)]
    assert orders == [order(seed, epoch) for seed in range(3) for epoch in range(3)]
    assert len({tuple(indices) for indices in orders}) == 9
    assert list(range(30)) not in orders


@pytest.mark.parametrize(("length", "num_processes"), [(12, 2), (11, 2), (13, 4), (3, 3)])
def test_ranks_divide_the_samples_evenly_without_overlap(length, num_processes):
    samplers = [EpochSampler(length, 5, rank, num_processes) for rank in range(num_processes)]
    shares = [[index for _, index in sampler] for sampler in samplers]
    assert {len(share) for share in shares} == {len(samplers[0])} == {length // num_processes}
    together = [index for share in shares for index in share]
    assert len(set(together)) == len(together)
    assert set(together) <= set(range(length))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_resumed_sampler_skips_samples_of_that_epoch_only(rank):
    whole, resumed = (EpochSampler(11, 3, rank, 2) for _ in range(2))
    resumed.resume(epoch=2, num_samples=4)
    whole.set_epoch(2)
    assert list(resumed) == list(whole)[4:]  # even before set_epoch: workers start at once
    for epoch in (2, 3):
        whole.set_epoch(epoch)
        resumed.set_epoch(epoch)
        assert list(resumed) == list(whole)[4 if epoch == 2 else 0 :]
    assert len(resumed) == len(whole) == 5  # the learning-rate schedule counts whole epochs


# Rare classes

PRESENT = [[0], [0], [0], [0, 1], [0], [0, 1, 2], [0], [0], [0], []]  # labels of ten images


def test_repeat_factors_match_lvis():
    """max(1, sqrt(threshold / fraction of images)); an image has the largest factor of its classes."""
    assert class_factors(PRESENT, 0.4) == pytest.approx({0: 1, 1: (0.4 / 0.2) ** 0.5, 2: (0.4 / 0.1) ** 0.5})
    np.testing.assert_allclose(repeat_factors(PRESENT, 0.4), [1, 1, 1, 2**0.5, 1, 2, 1, 1, 1, 1])
    np.testing.assert_array_equal(repeat_factors(PRESENT, 0), np.ones(10))


REPEATS = [1.0, 2.5, 1.25, 1.0, 3.0, 1.4]


def numbers(sampler: EpochSampler, epoch: int = 0) -> list[int]:
    sampler.set_epoch(epoch)
    return [number for _, number in sampler]


def test_images_are_repeated_by_their_factors_on_average():
    sampler = EpochSampler(6, seed=1, repeats=REPEATS)
    counts = np.zeros((2000, 6))
    for epoch in range(2000):
        drawn = numbers(sampler, epoch)
        assert len(drawn) == len(sampler) == 10  # 9 whole times, and 1.15 more
        counts[epoch] = np.bincount(np.array(drawn) % 6, minlength=6)
        assert (counts[epoch] >= np.floor(REPEATS)).all()
    extra = np.subtract(REPEATS, np.floor(REPEATS))
    np.testing.assert_allclose(counts.mean(axis=0), np.floor(REPEATS) + extra / extra.sum(), atol=0.04)


def test_every_repetition_has_its_own_number():
    drawn = numbers(EpochSampler(6, seed=1, repeats=REPEATS))
    assert len(set(drawn)) == len(drawn)
    assert {number for number in drawn if number < 6} == set(range(6))
    assert max(drawn) < 6 * 4


def test_factors_of_1_yield_every_image_once():
    assert sorted(numbers(EpochSampler(6, seed=1, repeats=np.ones(6)))) == list(range(6))


def test_repeated_images_are_divided_and_resumed_like_others():
    whole = numbers(EpochSampler(6, seed=1, repeats=REPEATS), epoch=3)
    shares = [EpochSampler(6, 1, rank, 2, repeats=REPEATS) for rank in range(2)]
    assert [numbers(share, epoch=3) for share in shares] == [whole[::2], whole[1::2]]
    resumed = EpochSampler(6, 1, 1, 2, repeats=REPEATS)
    resumed.resume(epoch=3, num_samples=2)
    assert [number for _, number in resumed] == whole[1::2][2:]

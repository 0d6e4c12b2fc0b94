"""The order of training samples: by seed and epoch, shared by processes, rare classes more often."""

import pytest

from segnet.data.sampler import EpochSampler


def test_sampler_gives_every_index_once_with_its_epoch():
    sampler = EpochSampler(11, seed=0)
    sampler.set_epoch(4)
    keys = list(sampler)
    assert len(sampler) == len(keys) == 11
    assert {epoch for epoch, _ in keys} == {4}
    assert sorted(index for _, index in keys) == list(range(11))


def test_sampler_order_depends_on_seed_and_epoch_alone():
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
def test_ranks_share_the_samples_evenly_without_overlap(length, num_processes):
    samplers = [EpochSampler(length, 5, rank, num_processes) for rank in range(num_processes)]
    shares = [[index for _, index in sampler] for sampler in samplers]
    assert {len(share) for share in shares} == {len(samplers[0])} == {length // num_processes}
    together = [index for share in shares for index in share]
    assert len(set(together)) == len(together)
    assert set(together) <= set(range(length))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_resumed_sampler_leaves_out_what_it_gave_in_that_epoch_only(rank):
    whole, resumed = (EpochSampler(11, 3, rank, 2) for _ in range(2))
    resumed.resume(epoch=2, num_samples=4)
    whole.set_epoch(2)
    assert list(resumed) == list(whole)[4:]  # even before Lightning tells the epoch: workers begin at once
    for epoch in (2, 3):
        whole.set_epoch(epoch)
        resumed.set_epoch(epoch)
        assert list(resumed) == list(whole)[4 if epoch == 2 else 0 :]
    assert len(resumed) == len(whole) == 5  # the learning-rate schedule counts whole epochs

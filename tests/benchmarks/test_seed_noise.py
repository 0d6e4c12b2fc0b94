"""The simulation and the splits of benchmarks/seed_noise.py."""

import numpy as np
from seed_noise import equal_shares, series, simulated, splits


def test_all_splits_of_the_checkpoints_are_compared_once():
    rng = np.random.default_rng(0)
    assert splits(3, 1, 100, rng) == [([0], [1]), ([0], [2]), ([1], [2])]
    found = splits(6, 3, 100, rng)
    assert len(found) == 10
    assert all(sorted(first + second) == list(range(6)) for first, second in found)
    assert len(splits(8, 2, 50, rng)) == 50


def test_neighboring_images_are_correlated():
    values = series(np.random.default_rng(0), 2000, 0.8)
    assert abs(values.std() - 1) < 0.1
    assert all(abs(np.corrcoef(column[1:], column[:-1])[0, 1] - 0.8) < 0.1 for column in values.T)


def test_equal_recipes_are_called_equal_and_different_ones_are_not():
    rng = np.random.default_rng(0)
    options = {"frames": 0.0, "seed_sd": 0.05, "images": 30}
    assert equal_shares(simulated(rng, 3, 3, **options) for _ in range(10))[1] >= 8
    assert equal_shares(simulated(rng, 3, 3, effect=2.0, **options) for _ in range(10))[1] == 0

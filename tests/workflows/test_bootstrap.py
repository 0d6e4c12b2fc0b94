"""Intervals for differences of IoU: known cases, and their calibration on simulated images and seeds."""

import math

import numpy as np
import pytest
import torch

from segnet.training.metrics import Scores
from segnet.workflows.bootstrap import (
    block_length,
    block_weights,
    bootstrap_differences,
    holm,
    influence,
    iou_of,
    seed_variance,
    with_mean,
)

CLASSES, IMAGES = 3, 40


def simulated(seeds, rng, effect=0.0, seed_sd=0.2, noise=0.3, images=IMAGES):
    """Pixel counts (checkpoints, images, 3, classes) of `seeds` trainings of one recipe on shared images, and more.

    Recall is a sigmoid of the image, the training seed (`seed_sd`), chance (`noise`) and the recipe (`effect`).
    """
    truth = np.round(500 * np.exp(rng.standard_normal((images, CLASSES))))
    difficulty = rng.standard_normal((images, CLASSES))

    def trainings(count, shift):
        found = []
        for _ in range(count):
            seed = seed_sd * rng.standard_normal(CLASSES)
            chance = noise * rng.standard_normal((images, CLASSES))
            recall = 1 / (1 + np.exp(-(1 + shift + difficulty + seed + chance)))
            correct = np.floor(truth * recall)
            missed = (truth - correct).sum(axis=1, keepdims=True) * [0.5, 0.3, 0.2]
            found.append(np.stack([correct, truth, correct + np.round(missed)], axis=1))
        return np.stack(found).astype(np.int64)

    return trainings(seeds, 0.0), trainings(seeds, effect)


def compared(first, second, **options):
    return bootstrap_differences(first, second, **{"block": 1, "draws": 1000, "seed": 0, **options})


def test_the_scores_are_those_of_the_evaluation():
    matrix = np.random.default_rng(0).integers(0, 50, (5, 4, 4))
    matrix[:, 2, :] = matrix[:, :, 2] = 0  # an absent class
    counts = np.stack([matrix.diagonal(axis1=1, axis2=2), matrix.sum(2), matrix.sum(1)], axis=1)
    scores = Scores.from_matrix(torch.tensor(matrix.sum(0)))
    found = compared(counts[None], counts[None])
    np.testing.assert_allclose(found.first, [*scores.iou, scores.miou])
    np.testing.assert_allclose(with_mean(iou_of(counts.sum(0).astype(float))), [*scores.iou, scores.miou])
    assert math.isnan(found.p[2])
    assert math.isnan(found.low[2])


def test_a_checkpoint_does_not_differ_from_itself():
    first, _ = simulated(1, np.random.default_rng(0))
    found = compared(first, first)
    assert found.difference.tolist() == found.low.tolist() == found.high.tolist() == [0.0] * 4
    assert found.p.tolist() == [1.0] * 4
    assert not found.has_seeds


def test_the_same_images_are_drawn_for_both_sides():
    """Images differ a lot, but both checkpoints alike: the paired interval is far narrower than that of one score."""
    first, _ = simulated(1, np.random.default_rng(1), noise=0.0)
    better = first.copy()
    better[:, :, 0] += (better[:, :, 1] - better[:, :, 0]) // 10  # a tenth of the missed pixels of each image
    better[:, :, 2] += better[:, :, 0] - first[:, :, 0]
    found = compared(first, better)
    assert (found.p < 0.01).all()
    assert (found.low > 0).all()
    alone = [with_mean(iou_of(first[0, rows].sum(0).astype(float)))[-1] for rows in (slice(0, 20), slice(20, 40))]
    assert abs(alone[0] - alone[1]) > found.high[-1] - found.low[-1]


def test_two_recipes_that_differ_a_lot_are_told_apart():
    found = compared(*simulated(3, np.random.default_rng(2), effect=1.0))
    assert found.has_seeds
    assert found.p[-1] < 0.05
    assert found.low[-1] > 0
    np.testing.assert_allclose(found.difference, found.second - found.first)


def test_seeds_of_one_recipe_are_called_equal():
    """Of 60 pairs about 57; below 54 the intervals would be too narrow. Images alone call far fewer pairs equal."""
    rng = np.random.default_rng(3)
    pairs = [simulated(3, rng) for _ in range(60)]
    found = [compared(*pair) for pair in pairs]
    assert sum(one.p[-1] > 0.05 for one in found) >= 54
    assert sum((one.p[:-1] > 0.05).all() for one in found) >= 54  # no class at all
    assert sum(compared(*(side[:1] for side in pair)).p[-1] > 0.05 for pair in pairs) < 48


def test_the_interval_of_two_files_covers_their_difference_on_all_images():
    """One checkpoint a side, 40 of 4,000 images: the interval holds the difference on all of them."""
    rng = np.random.default_rng(4)
    first, second = simulated(1, rng, images=4000)
    true = with_mean(iou_of(second[0].sum(0).astype(float))) - with_mean(iou_of(first[0].sum(0).astype(float)))
    covered = []
    for start in range(0, 4000, 40):
        found = compared(first[:, start : start + 40], second[:, start : start + 40])
        covered.append(found.low[-1] <= true[-1] <= found.high[-1])
    assert 90 <= sum(covered) <= 99


def test_the_seed_decides_the_draws():
    pair = simulated(2, np.random.default_rng(5))
    one, same, other = (compared(*pair, seed=seed) for seed in (0, 0, 1))
    assert one.low.tolist() == same.low.tolist() != other.low.tolist()


def test_the_variance_between_seeds_is_that_of_the_t_test():
    scores = np.array([[1.0], [3.0], [7.0], [8.0], [9.0]])
    pooled = (2 * np.var([1, 3], ddof=1) / 2 + 2 * np.var([7, 8, 9], ddof=1)) / 3
    assert seed_variance(scores, 2)[0] == pytest.approx(pooled * (1 / 2 + 1 / 3))


def test_a_draw_takes_circular_blocks_of_neighbors(monkeypatch):
    monkeypatch.setattr("segnet.workflows.bootstrap.AT_ONCE_BYTES", 8 * 15 * 7)  # chunks of seven draws
    chunks = list(block_weights(10, 4, 50, np.random.default_rng(0), columns=5))
    weights = np.concatenate(chunks)
    assert [len(chunk) for chunk in chunks] == [7] * 7 + [1]
    assert weights.shape == (50, 10)
    assert (weights.sum(axis=1) == 10).all()
    starts = np.random.default_rng(0).integers(10, size=(50, 3))
    for row, first in zip(weights, starts, strict=True):
        index = [(start + step) % 10 for start in first for step in range(4)][:10]
        assert row.tolist() == np.bincount(index, minlength=10).tolist()


def test_the_block_length_follows_the_correlation():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((20, 200))
    smooth = np.zeros_like(noise)
    for index in range(1, 200):
        smooth[:, index] = 0.9 * smooth[:, index - 1] + noise[:, index]
    assert np.median([block_length(row) for row in noise]) == 1
    assert 8 <= np.median([block_length(row) for row in smooth]) <= 40
    assert block_length(np.ones(50)) == 1
    assert block_length(np.arange(50.0)) == 10  # at most a fifth
    assert block_length(np.arange(5.0)) == 1


def test_correlated_images_widen_the_interval():
    first, second = simulated(1, np.random.default_rng(6))
    twice = [np.repeat(side, 4, axis=1) for side in (first, second)]  # each image as four frames in a row
    widths = [compared(*twice, block=block) for block in (1, 4, None)]
    single, blocks, chosen = (found.high[-1] - found.low[-1] for found in widths)
    assert blocks == pytest.approx(2 * single, rel=0.25)
    assert widths[2].block > 1
    assert chosen > 1.2 * single


def test_the_influence_of_an_image_is_its_share_in_the_difference():
    first, second = simulated(2, np.random.default_rng(7))
    counts = np.concatenate([first, second]).astype(float)
    weights = np.ones(IMAGES)
    weights[3] += 1e-6
    before, after = (
        with_mean(iou_of((counts * given[:, None, None]).sum(axis=1)))[:, -1] for given in (np.ones(IMAGES), weights)
    )
    change = (after - before) / 1e-6
    assert influence(counts, 2)[3] == pytest.approx(change[2:].mean() - change[:2].mean(), rel=1e-3)


def test_holm_by_hand():
    adjusted = holm(np.array([0.01, 0.04, math.nan, 0.03, 0.5]))
    np.testing.assert_allclose(adjusted, [0.04, 0.09, math.nan, 0.09, 0.5])

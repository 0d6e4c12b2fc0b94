"""The moving average over frames: its values, its lag, and when it starts again."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from segnet.errors import ConfigError
from segnet.inference.smoothing import Smoothing, frames_to_change

GRAY = np.full((4, 6, 3), 100, np.uint8)


def frames(count, seed=0, classes=3):
    return torch.tensor(
        np.random.default_rng(seed).dirichlet([1] * classes, (count, 4, 6)), dtype=torch.float32
    ).permute(0, 3, 1, 2)


def test_the_average_is_exponential():
    smoothing, probabilities = Smoothing(0.7), frames(5)
    expected = probabilities[0].double()
    for frame in probabilities:
        expected = 0.7 * expected + 0.3 * frame.double()
        found = smoothing(GRAY, frame)
        torch.testing.assert_close(found, expected.float())
    torch.testing.assert_close(found.sum(dim=0), torch.ones(4, 6))


def test_weight_0_changes_nothing():
    smoothing, probabilities = Smoothing(0), frames(3)
    for frame in probabilities:
        assert torch.equal(smoothing(GRAY, frame), frame)


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
def test_a_sure_change_is_shown_by_the_stated_frame(weight):
    smoothing = Smoothing(weight)
    old, new = torch.tensor([1.0, 0.0])[:, None, None], torch.tensor([0.0, 1.0])[:, None, None]
    for _ in range(200):
        smoothing(GRAY, old)
    shown = [int(smoothing(GRAY, new).argmax()) for _ in range(100)]
    assert shown.index(1) + 1 == frames_to_change(weight)
    assert all(shown[shown.index(1) :])


def test_a_cut_and_another_size_start_again():
    smoothing, probabilities = Smoothing(0.9), frames(4)
    smoothing(GRAY, probabilities[0])
    assert not torch.equal(smoothing(GRAY + 20, probabilities[1]), probabilities[1])  # brighter: no cut
    assert torch.equal(smoothing(GRAY + 120, probabilities[2]), probabilities[2])
    assert torch.equal(smoothing(GRAY[:2] + 120, probabilities[3][:, :2]), probabilities[3][:, :2])


def test_a_moving_object_is_no_cut():
    smoothing, probabilities = Smoothing(0.9), frames(2)
    image = np.full((64, 64, 3), 100, np.uint8)
    before, after = image.copy(), image.copy()
    before[:14, :14] = after[40:54, 40:54] = 255  # a mean difference of 14.8
    smoothing(before, probabilities[0])
    assert not torch.equal(smoothing(after, probabilities[1]), probabilities[1])


def test_a_copy_leaves_the_original_as_it_is():
    smoothing, probabilities = Smoothing(0.5), frames(3)
    smoothing(GRAY, probabilities[0])
    other = smoothing.copy()
    first = other(GRAY, probabilities[1])
    assert torch.equal(smoothing.copy()(GRAY, probabilities[1]), first)
    smoothing.take(other)
    assert torch.equal(smoothing(GRAY, probabilities[2]), torch.lerp(probabilities[2], first, 0.5))


@pytest.mark.parametrize("weight", [-0.1, 1.0, float("nan")])
def test_a_weight_out_of_range_is_refused(weight):
    with pytest.raises(ConfigError, match=r"smooth=.* must be the weight of earlier frames, 0-0.99"):
        Smoothing(weight)


def test_noise_flickers_less():
    """Noise on probabilities of a still scene: fewer pixels change their class between frames."""
    rng = np.random.default_rng(0)
    truth = np.zeros((3, 40, 40))
    truth[0], truth[1, :, 20:] = 1.0, 2.0
    image = np.full((40, 40, 3), 100, np.uint8)

    def flicker(smoothing):
        masks = []
        for _ in range(12):
            logits = torch.tensor(truth + rng.standard_normal(truth.shape), dtype=torch.float32)
            masks.append(smoothing(image, logits.softmax(dim=0)).argmax(dim=0))
        return np.mean([float((one != other).float().mean()) for one, other in pairwise(masks[4:])])

    plain, smooth = flicker(Smoothing(0)), flicker(Smoothing(0.7))
    assert plain > 0.2
    assert smooth < plain / 2

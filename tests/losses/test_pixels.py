"""Pixel-wise losses against float64 references that compute one pixel at a time."""

import math

import pytest
import torch

from segnet.errors import ConfigError
from segnet.losses import CrossEntropy, Focal
from segnet.losses.pixels import OHEM

IGNORED = 255
NUM_CLASSES = 4
WEIGHTS = [0.5, 2.0, 0.0, 1.5]


def sample(ignored_share: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, NUM_CLASSES, 5, 6, generator=generator)
    mask = torch.randint(0, NUM_CLASSES, (2, 5, 6), generator=generator)
    mask[torch.rand(2, 5, 6, generator=generator) < ignored_share] = IGNORED
    return logits, mask


def pixels(logits: torch.Tensor, mask: torch.Tensor) -> list[tuple[list[float], int]]:
    """Return (log-probabilities, true class) of each pixel that is not ignored, in float64."""
    found = []
    for image, truth in zip(logits.double(), mask, strict=True):
        for y in range(truth.shape[0]):
            for x in range(truth.shape[1]):
                if truth[y, x] != IGNORED:
                    values = image[:, y, x].tolist()
                    total = math.log(sum(math.exp(value) for value in values))
                    found.append(([value - total for value in values], int(truth[y, x])))
    return found


def by_hand(logits, mask, weights=(1, 1, 1, 1), smoothing=0.0, gamma=0.0) -> float:
    """Weighted mean, shared by the three losses' references."""
    total, weight = 0.0, 0.0
    for logs, label in pixels(logits, mask):
        true = -weights[label] * logs[label] * (1 - math.exp(logs[label])) ** gamma
        even = -sum(w * log for w, log in zip(weights, logs, strict=True)) / len(logs)
        total += (1 - smoothing) * true + smoothing * even
        weight += weights[label]
    return total / weight


@pytest.mark.parametrize("ignored_share", [0.0, 0.3, 0.95])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_cross_entropy_averages_over_pixels_that_are_not_ignored(ignored_share, dtype):
    logits, mask = sample(ignored_share)
    loss = CrossEntropy(IGNORED, NUM_CLASSES)(logits, mask.to(dtype))
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(by_hand(logits, mask), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy_with_class_weights_and_label_smoothing(weights, smoothing):
    logits, mask = sample()
    loss = CrossEntropy(IGNORED, NUM_CLASSES, class_weight=weights, label_smoothing=smoothing)(logits, mask)
    assert loss.item() == pytest.approx(by_hand(logits, mask, weights or (1, 1, 1, 1), smoothing), rel=1e-6)


def test_pixels_of_weight_zero_have_loss_zero():
    logits, _ = sample()
    mask = torch.full((2, 5, 6), 2)
    for loss in (
        CrossEntropy(IGNORED, NUM_CLASSES, class_weight=WEIGHTS),
        OHEM(IGNORED, NUM_CLASSES, class_weight=WEIGHTS),
        Focal(IGNORED, NUM_CLASSES, class_weight=WEIGHTS),
    ):
        assert loss(logits, mask).item() == 0


def test_the_gradient_is_softmax_minus_one_hot_and_zero_for_ignored_pixels():
    logits, mask = sample()
    logits.requires_grad_()
    CrossEntropy(IGNORED, NUM_CLASSES)(logits, mask).backward()
    counted = (mask != IGNORED)[:, None]
    one_hot = torch.nn.functional.one_hot(mask.where(mask != IGNORED, 0), 4).permute(0, 3, 1, 2)
    torch.testing.assert_close(logits.grad, (logits.softmax(1) - one_hot) * counted / counted.sum())


def test_ignore_index_may_have_any_value():
    logits, mask = sample(0)
    loss = CrossEntropy(3, NUM_CLASSES)(logits, mask)
    assert loss.item() == pytest.approx(by_hand(logits, mask.where(mask != 3, IGNORED)), rel=1e-6)


@pytest.mark.parametrize("loss", [CrossEntropy, OHEM, Focal])
def test_a_mask_value_out_of_range_is_an_error(loss):
    logits, mask = sample()
    mask[0, 0, 0] = 4
    with pytest.raises(RuntimeError, match="index 4 is out of bounds"):
        loss(IGNORED, NUM_CLASSES)(logits, mask)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_focal_matches_its_formula(weights, gamma):
    logits, mask = sample()
    loss = Focal(IGNORED, NUM_CLASSES, gamma=gamma, class_weight=weights)(logits, mask)
    assert loss.item() == pytest.approx(by_hand(logits, mask, weights or (1, 1, 1, 1), gamma=gamma), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_has_finite_gradients_for_certain_pixels(gamma):
    logits = torch.tensor([200.0, -200.0, 0.0, 0.0]).view(1, 4, 1, 1).requires_grad_()
    Focal(IGNORED, NUM_CLASSES, gamma=gamma)(logits, torch.zeros(1, 1, 1, dtype=torch.long)).backward()
    assert logits.grad.isfinite().all()


def hard_by_hand(logits, mask, thresh, min_kept) -> float:
    """Sort pixels by the true class's probability; keep those below thresh and at least min_kept per image."""
    found = sorted(math.exp(logs[label]) for logs, label in pixels(logits, mask))
    below = [p for p in found if p < thresh]
    kept = below if len(below) > min_kept * len(logits) else found[: min_kept * len(logits)]
    return sum(-math.log(p) for p in kept) / len(kept)


@pytest.mark.parametrize("thresh", [0.05, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("min_kept", [1, 7, 25, 1000])
def test_ohem_keeps_pixels_below_the_threshold_and_at_least_the_hardest(thresh, min_kept):
    logits, mask = sample()
    loss = OHEM(IGNORED, NUM_CLASSES, thresh=thresh, min_kept=min_kept)(logits, mask)
    assert loss.item() == pytest.approx(hard_by_hand(logits, mask, thresh, min_kept), rel=1e-6)


def test_ohem_without_a_threshold_is_top_k():
    logits, mask = sample()
    loss = OHEM(IGNORED, NUM_CLASSES, thresh=None, min_kept=5)(logits, mask)
    hardest = sorted((-logs[label] for logs, label in pixels(logits, mask)), reverse=True)[:10]  # 5 of each image
    assert loss.item() == pytest.approx(sum(hardest) / 10, rel=1e-6)


def test_easy_pixels_have_no_gradient_with_ohem():
    logits, mask = sample()
    logits.requires_grad_()
    OHEM(IGNORED, NUM_CLASSES, thresh=None, min_kept=5)(logits, mask).backward()
    assert torch.count_nonzero(logits.grad.abs().sum(1)) == 10


def test_ohem_applies_class_weights_as_cross_entropy_does():
    logits, mask = sample()
    loss = OHEM(IGNORED, NUM_CLASSES, thresh=1.0, class_weight=WEIGHTS)(logits, mask)
    assert loss.item() == pytest.approx(by_hand(logits, mask, WEIGHTS), rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        (CrossEntropy, {"label_smoothing": 1.0}, r"loss\.label_smoothing=1\.0"),
        (CrossEntropy, {"class_weight": [1, 2]}, r"loss\.class_weight has 2 values, but there are 4 classes"),
        (CrossEntropy, {"class_weight": [1, -1, 1, 1]}, r"loss\.class_weight=\[1, -1, 1, 1\]"),
        (CrossEntropy, {"class_weight": [0, 0, 0, 0]}, "not all 0"),
        (OHEM, {"thresh": 0.0}, r"loss\.thresh=0\.0"),
        (OHEM, {"min_kept": 0}, r"loss\.min_kept=0"),
        (Focal, {"gamma": -1}, r"loss\.gamma=-1"),
    ],
)
def test_impossible_values_are_refused(loss, options, message):
    with pytest.raises(ConfigError, match=message):
        loss(IGNORED, NUM_CLASSES, **options)

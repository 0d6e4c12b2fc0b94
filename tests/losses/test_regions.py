"""Region losses against float64 references in numpy that compute one class at a time."""

import numpy as np
import pytest
import torch

from segnet.errors import ConfigError
from segnet.losses.regions import Dice, LovaszSoftmax, Tversky, _soft_counts

IGNORED = 255
NUM_CLASSES = 4


def sample(ignored_share: float = 0.3, absent: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(2, NUM_CLASSES, 5, 6, generator=generator)
    mask = torch.randint(0, NUM_CLASSES, (2, 5, 6), generator=generator)
    if absent is not None:
        mask[mask == absent] = 0
    mask[torch.rand(2, 5, 6, generator=generator) < ignored_share] = IGNORED
    return logits, mask


def flat(logits: torch.Tensor, mask: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (N, K) and truth (N,) of the pixels that are not ignored, in float64."""
    values = np.moveaxis(logits.double().numpy(), 1, -1).reshape(-1, NUM_CLASSES)
    exponentials = np.exp(values)
    truth = mask.numpy().reshape(-1)
    return (exponentials / exponentials.sum(1, keepdims=True))[truth != IGNORED], truth[truth != IGNORED]


def tversky_by_hand(logits, mask, alpha, beta, smooth) -> float:
    probabilities, truth = flat(logits, mask)
    losses = []
    for label in range(NUM_CLASSES):
        p, g = probabilities[:, label], truth == label
        hits = p[g].sum()
        losses.append(1 - (hits + smooth) / (hits + alpha * p[~g].sum() + beta * (1 - p[g]).sum() + smooth))
    return float(np.mean(losses))


@pytest.mark.parametrize("absent", [None, 2])
@pytest.mark.parametrize(("alpha", "beta", "smooth"), [(0.3, 0.7, 1.0), (0.5, 0.5, 1e-3), (1.0, 0.0, 10.0)])
def test_tversky_matches_its_formula(alpha, beta, smooth, absent):
    logits, mask = sample(absent=absent)
    loss = Tversky(IGNORED, NUM_CLASSES, alpha=alpha, beta=beta, smooth=smooth)(logits, mask)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(tversky_by_hand(logits, mask, alpha, beta, smooth), rel=1e-5)


@pytest.mark.parametrize("absent", [None, 2])
@pytest.mark.parametrize("smooth", [1e-3, 1.0])
def test_dice_matches_its_formula(smooth, absent):
    logits, mask = sample(absent=absent)
    probabilities, truth = flat(logits, mask)
    losses = []
    for label in range(NUM_CLASSES):
        p, g = probabilities[:, label], (truth == label).astype(float)
        losses.append(1 - (2 * (p * g).sum() + smooth) / (p.sum() + g.sum() + smooth))
    loss = Dice(IGNORED, NUM_CLASSES, smooth=smooth)(logits, mask)
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_the_loss_does_not_depend_on_the_mask_s_integer_dtype(dtype):
    logits, mask = sample()
    for loss in (Dice(IGNORED, NUM_CLASSES), LovaszSoftmax(IGNORED, NUM_CLASSES)):
        assert loss(logits, mask.to(dtype)).item() == loss(logits, mask).item()


def test_an_ignore_index_that_equals_a_class_ignores_its_pixels():
    logits, mask = sample(ignored_share=0)
    for loss in (Dice, LovaszSoftmax, Tversky):
        expected = loss(IGNORED, NUM_CLASSES)(logits, mask.where(mask != 3, IGNORED))
        assert loss(3, NUM_CLASSES)(logits, mask).item() == pytest.approx(expected.item(), rel=1e-6)


def jaccard_loss(wrong: set[int], truth: set[int]) -> float:
    """1 - IoU of a prediction that differs from the truth in exactly these pixels (equation 5 of arXiv 1705.08790)."""
    union = len(truth | wrong)
    return len(wrong) / union if union else 0.0


def lovasz_by_hand(logits, mask) -> float:
    """Equation 8: errors in descending order, each times its pixel's increment of the loss."""
    probabilities, truth = flat(logits, mask)
    losses = []
    for label in np.unique(truth):
        errors = np.where(truth == label, 1 - probabilities[:, label], probabilities[:, label])
        pixels = {int(index) for index in np.flatnonzero(truth == label)}
        wrong, total = set(), 0.0
        for index in np.argsort(-errors):
            before = jaccard_loss(wrong, pixels)
            wrong.add(int(index))
            total += errors[index] * (jaccard_loss(wrong, pixels) - before)
        losses.append(total)
    return float(np.mean(losses))


@pytest.mark.parametrize("absent", [None, 2])
@pytest.mark.parametrize("ignored_share", [0.0, 0.3, 0.95])
def test_lovasz_matches_the_extension_of_the_jaccard_loss(ignored_share, absent):
    logits, mask = sample(ignored_share, absent)
    loss = LovaszSoftmax(IGNORED, NUM_CLASSES)(logits, mask)
    assert loss.item() == pytest.approx(lovasz_by_hand(logits, mask), rel=1e-5)


@pytest.mark.parametrize("chunk", [1, 100])
def test_lovasz_does_not_depend_on_the_number_of_classes_at_a_time(chunk, monkeypatch):
    logits, mask = sample()
    expected = LovaszSoftmax(IGNORED, NUM_CLASSES)(logits, mask).item()
    monkeypatch.setattr("segnet.losses.regions.VALUES_AT_ONCE", chunk)
    assert LovaszSoftmax(IGNORED, NUM_CLASSES)(logits, mask).item() == pytest.approx(expected, rel=1e-6)


def test_lovasz_of_certain_predictions_is_one_minus_iou():
    generator = torch.Generator().manual_seed(2)
    mask = torch.randint(0, NUM_CLASSES, (2, 5, 6), generator=generator)
    predicted = torch.randint(0, NUM_CLASSES, (2, 5, 6), generator=generator)
    logits = 1000.0 * torch.nn.functional.one_hot(predicted, NUM_CLASSES).permute(0, 3, 1, 2)
    ious = []
    for label in range(NUM_CLASSES):
        union = ((mask == label) | (predicted == label)).sum()
        ious.append(((mask == label) & (predicted == label)).sum() / union)
    loss = LovaszSoftmax(IGNORED, NUM_CLASSES)(logits, mask)
    assert loss.item() == pytest.approx(1 - torch.stack(ious).mean().item(), rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        (Dice, {"smooth": 0}, r"loss\.smooth=0 "),
        (Tversky, {"smooth": float("nan")}, r"loss\.smooth=nan"),
        (Tversky, {"alpha": -1}, r"loss\.alpha=-1"),
        (Tversky, {"beta": float("inf")}, r"loss\.beta=inf"),
    ],
)
def test_impossible_values_are_refused(loss, options, message):
    with pytest.raises(ConfigError, match=message):
        loss(IGNORED, NUM_CLASSES, **options)


@pytest.mark.parametrize("loss", [Dice, Tversky])
def test_absent_classes_are_excluded_with_many_classes(loss):
    """150 classes, 10 of them in the masks, and nearly perfect logits."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.randint(0, 10, (4, 128, 128), generator=generator)
    logits = torch.zeros(4, 150, 128, 128).scatter_(1, mask[:, None], 11.0)
    assert float(loss(255, 150)(logits, mask)) < 0.02
    assert float(loss(255, 150, present_only=False)(logits, mask)) > 0.2
    few = [float(loss(255, 19, present_only=choice)(logits[:, :19], mask)) for choice in (None, False, True)]
    assert few[0] == few[1] != few[2]


@pytest.mark.parametrize("loss", [Dice, Tversky])
def test_present_only_averages_over_the_present_classes(loss):
    mask = torch.tensor([[[0, 0], [2, 255]]])
    logits = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    present = loss(255, 4, present_only=True)(logits, mask)
    hits, wrong, missed = _soft_counts(logits, mask, 255)
    alpha, beta, weight = (1, 1, 2) if loss is Dice else (0.3, 0.7, 1)
    each = (alpha * wrong + beta * missed) / (weight * hits + alpha * wrong + beta * missed + 1)
    torch.testing.assert_close(present, each[[0, 2]].mean())
    nothing = loss(255, 4, present_only=True)(logits, torch.full((1, 2, 2), 255))
    nothing.backward()
    assert float(nothing) == 0
    assert not logits.grad.any()

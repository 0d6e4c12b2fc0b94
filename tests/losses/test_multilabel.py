"""BCE + Dice against a float64 reference in numpy that computes one class at a time."""

import numpy as np
import pytest
import torch

from segnet.classes import Classes
from segnet.errors import ConfigError
from segnet.losses import LOSSES, build_loss
from segnet.losses.multilabel import BCEDice

IGNORED, NUM_CLASSES = 255, 3
SEVERAL = Classes.create(["a", "b", "c"], task="multilabel")


def sample(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and planes with ignored pixels; the last class has no pixel."""
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(2, NUM_CLASSES, 6, 5, generator=generator, dtype=torch.float64)
    mask = (torch.rand(2, NUM_CLASSES, 6, 5, generator=generator) < 0.4).to(torch.uint8)
    mask[:, 2] = 0
    mask[torch.rand(mask.shape, generator=generator) < 0.2] = IGNORED
    return logits.to(dtype), mask


def by_hand(logits, mask, positive, class_weight, smooth, bce_weight, dice_weight) -> float:
    total = weights = 0.0
    for label in range(NUM_CLASSES):
        z, g = logits[:, label].numpy().ravel(), mask[:, label].numpy().ravel()
        z, g = z[g != IGNORED], g[g != IGNORED].astype(float)
        if not len(g):
            continue
        p = 1 / (1 + np.exp(-z))
        loss = bce_weight * np.mean(-(positive[label] * g * np.log(p) + (1 - g) * np.log(1 - p)))
        if g.any():
            loss += dice_weight * (1 - (2 * (p * g).sum() + smooth) / (p.sum() + g.sum() + smooth))
        total, weights = total + class_weight[label] * loss, weights + class_weight[label]
    return total / weights


@pytest.mark.parametrize(
    ("positive", "class_weight", "smooth", "bce_weight", "dice_weight"),
    [(1.0, None, 1.0, 1.0, 1.0), ([1.0, 4.0, 0.5], [2.0, 1.0, 3.0], 1e-3, 0.5, 2.0), (3.0, None, 1.0, 1.0, 0.0)],
)
def test_it_matches_its_formula(positive, class_weight, smooth, bce_weight, dice_weight):
    logits, mask = sample()
    options = {"positive_weight": positive, "class_weight": class_weight, "smooth": smooth}
    loss = BCEDice(IGNORED, NUM_CLASSES, bce_weight=bce_weight, dice_weight=dice_weight, **options)(logits, mask)
    expected = by_hand(
        logits,
        mask,
        positive if isinstance(positive, list) else [positive] * NUM_CLASSES,
        class_weight or [1.0] * NUM_CLASSES,
        smooth,
        bce_weight,
        dice_weight,
    )
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_ignored_pixels_have_no_gradient_and_a_class_without_labels_does_not_count():
    logits, mask = sample()
    mask[:, 1] = IGNORED
    logits.requires_grad_()
    loss = BCEDice(IGNORED, NUM_CLASSES)
    loss(logits, mask).backward()
    assert (logits.grad[mask == IGNORED] == 0).all()
    assert (logits.grad[mask != IGNORED] != 0).all()
    two = BCEDice(IGNORED, 2)(logits[:, [0, 2]], mask[:, [0, 2]])
    assert loss(logits, mask).item() == pytest.approx(two.item(), rel=1e-12)
    mask[:] = IGNORED
    logits.grad = None
    nothing = loss(logits, mask)
    nothing.backward()
    assert nothing.item() == 0
    assert not logits.grad.any()


def test_small_logits_are_resized_to_the_mask():
    logits, mask = sample(torch.float32)
    small = logits[:, :, :3, :4]
    large = torch.nn.functional.interpolate(small, size=(6, 5), mode="bilinear", align_corners=False)
    loss = BCEDice(IGNORED, NUM_CLASSES)
    assert loss(small.half(), mask).dtype == torch.float32
    torch.testing.assert_close(loss(small, mask), loss(large, mask))


@pytest.mark.parametrize(
    "options",
    [
        {"bce_weight": -1.0},
        {"bce_weight": 0.0, "dice_weight": 0.0},
        {"smooth": 0.0},
        {"positive_weight": [1.0, 2.0]},
        {"class_weight": [0.0, 0.0, 0.0]},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ConfigError, match=r"loss\."):
        BCEDice(IGNORED, NUM_CLASSES, **options)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"bce_dice", "sum"}))
def test_losses_of_one_class_per_pixel_are_refused(name):
    with pytest.raises(ConfigError, match=rf"loss={name} is for one class per pixel, .* use loss=bce_dice"):
        build_loss({"name": name}, SEVERAL)


def test_a_sum_is_as_good_as_its_terms():
    with pytest.raises(ConfigError, match="loss=dice is for one class per pixel"):
        build_loss({"name": "sum", "terms": {"bce_dice": {}, "dice": {}}}, SEVERAL)
    loss = build_loss({"name": "sum", "terms": {"bce_dice": {"weight": 2.0}}}, SEVERAL)
    logits, mask = sample(torch.float32)
    torch.testing.assert_close(loss(logits, mask), 2 * BCEDice(IGNORED, NUM_CLASSES)(logits, mask))
    with pytest.raises(ConfigError, match="loss=bce_dice is for several classes per pixel"):
        build_loss({"name": "bce_dice"}, Classes.create(["a", "b"]))

"""RMI loss against a float64 reference written as the paper's code: one plane at a time, inverse and determinant."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segnet.errors import ConfigError
from segnet.losses import rmi
from segnet.losses.rmi import RIDGE, RMI

IGNORED = 255
NUM_CLASSES = 5


def sample(height=29, width=26, absent=3):
    """Blobs, ignored corners, and logits at a quarter of the size; class `absent` occurs in the second image only."""
    generator = torch.Generator().manual_seed(3)
    seeds = torch.randint(0, NUM_CLASSES, (2, 6, 5), generator=generator)
    seeds[0][seeds[0] == absent] = 1
    mask = F.interpolate(seeds[:, None].double(), size=(height, width), mode="nearest")[:, 0].long()
    mask[:, :4, :7] = IGNORED
    logits = 2 * torch.randn(2, NUM_CLASSES, 8, 7, generator=generator, dtype=torch.float64)
    return logits, mask


def by_the_paper(logits, mask, radius=3, pool="max", size=3):
    """I(Y; P) of each plane as ZJULearning/RMI computes it, with an explicit inverse and a determinant."""
    total = 0.0
    large = F.interpolate(logits, size=mask.shape[1:], mode="bilinear")
    for image, truth in zip(large, mask, strict=True):
        valid = (truth != IGNORED).double()
        for label, plane in enumerate(image):
            planes = [(truth == label).double(), torch.sigmoid(plane) * valid + 1e-6]
            pooled = [POOLS[pool](values[None], size, size, size // 2)[0] if size > 1 else values for values in planes]
            y, p = (F.unfold(values[None, None], radius)[0] for values in pooled)
            y, p = (values - values.mean(1, keepdim=True) for values in (y, p))
            eye = RIDGE * torch.eye(radius**2, dtype=torch.float64)
            left = y @ y.T - (y @ p.T) @ torch.inverse(p @ p.T + eye) @ (y @ p.T).T
            total = total + 0.5 * torch.linalg.slogdet(left + eye).logabsdet / radius**2
    return total / len(mask) - NUM_CLASSES * 0.5 * math.log(RIDGE)


POOLS = {"max": F.max_pool2d, "average": F.avg_pool2d}
OPTIONS = [{}, {"pool": "average", "pool_size": 4}, {"radius": 2, "pool_size": 1}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_value_and_gradient_match_the_reference(options, monkeypatch):
    monkeypatch.setattr(rmi, "PLANES_AT_ONCE", 2 * 29 * 26)  # the classes of an image in several chunks
    logits, mask = sample()
    theirs = logits.clone().requires_grad_()
    names = {"pool_size": "size"}
    expected = by_the_paper(theirs, mask, **{names.get(name, name): value for name, value in options.items()})
    expected.backward()
    ours = logits.clone().requires_grad_()
    found = RMI(IGNORED, NUM_CLASSES, **options)(ours, mask)
    (3 * found).backward()
    assert expected.item() > 1
    # average pooling counts 1e-6 of the reference's probabilities at the edges as 0
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(ours.grad, 3 * theirs.grad, rtol=1e-5, atol=1e-7)
    assert torch.count_nonzero(ours.grad[0, 3]) == 0  # absent from the first image
    assert torch.count_nonzero(ours.grad[1, 3]) > 0


def test_gradients_match_finite_differences():
    logits, mask = sample()
    loss = RMI(IGNORED, NUM_CLASSES, pool="average")  # max pooling has kinks
    loss(logits.requires_grad_(), mask).backward()
    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    with torch.no_grad():
        ahead, behind = (loss(logits + step * direction, mask) for step in (1e-5, -1e-5))
    slope = (logits.grad * direction).sum().item()
    assert slope == pytest.approx((ahead - behind).item() / 2e-5, rel=1e-6)


@pytest.mark.parametrize("size", [(96, 128), (300, 200)])
@pytest.mark.parametrize("value", [-1e4, 0.0, 30.0])
def test_constant_regions_are_finite(size, value):
    """One class fills an image, or half of it, and the probabilities are constant: all covariances are singular."""
    mask = torch.zeros(2, *size, dtype=torch.uint8)
    mask[1, : size[0] // 2] = 1
    logits = torch.full((2, 2, 24, 32), value, requires_grad=True)
    loss = RMI(IGNORED, 2)(logits, mask)
    loss.backward()
    assert 0 < loss.item() < 20
    assert logits.grad.isfinite().all()


def test_a_perfect_prediction_leaves_the_ridge_only():
    """The covariance left by the prediction, at most the ridge, is added to the ridge: twice the minimum at most."""
    _, mask = sample()
    truth = (mask[:, None] == torch.arange(NUM_CLASSES)[:, None, None]).float()
    present = truth.flatten(2).any(2).sum() / len(mask)
    perfect = RMI(IGNORED, NUM_CLASSES)(2e4 * truth - 1e4, mask)
    assert 0 < perfect <= present * 0.5 * math.log(2)
    assert RMI(IGNORED, NUM_CLASSES)(torch.zeros_like(truth), mask) > 10 * perfect


def test_float32_is_exact_to_six_digits():
    """With float32 covariances, an image of this size would differ in the second digit, or fail to factorize."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.randint(0, 2, (1, 30, 40), generator=generator).repeat_interleave(12, 1).repeat_interleave(12, 2)
    logits = torch.randn(1, 2, 90, 120, generator=generator)
    exact = RMI(IGNORED, 2)(logits.double(), mask)
    assert RMI(IGNORED, 2)(logits, mask).item() == pytest.approx(exact.item(), rel=1e-6)


def test_autocast_changes_nothing():
    logits, mask = sample()
    expected = RMI(IGNORED, NUM_CLASSES)(logits.bfloat16(), mask)
    with torch.autocast("cpu", torch.bfloat16):
        assert RMI(IGNORED, NUM_CLASSES)(logits.bfloat16(), mask) == expected
    assert expected.dtype == torch.float32


def test_images_too_small_for_a_region_have_loss_zero():
    for height, width in ((1, 1), (5, 40)):
        logits = torch.randn(1, NUM_CLASSES, height, width, requires_grad=True)
        loss = RMI(IGNORED, NUM_CLASSES)(logits, torch.zeros(1, height, width, dtype=torch.long))
        loss.backward()
        assert loss == 0
        assert not logits.grad.any()


def test_logits_that_are_not_finite_give_a_loss_that_is_not_finite():
    logits, mask = sample()
    assert np.isnan(RMI(IGNORED, NUM_CLASSES)(logits * math.nan, mask).item())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": "min"}, r"loss\.pool=min is unknown\. Choose from: average, max"),
        ({"radius": 0}, r"loss\.radius=0 must be between 1 and 10"),
        ({"pool_size": 11}, r"loss\.pool_size=11 must be"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        RMI(IGNORED, NUM_CLASSES, **options)

"""Memory-efficient losses against torch's losses of logits resized beforehand, in float64."""

import pytest
import torch
from torch.nn import functional as F

from segnet.losses import LOSSES
from segnet.losses import resized as module
from segnet.losses.resized import CrossEntropyOptions, cross_entropy_map, cross_entropy_sum

IGNORED = 255
NUM_CLASSES = 5
WEIGHTS = [0.5, 2.0, 0.0, 1.5, 1.0]


def sample(size=(7, 9), dtype=torch.float64, mask_size=(25, 34), num_images=3):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(num_images, NUM_CLASSES, *size, generator=generator, dtype=dtype)
    mask = torch.randint(0, NUM_CLASSES, (num_images, *mask_size), generator=generator)
    mask[torch.rand(mask.shape, generator=generator) < 0.3] = IGNORED
    return logits.requires_grad_(), mask


def whole(logits, mask, align_corners, **options):
    large = F.interpolate(logits, size=mask.shape[1:], mode="bilinear", align_corners=align_corners)
    return F.cross_entropy(large, mask, ignore_index=IGNORED, reduction="none", **options)


def assert_same(ours, theirs, logits):
    torch.testing.assert_close(ours, theirs)
    (our_gradient,), (their_gradient,) = (
        torch.autograd.grad(3 * value, logits, retain_graph=True) for value in (ours, theirs)
    )
    torch.testing.assert_close(our_gradient, their_gradient)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("size", [(7, 9), (25, 34), (1, 1), (40, 50)])
@pytest.mark.parametrize("images_at_a_time", [1, 2, 3])
def test_values_and_gradients_match_those_of_full_size_logits(
    monkeypatch, align_corners, weights, smoothing, size, images_at_a_time
):
    monkeypatch.setattr(module, "VALUES_AT_ONCE", images_at_a_time * NUM_CLASSES * 25 * 34)
    logits, mask = sample(size)
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    slopes = torch.rand(mask.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    options = CrossEntropyOptions(IGNORED, align_corners, weight, smoothing)
    expected = whole(logits, mask, align_corners, weight=weight, label_smoothing=smoothing)
    torch.testing.assert_close(cross_entropy_map(logits, mask, options), expected.detach())
    assert_same(cross_entropy_sum(logits, mask, options), expected.sum(), logits)
    assert_same(cross_entropy_sum(logits, mask, options, pixel_weight=slopes), (slopes * expected).sum(), logits)
    squares = cross_entropy_sum(logits, mask, options, pixel_weight=slopes, function=torch.square)
    assert_same(squares, (slopes * expected**2).sum(), logits)


def test_the_gradient_matches_finite_differences():
    logits, mask = sample((2, 3), mask_size=(5, 6), num_images=2)
    options = CrossEntropyOptions(IGNORED, False, torch.tensor(WEIGHTS, dtype=torch.float64), 0.1)
    assert torch.autograd.gradcheck(lambda x: cross_entropy_sum(x, mask, options), logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_logits_are_resized_in_float32(dtype):
    logits, mask = sample(dtype=dtype)
    ours = cross_entropy_sum(logits, mask.to(torch.uint8), CrossEntropyOptions(IGNORED, False))
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, whole(logits.double(), mask, False).sum().float(), rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(ours, logits)
    assert gradient.dtype == dtype


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"sum", "bce_dice"}))
@pytest.mark.parametrize("align_corners", [False, True])
def test_every_loss_of_small_logits_equals_that_of_resized_logits(name, align_corners):
    logits, mask = sample(dtype=torch.float32)
    loss = LOSSES[name](IGNORED, NUM_CLASSES)
    large = F.interpolate(logits, size=mask.shape[1:], mode="bilinear", align_corners=align_corners)
    assert_same(loss(logits, mask, align_corners), loss(large, mask), logits)


@pytest.mark.parametrize("name", ["cross_entropy", "ohem", "focal"])
def test_no_full_size_logits_are_kept_for_the_backward_pass(name):
    logits, mask = sample(dtype=torch.float32)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda x: x):
        LOSSES[name](IGNORED, NUM_CLASSES)(logits, mask)
    assert kept
    assert max(kept) <= max(mask.numel(), logits.numel())


@pytest.mark.parametrize("classes", [2, 15, 16])
def test_certain_pixels_keep_their_small_losses(classes):
    """The losses are smaller than float32's resolution at the magnitude of the logits."""
    logits = torch.full((1, classes, 4, 4), -1000.0)
    logits[:, 0], logits[:, 1] = 1000.0, 990.0
    mask = torch.zeros(1, 4, 4, dtype=torch.long)
    expected = whole(logits.double(), mask, False)
    assert 0 < expected.max() < 1e-4
    torch.testing.assert_close(cross_entropy_map(logits, mask, CrossEntropyOptions(IGNORED, False)), expected.float())

import math

import pytest
import torch

from segnet.losses import CrossEntropy

IGNORED = 255


def by_hand(logits: torch.Tensor, mask: torch.Tensor) -> float:
    """Mean of -log softmax at the true class over the pixels that count, one pixel at a time in float64."""
    losses = []
    for image, truth in zip(logits.double(), mask, strict=True):
        for y in range(truth.shape[0]):
            for x in range(truth.shape[1]):
                if truth[y, x] != IGNORED:
                    values = image[:, y, x].tolist()
                    losses.append(math.log(sum(math.exp(v) for v in values)) - values[truth[y, x]])
    return sum(losses) / len(losses)


def sample(ignored_share: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 4, 5, 6, generator=generator)
    mask = torch.randint(0, 4, (2, 5, 6), generator=generator)
    mask[torch.rand(2, 5, 6, generator=generator) < ignored_share] = IGNORED
    return logits, mask


@pytest.mark.parametrize("ignored_share", [0.0, 0.3, 0.95])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_cross_entropy_is_the_mean_over_the_pixels_that_count(ignored_share, dtype):
    logits, mask = sample(ignored_share)
    loss = CrossEntropy(IGNORED)(logits, mask.to(dtype))
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(by_hand(logits, mask), rel=1e-6)


def test_ignored_pixels_have_no_gradient_and_the_others_softmax_less_one_hot():
    logits, mask = sample()
    logits.requires_grad_()
    CrossEntropy(IGNORED)(logits, mask).backward()
    counted = (mask != IGNORED)[:, None]
    one_hot = torch.nn.functional.one_hot(mask.where(mask != IGNORED, 0), 4).permute(0, 3, 1, 2)
    torch.testing.assert_close(logits.grad, (logits.softmax(1) - one_hot) * counted / counted.sum())


def test_with_all_pixels_ignored_the_loss_is_zero_and_so_are_the_gradients():
    logits, mask = sample()
    logits.requires_grad_()
    loss = CrossEntropy(IGNORED)(logits, torch.full_like(mask, IGNORED))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_ignore_index_is_the_one_given():
    logits, mask = sample(0)
    loss = CrossEntropy(3)(logits, mask)
    assert loss.item() == pytest.approx(by_hand(logits, mask.where(mask != 3, IGNORED)), rel=1e-6)


def test_a_mask_value_that_is_neither_a_class_nor_ignored_is_an_error():
    logits, mask = sample()
    mask[0, 0, 0] = 4
    with pytest.raises(IndexError):
        CrossEntropy(IGNORED)(logits, mask)


def test_large_logits_and_half_precision_stay_finite():
    logits, mask = sample()
    assert CrossEntropy(IGNORED)(1e4 * logits.bfloat16(), mask).isfinite()
    assert CrossEntropy(IGNORED)(logits.half(), mask).item() == pytest.approx(by_hand(logits.half(), mask), rel=1e-5)

"""The contract of all losses, and their weighted sum."""

import pytest
import torch

from segnet.components import build
from segnet.errors import ConfigError
from segnet.losses import LOSSES

IGNORED = 255
NUM_CLASSES = 4
SUM = {"name": "sum", "terms": {"cross_entropy": {}, "dice": {"weight": 0.5, "smooth": 2.0}}}
OPTIONS = {"rmi": {"pool": "average"}}  # max pooling has kinks within the steps of the differences
OTHERS = {"sum", "bce_dice"}  # bce_dice takes other masks, see test_multilabel
SPECS = [SUM, *({"name": name, **OPTIONS.get(name, {})} for name in LOSSES if name not in OTHERS)]


def make(spec):
    return build("loss", LOSSES, spec, ignore_index=IGNORED, num_classes=NUM_CLASSES)


def sample():
    generator = torch.Generator().manual_seed(0)
    mask = torch.randint(0, NUM_CLASSES, (2, 24, 20), generator=generator)
    mask[:, :2] = IGNORED
    return torch.randn(2, NUM_CLASSES, 24, 20, generator=generator), mask


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["name"])
def test_loss_and_gradients_are_zero_if_all_pixels_are_ignored(spec):
    logits, mask = sample()
    logits.requires_grad_()
    loss = make(spec)(logits, torch.full_like(mask, IGNORED))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["name"])
def test_ignored_pixels_affect_neither_loss_nor_gradients(spec):
    logits, mask = sample()
    logits.requires_grad_()
    loss = make(spec)(logits, mask)
    loss.backward()
    assert torch.count_nonzero(logits.grad[:, :, :2]) == 0
    assert torch.count_nonzero(logits.grad[:, :, 2:]) > 0
    others = logits.detach().clone()
    others[:, :, :2] = 50 * torch.randn(2, NUM_CLASSES, 2, 20)
    assert make(spec)(others, mask).item() == pytest.approx(loss.item(), rel=1e-6)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["name"])
def test_a_loss_is_the_same_in_inference_mode(spec):
    """Validations in sliding windows use it, and it allows no gradient at all."""
    logits, mask = sample()
    loss = make(spec)
    expected = loss(logits.clone().requires_grad_(), mask).item()
    with torch.inference_mode():
        assert loss(logits, mask).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["name"])
def test_gradients_match_finite_differences(spec):
    """Logits are float64. The steps are wide, because the loss itself is float32."""
    logits, mask = sample()
    logits = logits.requires_grad_()
    loss = make(spec)
    loss(logits, mask).backward()
    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(5))
    step = 1e-2
    with torch.no_grad():
        slope = (loss(logits + step * direction, mask) - loss(logits - step * direction, mask)).double() / (2 * step)
    assert slope.item() == pytest.approx((logits.grad * direction).sum().item(), rel=0.02, abs=1e-4)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["name"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_computed_in_float32_and_stay_finite(spec, dtype):
    logits, mask = sample()
    loss = make(spec)
    half = logits.to(dtype)
    assert loss(half, mask).dtype == torch.float32
    assert loss(half, mask).item() == loss(half.float(), mask).item()
    large = (1e4 * half).requires_grad_()
    loss(large, mask).backward()
    assert loss(large, mask).isfinite()
    assert large.grad.isfinite().all()


def test_a_sum_equals_the_weighted_sum_of_its_terms():
    logits, mask = sample()
    terms = [make({"name": "cross_entropy"}), make({"name": "dice", "smooth": 2.0})]
    expected = terms[0](logits, mask) + 0.5 * terms[1](logits, mask)
    assert make(SUM)(logits, mask).item() == pytest.approx(expected.item(), rel=1e-6)


def test_class_weights_of_a_sum_reach_the_terms_that_have_them():
    weights, own = [1.0, 2.0, 0.5, 3.0], [4.0, 1.0, 1.0, 1.0]
    logits, mask = sample()
    terms = {"cross_entropy": {"weight": 0.5}, "rmi": {"weight": 0.5}, "focal": {"class_weight": own}}
    single = [
        (0.5, {"name": "cross_entropy", "class_weight": weights}),
        (0.5, {"name": "rmi"}),
        (1.0, {"name": "focal", "class_weight": own}),
    ]
    expected = sum(weight * make(spec)(logits, mask) for weight, spec in single)
    found = make({"name": "sum", "terms": terms, "class_weight": weights})(logits, mask)
    torch.testing.assert_close(found, expected)
    assert found != make({"name": "sum", "terms": terms})(logits, mask)


def test_class_weights_that_no_term_has_are_refused():
    with pytest.raises(ConfigError, match=r"none of the terms rmi, dice has class weights: .* ~loss\.class_w"):
        make({"name": "sum", "terms": {"rmi": {}, "dice": {}}, "class_weight": [1.0] * NUM_CLASSES})


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({}, "names no losses"),
        (["dice"], "names no losses"),
        ({"dicee": {}}, r"loss\.terms\.dicee is unknown\. Did you mean 'dice'"),
        ({"dice": {"weight": -1}}, r"loss\.terms\.dice\.weight=-1"),
        ({"dice": {"smoth": 1}}, r"loss\.terms\.dice\.smoth is not an option .*Did you mean 'smooth'"),
    ],
)
def test_an_invalid_sum_is_refused(terms, message):
    with pytest.raises(ConfigError, match=message):
        make({"name": "sum", "terms": terms})

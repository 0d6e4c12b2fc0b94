"""Distillation losses against references in numpy, one plane and one pixel at a time."""

import numpy as np
import pytest
import torch

from segnet.components import build
from segnet.errors import ConfigError
from segnet.losses.distillation import DIST, DISTILLATIONS, ChannelWise


def logits(seed, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(2, 4, 5, 6, generator=generator, dtype=torch.float64)


def softmax(values):
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def test_channel_wise_matches_its_formula():
    found, expected = logits(0), logits(1)
    divergences = []
    for student, teacher in zip(found.flatten(0, 1).numpy(), expected.flatten(0, 1).numpy(), strict=True):
        p, q = softmax(teacher / 2.5), softmax(student / 2.5)
        divergences.append(2.5**2 * np.sum(p * np.log(p / q)))
    assert ChannelWise(temperature=2.5)(found, expected).item() == pytest.approx(np.mean(divergences), rel=1e-10)


def test_dist_matches_its_formula():
    found, expected = logits(0), logits(1)
    pixels = [values.permute(0, 2, 3, 1).reshape(-1, 4).numpy() for values in (found, expected)]
    student, teacher = (np.stack([softmax(row) for row in rows]) for rows in pixels)
    inter = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(student, teacher, strict=True)])
    intra = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(student.T, teacher.T, strict=True)])
    loss = DIST(inter_class=0.5, intra_class=2.0)(found, expected)
    assert loss.item() == pytest.approx(0.5 * (1 - inter) + 2 * (1 - intra), rel=1e-6)


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_a_student_that_equals_its_teacher_has_loss_and_gradient_zero(name):
    student = logits(0).requires_grad_()
    loss = build("distillation", DISTILLATIONS, {"name": name})(student, logits(0))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert student.grad.abs().max() < 1e-7


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_gradients_match_finite_differences(name):
    loss = build("distillation", DISTILLATIONS, {"name": name})
    assert torch.autograd.gradcheck(lambda values: loss(values, logits(1)), logits(0).requires_grad_())


@pytest.mark.parametrize("name", DISTILLATIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_computed_in_float32(name, dtype):
    loss = build("distillation", DISTILLATIONS, {"name": name})
    student, teacher = logits(0).to(dtype), logits(1).to(dtype)
    assert loss(student, teacher).dtype == torch.float32
    assert loss(student, teacher) == loss(student.float(), teacher.float())
    extreme = (1e3 * student).requires_grad_()
    loss(extreme, -1e3 * teacher).backward()
    assert extreme.grad.isfinite().all()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "cwd", "temperature": 0.0}, r"distillation\.temperature=0\.0 must be above 0"),
        ({"name": "dist", "weight": -1.0}, r"distillation\.weight=-1\.0"),
        ({"name": "dist", "temperature": 4.0}, r"distillation\.temperature is not an option .*'cwd' has 'temperature'"),
        ({"name": "kd"}, r"distillation\.name=kd is unknown"),
    ],
)
def test_impossible_options_are_refused(spec, message):
    with pytest.raises(ConfigError, match=message):
        build("distillation", DISTILLATIONS, spec)

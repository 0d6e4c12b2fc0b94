import math

import pytest
import torch
from torch import nn

from segnet.config import OptimConfig
from segnet.errors import ConfigError
from segnet.training.optim import build_optimizer, build_schedule, check_optim, parameter_groups


def learning_rates(optim: OptimConfig, num_steps: int, num_done: int) -> list[float]:
    """Return the learning rate of the first step and after each of `num_done` steps."""
    optimizer = build_optimizer([{"params": [nn.Parameter(torch.zeros(1))]}], optim)
    schedule = build_schedule(optimizer, optim, num_steps)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(num_done):
        optimizer.step()
        schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def test_poly_schedule_matches_its_formula_and_ends_at_zero():
    rates = learning_rates(OptimConfig(lr=0.2, power=0.9), 4, 4)
    assert rates == pytest.approx([0.2, 0.2 * 0.75**0.9, 0.2 * 0.5**0.9, 0.2 * 0.25**0.9, 0.0])
    assert rates[2] == pytest.approx(0.107177346)
    assert rates[4] == 0


@pytest.mark.parametrize(("power", "middle"), [(1.0, 0.5), (2.0, 0.25)])
def test_power_is_the_exponent(power, middle):
    assert learning_rates(OptimConfig(lr=1.0, power=power), 2, 2) == pytest.approx([1, middle, 0])


def test_power_0_keeps_the_learning_rate():
    assert learning_rates(OptimConfig(lr=0.3, power=0), 3, 3) == [0.3] * 4


def test_learning_rate_stays_zero_beyond_the_end():
    assert learning_rates(OptimConfig(lr=0.1), 2, 4)[2:] == [0, 0, 0]


def test_optimizer_is_sgd_with_momentum_and_weight_decay():
    parameter = nn.Parameter(torch.tensor([2.0]))
    optimizer = build_optimizer([{"params": [parameter]}], OptimConfig(lr=0.1, momentum=0.5, weight_decay=0.01))
    value, velocity = 2.0, 0.0
    for gradient in (1.0, -3.0):
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
        velocity = 0.5 * velocity + gradient + 0.01 * value
        value -= 0.1 * velocity
        assert parameter.item() == pytest.approx(value)


@pytest.mark.parametrize("value", [-1e-6, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay", "power"])
def test_negative_and_non_finite_values_are_refused(name, value):
    with pytest.raises(ConfigError, match=rf"optim\.{name}={value}"):
        check_optim(OptimConfig(**{name: value}))


@pytest.mark.parametrize("momentum", [1.0, 1.5])
def test_a_momentum_of_one_or_more_is_refused(momentum):
    with pytest.raises(ConfigError, match="below 1"):
        check_optim(OptimConfig(momentum=momentum))


def test_adamw_matches_the_paper_s_update():
    """Algorithm 2 of arXiv 1711.05101, two steps by hand."""
    parameter = nn.Parameter(torch.tensor([2.0]))
    optim = OptimConfig(name="adamw", lr=0.1, betas=[0.8, 0.9], weight_decay=0.05)
    optimizer = build_optimizer([{"params": [parameter]}], optim)
    value, mean, square = 2.0, 0.0, 0.0
    for step, gradient in enumerate((1.0, -3.0), start=1):
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
        mean, square = 0.8 * mean + 0.2 * gradient, 0.9 * square + 0.1 * gradient**2
        direction = (mean / (1 - 0.8**step)) / ((square / (1 - 0.9**step)) ** 0.5 + 1e-8)
        value = value - 0.1 * direction - 0.1 * 0.05 * value
        assert parameter.item() == pytest.approx(value, rel=1e-5)


def test_cosine_schedule_matches_its_formula():
    rates = learning_rates(OptimConfig(lr=0.2, schedule="cosine"), 4, 5)
    assert rates == pytest.approx([0.2, 0.1 + 0.1 * math.sqrt(0.5), 0.1, 0.1 - 0.1 * math.sqrt(0.5), 0, 0])


@pytest.mark.parametrize("schedule", ["poly", "cosine"])
def test_the_schedule_ends_at_min_lr(schedule):
    rates = learning_rates(OptimConfig(lr=0.1, min_lr=0.01, schedule=schedule, power=1), 4, 6)
    assert rates[0] == pytest.approx(0.1)
    assert rates[2] == pytest.approx(0.055)
    assert rates[4:] == pytest.approx([0.01] * 3)


def test_warm_up_is_linear_and_the_schedule_starts_at_its_end():
    rates = learning_rates(OptimConfig(lr=0.4, warmup_steps=3, power=1), 7, 7)
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.3, 0.2, 0.1, 0.0])


def test_a_warm_up_as_long_as_the_run_is_refused():
    with pytest.raises(ConfigError, match=r"optim\.warmup_steps=4, but the run has only 4 steps"):
        learning_rates(OptimConfig(warmup_steps=4), 4, 0)


def network() -> tuple[nn.Module, nn.Module]:
    """Return a module of backbone and head, each a convolution and a norm, and its backbone."""
    backbone = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2))
    return nn.Sequential(backbone, nn.Conv2d(2, 2, 1)), backbone


def test_by_default_all_parameters_form_one_group_in_model_order():
    """Checkpoints store the optimizer's state in this order."""
    whole, backbone = network()
    [group] = parameter_groups(whole, backbone, OptimConfig())
    assert [id(parameter) for parameter in group["params"]] == [id(parameter) for parameter in whole.parameters()]


def test_the_backbone_keeps_its_own_learning_rate_through_the_schedule():
    whole, backbone = network()
    optim = OptimConfig(lr=0.2, backbone_lr_factor=0.1, power=1)
    groups = parameter_groups(whole, backbone, optim)
    assert [id(parameter) for parameter in groups[1]["params"]] == [
        id(parameter) for parameter in backbone.parameters()
    ]
    optimizer = build_optimizer(groups, optim)
    schedule = build_schedule(optimizer, optim, 4)
    assert schedule.get_last_lr() == pytest.approx([0.2, 0.02])
    optimizer.step()
    schedule.step()
    assert schedule.get_last_lr() == pytest.approx([0.15, 0.015])


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_without_norm_decay_only_convolution_weights_decay(name):
    whole, backbone = network()
    optim = OptimConfig(name=name, lr=0.5, weight_decay=0.1, norm_decay=False)
    optimizer = build_optimizer(parameter_groups(whole, backbone, optim), optim)
    for parameter in whole.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    decayed = {key for key, value in whole.named_parameters() if not torch.equal(value, torch.ones_like(value))}
    assert decayed == {"0.0.weight", "1.weight"}
    torch.testing.assert_close(whole[1].weight, torch.full_like(whole[1].weight, 0.95))


class Staged(nn.Sequential):
    """A backbone of a stem and two stages, with an embedding of two dimensions."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1))
        self[0].pos_embed = nn.Parameter(torch.ones(1, 2))

    @property
    def parts(self) -> list[nn.Module]:
        return list(self)


def named_rates(whole: nn.Module, backbone: nn.Module, optim: OptimConfig) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each parameter."""
    names = {id(parameter): name for name, parameter in whole.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in parameter_groups(whole, backbone, optim)
        for parameter in group["params"]
    }


def test_layer_decay_lowers_the_learning_rate_from_stage_to_stage():
    backbone = Staged()
    whole = nn.Sequential(backbone, nn.Conv2d(2, 2, 1))
    optim = OptimConfig(name="adamw", lr=1.0, weight_decay=0.1, backbone_lr_factor=0.8, layer_decay=0.5)
    found = named_rates(whole, backbone, optim)
    assert found == {
        "1.weight": (1.0, 0.1),
        "1.bias": (1.0, 0.0),
        "0.2.weight": (0.4, 0.1),
        "0.2.bias": (0.4, 0.0),
        "0.1.weight": (0.2, 0.1),
        "0.1.bias": (0.2, 0.0),
        "0.0.weight": (0.1, 0.1),
        "0.0.bias": (0.1, 0.0),
        "0.0.pos_embed": (0.1, 0.0),
    }
    assert [group["lr"] for group in parameter_groups(whole, backbone, optim)] == [1, 1, 0.4, 0.4, 0.2, 0.2, 0.1, 0.1]
    with_decay = OptimConfig(name="adamw", lr=1.0, weight_decay=0.1, norm_decay=True)
    assert set(named_rates(whole, backbone, with_decay).values()) == {(1.0, 0.1)}


def test_layer_decay_needs_a_backbone_with_stages():
    whole, backbone = network()
    with pytest.raises(ConfigError, match=r"optim\.layer_decay=0\.5 needs a backbone with stages"):
        parameter_groups(whole, backbone, OptimConfig(layer_decay=0.5))


def test_frozen_parameters_are_in_no_group():
    whole, backbone = network()
    backbone.requires_grad_(False)
    groups = parameter_groups(whole, backbone, OptimConfig(backbone_lr_factor=0.1, norm_decay=False))
    assert sum(len(group["params"]) for group in groups) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "sdg"}, r"optim\.name=sdg is unknown\. Did you mean 'sgd'"),
        ({"schedule": "cos"}, r"optim\.schedule=cos is unknown"),
        ({"betas": [0.9]}, r"optim\.betas=\[0\.9\]"),
        ({"betas": [0.9, 1.0]}, r"optim\.betas=\[0\.9, 1\.0\]"),
        ({"min_lr": 0.1, "lr": 0.01}, r"optim\.min_lr=0\.1 is above optim\.lr=0\.01"),
        ({"batch_size": 0}, r"optim\.batch_size=0"),
        ({"scale_lr": True, "batch_size": None}, r"set optim\.batch_size"),
        ({"backbone_lr_factor": -1}, r"optim\.backbone_lr_factor=-1"),
        ({"warmup_steps": -1}, r"optim\.warmup_steps=-1"),
        ({"layer_decay": 0}, r"optim\.layer_decay=0 must be above 0"),
        ({"layer_decay": 1.1}, r"optim\.layer_decay=1\.1"),
        ({"layer_decay": float("nan")}, r"optim\.layer_decay=nan"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        check_optim(OptimConfig(**options))

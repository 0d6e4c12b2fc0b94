import pytest
import torch
from torch import nn

from segnet.config import OptimConfig
from segnet.errors import ConfigError
from segnet.optim import build_optimizer, build_schedule, check_optim


def learning_rates(optim: OptimConfig, num_steps: int, num_taken: int) -> list[float]:
    """Of the first step and after each of the steps taken."""
    optimizer = build_optimizer([{"params": [nn.Parameter(torch.zeros(1))]}], optim)
    schedule = build_schedule(optimizer, optim, num_steps)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(num_taken):
        optimizer.step()
        schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def test_poly_schedule_has_the_values_of_its_formula_and_ends_at_zero():
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
def test_values_that_cannot_work_are_refused(name, value):
    with pytest.raises(ConfigError, match=rf"optim\.{name}={value}"):
        check_optim(OptimConfig(**{name: value}))


@pytest.mark.parametrize("momentum", [1.0, 1.5])
def test_a_momentum_that_never_forgets_is_refused(momentum):
    with pytest.raises(ConfigError, match="below 1"):
        check_optim(OptimConfig(momentum=momentum))

"""Optimiser and learning-rate schedule."""

import math
from collections.abc import Iterable

from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from segnet.config import OptimConfig
from segnet.errors import ConfigError


def check_optim(optim: OptimConfig) -> None:
    """Raises:
    ConfigError: a value that is negative or not finite, or a momentum of 1 or more.
    """
    for name in ("lr", "momentum", "weight_decay", "power"):
        value = getattr(optim, name)
        if not 0 <= value < math.inf:
            raise ConfigError(f"optim.{name}={value} must be 0 or more")
    if optim.momentum >= 1:
        raise ConfigError(f"optim.momentum={optim.momentum} must be below 1")


def build_optimizer(parameters: Iterable[nn.Parameter], optim: OptimConfig) -> Optimizer:
    """SGD with momentum."""
    return SGD(parameters, lr=optim.lr, momentum=optim.momentum, weight_decay=optim.weight_decay)


def build_schedule(optimizer: Optimizer, optim: OptimConfig, num_steps: int) -> LambdaLR:
    """The poly schedule (ParseNet, arXiv 1506.04579): lr * (1 - step / num_steps) ** power, changed every step.

    Args:
        num_steps: after how many the learning rate is 0.
    """
    return LambdaLR(optimizer, lambda step: max(0.0, 1 - step / num_steps) ** optim.power)

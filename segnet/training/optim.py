"""Optimizers, and the learning rate of each step."""

import math
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from segnet.components import did_you_mean
from segnet.config import OptimConfig
from segnet.errors import ConfigError

Groups = list[dict[str, Any]]  # parameters with a learning rate and a weight decay of their own, as torch takes them


def sgd(groups: Groups, optim: OptimConfig, fused: bool) -> Optimizer:
    """SGD with momentum."""
    return SGD(groups, lr=optim.lr, momentum=optim.momentum, weight_decay=optim.weight_decay, fused=fused)


def adamw(groups: Groups, optim: OptimConfig, fused: bool) -> Optimizer:
    """AdamW (arXiv 1711.05101)."""
    betas = (optim.betas[0], optim.betas[1])
    return AdamW(groups, lr=optim.lr, betas=betas, weight_decay=optim.weight_decay, fused=fused)


def poly(done: float, optim: OptimConfig) -> float:
    """ParseNet's (arXiv 1506.04579): (1 - done) ** power."""
    return float((1 - done) ** optim.power)


def cosine(done: float, optim: OptimConfig) -> float:
    """Half a period of the cosine (arXiv 1608.03983), from 1 to 0."""
    return (1 + math.cos(math.pi * done)) / 2


OPTIMIZERS: dict[str, Callable[[Groups, OptimConfig, bool], Optimizer]] = {"sgd": sgd, "adamw": adamw}
SCHEDULES: dict[str, Callable[[float, OptimConfig], float]] = {"poly": poly, "cosine": cosine}  # of a share of the run


def check_optim(optim: OptimConfig) -> None:
    """Raises:
    ConfigError: an unknown optimizer or schedule, a value that is negative or not finite, or a momentum of 1 or more.
    """
    if optim.name not in OPTIMIZERS:
        raise ConfigError(f"optim.name={optim.name} is unknown.{did_you_mean(optim.name, OPTIMIZERS)}")
    if optim.schedule not in SCHEDULES:
        raise ConfigError(f"optim.schedule={optim.schedule} is unknown.{did_you_mean(optim.schedule, SCHEDULES)}")
    for name in ("lr", "backbone_lr_factor", "momentum", "weight_decay", "power", "min_lr", "warmup_steps"):
        value = getattr(optim, name)
        if not 0 <= value < math.inf:
            raise ConfigError(f"optim.{name}={value} must be 0 or more")
    if optim.momentum >= 1:
        raise ConfigError(f"optim.momentum={optim.momentum} must be below 1")
    if len(optim.betas) != 2 or not all(0 <= beta < 1 for beta in optim.betas):
        raise ConfigError(f"optim.betas={optim.betas} must be two numbers in [0, 1)")
    if optim.min_lr > optim.lr:
        raise ConfigError(f"optim.min_lr={optim.min_lr} is above optim.lr={optim.lr}")
    if optim.batch_size is not None and optim.batch_size < 1:
        raise ConfigError(f"optim.batch_size={optim.batch_size} must be 1 or more")
    if optim.scale_lr and optim.batch_size is None:
        raise ConfigError("optim.scale_lr=true needs the batch that optim.lr is meant for: set optim.batch_size")


def parameter_groups(module: nn.Module, backbone: nn.Module, optim: OptimConfig) -> Groups:
    """The parameters that train, in groups of one learning rate and one weight decay; those of the backbone come last.

    Args:
        backbone: part of `module`.
    """
    of_backbone = {id(parameter) for parameter in backbone.parameters()} if optim.backbone_lr_factor != 1 else set()
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            decays = optim.norm_decay or parameter.ndim > 1  # norms and biases have one dimension
            groups.setdefault((id(parameter) in of_backbone, decays), []).append(parameter)
    return [
        {
            "params": groups[slow, decays],
            "lr": optim.lr * (optim.backbone_lr_factor if slow else 1),
            "weight_decay": optim.weight_decay if decays else 0.0,
        }
        for slow, decays in sorted(groups)
    ]


def build_optimizer(groups: Groups, optim: OptimConfig, *, fused: bool = True) -> Optimizer:
    """The optimizer that `optim` names; fused: all parameters in one kernel, which is faster."""
    return OPTIMIZERS[optim.name](groups, optim, fused)


def build_schedule(optimizer: Optimizer, optim: OptimConfig, num_steps: int) -> LambdaLR:
    """The learning rate of every step: warm-up, then the schedule of `optim.schedule` down to `optim.min_lr`.

    Every group goes the same way, each from its own learning rate.

    Args:
        num_steps: of the optimizer in the whole run, warm-up included; after them the learning rate stays.

    Raises:
        ConfigError: a warm-up as long as the run.
    """
    if optim.warmup_steps >= num_steps:
        raise ConfigError(f"optim.warmup_steps={optim.warmup_steps}, but the run has only {num_steps} steps")
    lowest = optim.min_lr / optim.lr if optim.lr else 0.0

    def factor(step: int) -> float:
        if step < optim.warmup_steps:
            return (step + 1) / (optim.warmup_steps + 1)
        done = min(1.0, (step - optim.warmup_steps) / (num_steps - optim.warmup_steps))
        return lowest + (1 - lowest) * SCHEDULES[optim.schedule](done, optim)

    return LambdaLR(optimizer, factor)


def hyperparameters(optimizer: Optimizer) -> Groups:
    """The options of each parameter group, without the parameters."""
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]


def apply_hyperparameters(schedule: LambdaLR, configured: Groups) -> tuple[float, float]:
    """Give the options of a configuration to an optimizer and a schedule that were restored from a checkpoint.

    With the options that the checkpoint was written with, nothing changes.

    Args:
        schedule: of the configuration, at the step of the checkpoint.
        configured: of the optimizer of the configuration, as `hyperparameters` gave them before the schedule was built.

    Returns:
        The learning rate of the checkpoint, and the one that the schedule gives; of the first group.
    """
    groups = schedule.optimizer.param_groups
    before = groups[0]["lr"]
    schedule.base_lrs = [options["lr"] for options in configured]
    for group, options, factor in zip(groups, configured, schedule.lr_lambdas, strict=True):
        group.update(options)
        group["initial_lr"] = options["lr"]
        group["lr"] = options["lr"] * factor(schedule.last_epoch)
    schedule._last_lr = [group["lr"] for group in groups]
    return float(before), float(groups[0]["lr"])

"""Optimizers and learning rate schedules."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from segnet.components import did_you_mean
from segnet.config import OptimConfig, known
from segnet.errors import ConfigError, counted

Groups = list[dict[str, Any]]  # torch's parameter groups, each with its learning rate and weight decay


def sgd(groups: Groups, optim: OptimConfig, fused: bool) -> Optimizer:
    """SGD with momentum."""
    decay = known(optim.weight_decay)
    return SGD(groups, lr=known(optim.lr), momentum=optim.momentum, weight_decay=decay, fused=fused)


def adamw(groups: Groups, optim: OptimConfig, fused: bool) -> Optimizer:
    """AdamW (arXiv 1711.05101)."""
    betas = (optim.betas[0], optim.betas[1])
    return AdamW(groups, lr=known(optim.lr), betas=betas, weight_decay=known(optim.weight_decay), fused=fused)


def poly(done: float, optim: OptimConfig) -> float:
    """Polynomial decay (ParseNet, arXiv 1506.04579): (1 - done) ** power."""
    return float((1 - done) ** optim.power)


def cosine(done: float, optim: OptimConfig) -> float:
    """Cosine annealing (arXiv 1608.03983): half a period, from 1 to 0."""
    return (1 + math.cos(math.pi * done)) / 2


OPTIMIZERS: dict[str, Callable[[Groups, OptimConfig, bool], Optimizer]] = {"sgd": sgd, "adamw": adamw}
SCHEDULES: dict[str, Callable[[float, OptimConfig], float]] = {
    "poly": poly,
    "cosine": cosine,
}  # functions of the done fraction of the run

# Weights of several dimensions without weight decay, in timm's names: embeddings, tokens, layer scale.
UNDECAYED = {
    *("pos_embed", "absolute_pos_embed", "relative_position_bias_table", "rel_pos_h", "rel_pos_w"),
    *("cls_token", "reg_token", "dist_token", "mask_token", "logit_scale", "gamma", "layer_scale"),
}

# Defaults of null options. sgd: from PaddleSeg's and mmsegmentation's training from pretrained weights. adamw: from
# segnet's recipes for random weights (conf/experiment/camvid_resnet18_vd.yaml gives the effect of each part).
PLAIN_OPTIM: dict[str, dict[str, Any]] = {
    "sgd": {"lr": 0.01, "weight_decay": 1e-4, "norm_decay": True, "schedule": "poly", "warmup_steps": 0},
    "adamw": {"lr": 0.001, "weight_decay": 0.05, "norm_decay": False, "schedule": "cosine", "warmup_steps": 0},
}


def complete_optim(optim: OptimConfig) -> OptimConfig:
    """Replace null options by the optimizer's defaults; the default optimizer is sgd.

    Raises:
        ConfigError: an unknown optimizer.
    """
    name = "sgd" if optim.name is None else optim.name
    if name not in OPTIMIZERS:
        raise ConfigError(f"optim.name={name} is unknown.{did_you_mean(name, OPTIMIZERS)}")
    plain = {key: value for key, value in PLAIN_OPTIM[name].items() if getattr(optim, key) is None}
    return replace(optim, name=name, **plain)


def check_optim(optim: OptimConfig) -> None:
    """Check the options of optimizer and schedule.

    Raises:
        ConfigError: an unknown optimizer or schedule, a negative or non-finite value, or a momentum of 1 or more.
    """
    if optim.scale_lr and optim.batch_size is None:
        raise ConfigError("optim.scale_lr=true needs the batch size that optim.lr was tuned for: set optim.batch_size")
    optim = complete_optim(optim)
    if (schedule := known(optim.schedule)) not in SCHEDULES:
        raise ConfigError(f"optim.schedule={schedule} is unknown.{did_you_mean(schedule, SCHEDULES)}")
    for name in ("lr", "backbone_lr_factor", "momentum", "weight_decay", "power", "min_lr", "warmup_steps"):
        value = getattr(optim, name)
        if not 0 <= value < math.inf:
            raise ConfigError(f"optim.{name}={value} must be 0 or more")
    if not 0 < optim.layer_decay <= 1:
        raise ConfigError(f"optim.layer_decay={optim.layer_decay} must be above 0, and at most 1")
    if optim.momentum >= 1:
        raise ConfigError(f"optim.momentum={optim.momentum} must be below 1")
    if len(optim.betas) != 2 or not all(0 <= beta < 1 for beta in optim.betas):
        raise ConfigError(f"optim.betas={optim.betas} must be two numbers in [0, 1)")
    if optim.min_lr > known(optim.lr):
        raise ConfigError(f"optim.min_lr={optim.min_lr} is above optim.lr={optim.lr}")
    if optim.batch_size is not None and optim.batch_size < 1:
        raise ConfigError(f"optim.batch_size={optim.batch_size} must be 1 or more")


def parameter_groups(module: nn.Module, backbone: nn.Module, optim: OptimConfig) -> Groups:
    """Group the trainable parameters by learning rate and weight decay; the backbone's first layers come last.

    With layer decay, the learning rate of a stage is that of the next one times `optim.layer_decay` (ULMFiT, arXiv
    1801.06146; by stages as for ConvNeXt, arXiv 2201.03545).

    Args:
        backbone: the submodule of `module` that gets `optim.backbone_lr_factor` and `optim.layer_decay`.

    Raises:
        ConfigError: layer decay for a backbone that does not expose its stages.
    """
    optim = complete_optim(optim)
    depths = backbone_depths(backbone, optim)
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            # norms, biases and layer scale have one dimension
            decays = optim.norm_decay or (parameter.ndim > 1 and name.rpartition(".")[2] not in UNDECAYED)
            groups.setdefault((depths.get(id(parameter), 0), decays), []).append(parameter)
    return [
        {
            "params": groups[depth, decays],
            "lr": known(optim.lr) * (optim.backbone_lr_factor if depth else 1) * optim.layer_decay**depth,
            "weight_decay": optim.weight_decay if decays else 0.0,
        }
        for depth, decays in sorted(groups)
    ]


def backbone_depths(backbone: nn.Module, optim: OptimConfig) -> dict[int, int]:
    """Return the number of stages from each of the backbone's parameters, by id, to the decoder: 1 in the last stage.

    Without layer decay the backbone counts as one stage; it is empty if all parameters have the same learning rate.

    Raises:
        ConfigError: the backbone does not expose its stages.
    """
    if optim.layer_decay == 1:
        return {id(parameter): 1 for parameter in backbone.parameters()} if optim.backbone_lr_factor != 1 else {}
    parts = getattr(backbone, "parts", None)
    if parts is None:
        raise ConfigError(
            f"optim.layer_decay={optim.layer_decay} needs a backbone with stages, and this one does not expose any: "
            "leave it at 1"
        )
    return {id(parameter): len(parts) - index for index, part in enumerate(parts) for parameter in part.parameters()}


def build_optimizer(groups: Groups, optim: OptimConfig, *, fused: bool = True) -> Optimizer:
    """Build the optimizer `optim.name`; `fused` updates all parameters in one kernel, which is faster."""
    optim = complete_optim(optim)
    return OPTIMIZERS[known(optim.name)](groups, optim, fused)


def build_schedule(
    optimizer: Optimizer,
    optim: OptimConfig,
    num_steps: float,
    progress: Callable[[], float] | None = None,
    warmup_fraction: float = 1.0,
) -> LambdaLR:
    """Build the schedule: linear warm-up, then `optim.schedule` down to `optim.min_lr`.

    All groups share the schedule's factor; each has its own initial learning rate.

    Args:
        num_steps: optimizer steps of the whole run, warm-up included; the learning rate is constant afterwards.
        progress: returns the used fraction of a time budget, 0-1; `num_steps` may be infinite then.
        warmup_fraction: progress at which the warm-up ends at the latest, regardless of its steps.

    Raises:
        ConfigError: the warm-up is as long as the run.
    """
    optim = complete_optim(optim)
    warmup, schedule = known(optim.warmup_steps), SCHEDULES[known(optim.schedule)]
    if warmup >= num_steps:
        raise ConfigError(f"optim.warmup_steps={warmup}, but the run has only {counted(int(num_steps), 'step')}")
    lowest = optim.min_lr / optim.lr if optim.lr else 0.0

    def factor(step: int) -> float:
        clocked = progress() if progress else 0.0
        if step < warmup and clocked < warmup_fraction:
            return max((step + 1) / (warmup + 1), clocked / warmup_fraction)
        done = max(clocked, min(1.0, (step - warmup) / (num_steps - warmup)))
        return lowest + (1 - lowest) * schedule(done, optim)

    return LambdaLR(optimizer, factor)


def hyperparameters(optimizer: Optimizer) -> Groups:
    """Return the options of each parameter group, without the parameters."""
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]


def apply_hyperparameters(schedule: LambdaLR, configured: Groups) -> tuple[float, float]:
    """Apply configured options to an optimizer and a schedule restored from a checkpoint.

    Nothing changes if the configuration equals the checkpoint's.

    Args:
        schedule: the configured schedule at the checkpoint's step.
        configured: the optimizer's configured options, from `hyperparameters` before the schedule was built.

    Returns:
        The first group's learning rate in the checkpoint, and the new one from the schedule.
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

"""Normalization layers by name, and their variants for globally pooled features."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from segnet.components import build
from segnet.errors import ConfigError

NormFactory = Callable[[int], nn.Module]  # number of channels -> norm


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm that accepts 1x1 features in eval mode; a single value is normalized to the bias.

    torch refuses such features in eval mode too, but small images must be predictable.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training:
            return super().forward(input)
        cudnn = torch.backends.cudnn.enabled
        return torch.instance_norm(input, self.weight, self.bias, None, None, True, 0.0, self.eps, cudnn)


def batch_norm(num_channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> nn.Module:
    """Batch norm (arXiv 1502.03167): statistics of the batch, per process."""
    _check_norm(eps, momentum)
    return nn.BatchNorm2d(num_channels, eps, momentum)


def sync_batch_norm(num_channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> nn.Module:
    """Synchronized batch norm over the batches of all processes; plain batch norm in a single process."""
    _check_norm(eps, momentum)
    return nn.SyncBatchNorm(num_channels, eps, momentum)


def group_norm(num_channels: int, *, eps: float = 1e-5, groups: int = 32) -> nn.Module:
    """Group norm (arXiv 1803.08494): statistics of groups of channels per image.

    Args:
        groups: number of groups; if it does not divide the channels, the largest common divisor is used.

    Raises:
        ConfigError: a value out of range, or a layer with a single channel.
    """
    _check_norm(eps)
    if groups < 1:
        raise ConfigError(f"norm.groups={groups} must be 1 or more")
    if num_channels == 1:
        raise ConfigError("norm.name: a layer has 1 channel, too few for group statistics: use batch or instance")
    # With 1x1 features, a group of one channel would be a single value, which torch refuses for one image.
    most = math.gcd(num_channels, groups)
    fitting = (count for count in range(most, 0, -1) if num_channels % count == 0 and num_channels // count > 1)
    return nn.GroupNorm(next(fitting), num_channels, eps)


def layer_norm(num_channels: int, *, eps: float = 1e-5) -> nn.Module:
    """Layer norm (arXiv 1607.06450): statistics of all channels per image; group norm with one group."""
    return group_norm(num_channels, eps=eps, groups=1)


def instance_norm(num_channels: int, *, eps: float = 1e-5) -> nn.Module:
    """Instance norm (arXiv 1607.08022): statistics per image and channel, with scale and bias per channel."""
    _check_norm(eps)
    return InstanceNorm(num_channels, eps, affine=True)


def _check_norm(eps: float, momentum: float = 0.1) -> None:
    if not 0 < eps < math.inf:
        raise ConfigError(f"norm.eps={eps} must be above 0")
    if not 0 < momentum <= 1:
        raise ConfigError(f"norm.momentum={momentum} must be above 0 and at most 1: the weight of the new batch")


NORMS: dict[str, Callable[..., nn.Module]] = {
    "batch": batch_norm,
    "sync_batch": sync_batch_norm,
    "group": group_norm,
    "layer": layer_norm,
    "instance": instance_norm,
}


def norm_layer(spec: Mapping[str, Any] | None) -> NormFactory:
    """Return the factory that builds norms of a spec from a number of channels.

    Args:
        spec: ``{"name": name from NORMS, **options}``; None is batch norm.

    Raises:
        ConfigError: not a spec. The factory itself raises it for an unknown or impossible option.
    """
    if spec is None:
        spec = {"name": "batch"}
    if not isinstance(spec, Mapping):
        raise ConfigError(f"norm={spec} is not a spec: write norm.name={spec}")
    return lambda num_channels: build("norm", NORMS, spec, num_channels=num_channels)


def _normalize_as_in_evaluation(norm: nn.BatchNorm2d | nn.SyncBatchNorm, features: Tensor) -> Tensor:
    return nn.functional.batch_norm(
        features, norm.running_mean, norm.running_var, norm.weight, norm.bias, training=False, eps=norm.eps
    )


class PooledBatchNorm(nn.BatchNorm2d):
    """Batch norm for globally pooled features that also trains on a batch of one image.

    One pooled image has one value per channel, from which no variance can be estimated, and torch refuses it. This
    class normalizes such a batch with the running statistics and leaves them unchanged. Conversion to SyncBatchNorm
    replaces this class.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.shape[0] == 1:
            return _normalize_as_in_evaluation(self, input)
        return super().forward(input)


class PooledSyncBatchNorm(nn.SyncBatchNorm):
    """Synchronized batch norm for globally pooled features; in a single process it acts as PooledBatchNorm."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.shape[0] == 1 and num_processes() == 1:
            return _normalize_as_in_evaluation(self, input)
        return super().forward(input)


def num_processes() -> int:
    """Return the world size; 1 without distributed training."""
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def pooled_norm(norm: nn.Module, num_channels: int) -> nn.Module:
    """Return the variant of a norm for globally pooled features, which have one value per channel."""
    if isinstance(norm, nn.SyncBatchNorm):
        return PooledSyncBatchNorm(num_channels, norm.eps, norm.momentum)
    if isinstance(norm, nn.BatchNorm2d):
        return PooledBatchNorm(num_channels, norm.eps, norm.momentum)
    if isinstance(norm, nn.InstanceNorm2d):  # instance norm would reduce a single value to the bias
        return layer_norm(num_channels, eps=norm.eps)
    return norm

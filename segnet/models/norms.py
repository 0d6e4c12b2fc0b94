"""Norms by name, and what takes their place over globally pooled features."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from segnet.components import build
from segnet.errors import ConfigError

NormFactory = Callable[[int], nn.Module]  # number of channels -> norm


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm that in evaluation takes 1x1 features too: of one value nothing but the bias is left.

    torch refuses them in evaluation as in training, but a small image must be predicted all the same.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training:
            return super().forward(input)
        cudnn = torch.backends.cudnn.enabled
        return torch.instance_norm(input, self.weight, self.bias, None, None, True, 0.0, self.eps, cudnn)


def batch_norm(num_channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> nn.Module:
    """Statistics of the batch, of each process alone (arXiv 1502.03167)."""
    _check_norm(eps, momentum)
    return nn.BatchNorm2d(num_channels, eps, momentum)


def sync_batch_norm(num_channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> nn.Module:
    """Batch norm over the batches of all processes; in one process it is batch norm."""
    _check_norm(eps, momentum)
    return nn.SyncBatchNorm(num_channels, eps, momentum)


def group_norm(num_channels: int, *, eps: float = 1e-5, groups: int = 32) -> nn.Module:
    """Statistics of groups of channels of each image (arXiv 1803.08494).

    Args:
        groups: how many; where they do not divide the channels, the largest number that divides both.

    Raises:
        ConfigError: a value outside these, or a layer of a single channel.
    """
    _check_norm(eps)
    if groups < 1:
        raise ConfigError(f"norm.groups={groups} is not a number of groups, 1 or more")
    if num_channels == 1:
        raise ConfigError("norm.name: a layer has 1 channel, of which groups have no statistics: use batch or instance")
    # Of 1x1 features a group of one channel would be a single value: torch refuses those of one image.
    most = math.gcd(num_channels, groups)
    fitting = (count for count in range(most, 0, -1) if num_channels % count == 0 and num_channels // count > 1)
    return nn.GroupNorm(next(fitting), num_channels, eps)


def layer_norm(num_channels: int, *, eps: float = 1e-5) -> nn.Module:
    """Statistics of all channels of each image (arXiv 1607.06450), the case of one group."""
    return group_norm(num_channels, eps=eps, groups=1)


def instance_norm(num_channels: int, *, eps: float = 1e-5) -> nn.Module:
    """Statistics of each channel of each image (arXiv 1607.08022), with a scale and a bias a channel."""
    _check_norm(eps)
    return InstanceNorm(num_channels, eps, affine=True)


def _check_norm(eps: float, momentum: float = 0.1) -> None:
    if not 0 < eps < math.inf:
        raise ConfigError(f"norm.eps={eps} must be above 0")
    if not 0 < momentum <= 1:
        raise ConfigError(f"norm.momentum={momentum} is the weight of the new batch: above 0, at most 1")


NORMS: dict[str, Callable[..., nn.Module]] = {
    "batch": batch_norm,
    "sync_batch": sync_batch_norm,
    "group": group_norm,
    "layer": layer_norm,
    "instance": instance_norm,
}


def norm_layer(spec: Mapping[str, Any] | None) -> NormFactory:
    """The factory that makes the norms of a spec.

    Args:
        spec: ``{"name": name from NORMS, **options}``; None is batch norm.

    Raises:
        ConfigError: no spec; the factory raises it for an unknown or impossible option.
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
    """Batch norm over globally pooled features that also trains on a batch of one image.

    One image gives one value a channel, from which no variance can be estimated: torch refuses it. Such a batch is
    normalized with the running statistics and leaves them as they are. Conversion to SyncBatchNorm replaces this class.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.shape[0] == 1:
            return _normalize_as_in_evaluation(self, input)
        return super().forward(input)


class PooledSyncBatchNorm(nn.SyncBatchNorm):
    """Synchronized batch norm over globally pooled features: with a single process it is PooledBatchNorm."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.shape[0] == 1 and num_processes() == 1:
            return _normalize_as_in_evaluation(self, input)
        return super().forward(input)


def num_processes() -> int:
    """How many train together."""
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def pooled_norm(norm: nn.Module, num_channels: int) -> nn.Module:
    """The norm that does for globally pooled features, one value a channel, what `norm` does for others."""
    if isinstance(norm, nn.SyncBatchNorm):
        return PooledSyncBatchNorm(num_channels, norm.eps, norm.momentum)
    if isinstance(norm, nn.BatchNorm2d):
        return PooledBatchNorm(num_channels, norm.eps, norm.momentum)
    if isinstance(norm, nn.InstanceNorm2d):  # of one value it would leave the bias
        return layer_norm(num_channels, eps=norm.eps)
    return norm

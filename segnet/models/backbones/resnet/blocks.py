"""Blocks of a ResNet, with stochastic depth and activation checkpointing for training."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from segnet.models.backbones.resnet.deformable import ConvFactory
from segnet.models.backbones.resnet.plugins import Plugins
from segnet.models.layers import ConvNormAct
from segnet.models.norms import NormFactory


class Shortcut(nn.Sequential):
    """Shortcut with a 1x1 convolution and norm; it downsamples by the convolution, or by a 2x2 average pool before it.

    Parameter names do not depend on the stride, so weights fit a backbone of any output stride.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        *,
        pool: bool = True,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        if pool and stride > 1:
            # ceil_mode gives odd sizes the size of the strided 3x3's output. Counted padding would darken borders.
            self.pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
            stride = 1
        self.project = ConvNormAct(in_channels, out_channels, 1, stride=stride, act=False, norm=norm)


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): drops a whole branch per sample in training.

    Args:
        rate: drop probability. Kept branches are scaled by 1 / (1 - rate), so evaluation needs no correction.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return branch
        keep = branch.new_empty(branch.shape[0], 1, 1, 1).bernoulli_(1 - self.rate)
        return branch * (keep / (1 - self.rate))


def plugins_at(plugins: Plugins | None, position: str, channels: int) -> nn.Sequential:
    """Build the plugins of a block at a position with that many channels; without any, nothing changes there."""
    return nn.Sequential(*(make(channels) for make in (plugins or {}).get(position, ())))


class BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions: the first has the stride, both have the dilation.

    Args:
        dilate_second: whether the second convolution is dilated too.
        project: use a Shortcut with a convolution; otherwise the shortcut is the identity.
        pool: whether a Shortcut downsamples by pooling.
        drop_path_rate: probability of dropping the convolutions in training.
        plugins: the plugins of each position.
        second: builds the second convolution.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int,
        dilation: int,
        project: bool,
        dilate_second: bool = True,
        pool: bool = True,
        drop_path_rate: float = 0.0,
        plugins: Plugins | None = None,
        second: ConvFactory = nn.Conv2d,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(in_channels, channels, 3, stride=stride, dilation=dilation, norm=norm)
        rate = dilation if dilate_second else 1
        self.conv2 = ConvNormAct(channels, channels, 3, dilation=rate, act=False, conv=second, norm=norm)
        self.after_conv1 = plugins_at(plugins, "after_conv1", channels)
        self.after_conv2 = plugins_at(plugins, "after_conv2", channels)
        self.shortcut = Shortcut(in_channels, channels, stride, pool=pool, norm=norm) if project else nn.Identity()
        self.drop_path = DropPath(drop_path_rate)
        self.act = nn.ReLU(inplace=True)

    @property
    def last_norm(self) -> nn.Module:
        """The last norm before the residual sum."""
        return self.conv2.norm

    def forward(self, x: Tensor) -> Tensor:
        inner = self.after_conv2(self.conv2(self.after_conv1(self.conv1(x))))
        output: Tensor = self.act(self.drop_path(inner) + self.shortcut(x))
        return output


class Bottleneck(nn.Module):
    """Residual block of a 1x1, a 3x3 and a 1x1 convolution; the 3x3 has the dilation.

    Args:
        groups, base_width: the 3x3 has `groups` groups and channels * base_width / 64 * groups channels (ResNeXt).
        stride_first: whether the first 1x1 has the stride (caffe) instead of the 3x3.
        project, pool, drop_path_rate, plugins, second: as in BasicBlock.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int,
        dilation: int,
        project: bool,
        groups: int = 1,
        base_width: int = 64,
        stride_first: bool = False,
        pool: bool = True,
        drop_path_rate: float = 0.0,
        plugins: Plugins | None = None,
        second: ConvFactory = nn.Conv2d,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        width = channels * base_width // 64 * groups
        out_channels = channels * self.expansion
        strides = (stride, 1) if stride_first else (1, stride)
        self.conv1 = ConvNormAct(in_channels, width, 1, stride=strides[0], norm=norm)
        self.conv2 = ConvNormAct(
            width, width, 3, stride=strides[1], dilation=dilation, groups=groups, conv=second, norm=norm
        )
        self.conv3 = ConvNormAct(width, out_channels, 1, act=False, norm=norm)
        self.after_conv1 = plugins_at(plugins, "after_conv1", width)
        self.after_conv2 = plugins_at(plugins, "after_conv2", width)
        self.after_conv3 = plugins_at(plugins, "after_conv3", out_channels)
        self.shortcut = Shortcut(in_channels, out_channels, stride, pool=pool, norm=norm) if project else nn.Identity()
        self.drop_path = DropPath(drop_path_rate)
        self.act = nn.ReLU(inplace=True)

    @property
    def last_norm(self) -> nn.Module:
        """The last norm before the residual sum."""
        return self.conv3.norm

    def forward(self, x: Tensor) -> Tensor:
        inner = self.after_conv2(self.conv2(self.after_conv1(self.conv1(x))))
        inner = self.after_conv3(self.conv3(inner))
        output: Tensor = self.act(self.drop_path(inner) + self.shortcut(x))
        return output


def make_stem(in_channels: int, channels: int, *, deep: bool, norm: NormFactory) -> nn.Sequential:
    """Build a stem of stride 4: three 3x3 convolutions or one 7x7, the first of stride 2, and a max-pool.

    Args:
        channels: width of the output; the first two of three 3x3 convolutions have half of it.
    """
    half = channels // 2
    if deep:
        convs = [
            ConvNormAct(in_channels, half, 3, stride=2, norm=norm),
            ConvNormAct(half, half, 3, norm=norm),
            ConvNormAct(half, channels, 3, norm=norm),
        ]
    else:
        convs = [ConvNormAct(in_channels, channels, 7, stride=2, norm=norm)]
    return nn.Sequential(*convs, nn.MaxPool2d(3, stride=2, padding=1))


class _PreservedStatistics:
    """Context in which a module's batch norms update copies of their running statistics.

    Without running statistics, recomputation would save fewer tensors for the backward pass than the first computation.
    """

    BUFFERS = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(self, module: nn.Module) -> None:
        self._norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
        self._buffers: list[tuple[nn.Module, str, Tensor]] = []

    def __enter__(self) -> None:
        self._buffers = [(norm, name, norm.get_buffer(name)) for norm in self._norms for name in self.BUFFERS]
        for norm, name, buffer in self._buffers:
            setattr(norm, name, buffer.clone())

    def __exit__(self, *_: object) -> None:
        for norm, name, buffer in self._buffers:
            setattr(norm, name, buffer)


def checkpointed(block: nn.Module, x: Tensor) -> Tensor:
    """Apply a block with activation checkpointing: only `x` is kept, and the backward pass recomputes the rest.

    Recomputation uses the same random numbers, and does not update running statistics a second time.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _PreservedStatistics(block)

    output: Tensor = checkpoint(block, x, use_reentrant=False, context_fn=contexts)
    return output


class Stage(nn.Sequential):
    """Sequence of blocks.

    Args:
        checkpointing: use activation checkpointing in training.
    """

    def __init__(self, *blocks: nn.Module, checkpointing: bool = False) -> None:
        super().__init__(*blocks)
        self.checkpointing = checkpointing

    def forward(self, x: Tensor) -> Tensor:
        if not (self.checkpointing and self.training and torch.is_grad_enabled()):
            output: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return output
        for block in self.children():
            x = checkpointed(block, x)
        return x


def make_stage(
    make_block: Callable[..., nn.Module],
    in_channels: int,
    out_channels: int,
    *,
    stride: int,
    rates: Sequence[int],
    project: bool,
    drop_rates: Iterator[float],
    checkpointing: bool,
) -> Stage:
    """Build a stage.

    Args:
        make_block: builds a block from its input channels and options.
        stride: stride of the first block.
        rates: dilation of each block.
        project: whether the first block has a Shortcut; other blocks have the identity.
        drop_rates: iterator of the blocks' drop path rates.
        checkpointing: use activation checkpointing in training.
    """
    blocks = []
    for number, rate in enumerate(rates):
        first = number == 0
        blocks.append(
            make_block(
                in_channels if first else out_channels,
                stride=stride if first else 1,
                dilation=rate,
                project=project and first,
                drop_path_rate=next(drop_rates),
            )
        )
    return Stage(*blocks, checkpointing=checkpointing)

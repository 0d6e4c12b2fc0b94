"""Layers shared by several model families; layers of a single family stay in its file."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from segnet.config import OUTPUT_STRIDES
from segnet.errors import ConfigError
from segnet.models.norms import NormFactory, pooled_norm


class Normalize(nn.Module):
    """Normalize images of 0-255: (x / 255 - mean) / std.

    Args:
        mean, std: one value per channel, for images scaled to 0-1.
        in_channels: channels of the backbone's input.

    Raises:
        ConfigError: not one value per channel, or a value that is not finite, or a std of 0 or less.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], in_channels: int) -> None:
        super().__init__()
        for option, values in (("mean", mean), ("std", std)):
            if len(values) != in_channels:
                raise ConfigError(
                    f"{option}={list(values)} has {len(values)} values, but backbone.in_channels={in_channels}: "
                    "give one value per image channel"
                )
            if not all(math.isfinite(value) for value in values):
                raise ConfigError(f"{option}={list(values)} must be finite")
        if min(std) <= 0:
            raise ConfigError(f"std={list(std)} must be above 0")
        # Not persistent: a checkpoint stores them in its spec only. Scaled for image values of 0-255.
        self.register_buffer("mean", 255 * torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalize images (B, in_channels, H, W), uint8 or float, 0-255; returns float."""
        return (images.to(self.mean.dtype) - self.mean) / self.std


class ConvNormAct(nn.Sequential):
    """Convolution without bias, norm and ReLU; the padding keeps the size at stride 1.

    Args:
        stride, dilation: stride and dilation of the convolution [pixels].
        groups: groups of the convolution; `in_channels` for a depthwise convolution.
        act: whether a ReLU follows.
        conv: builds the convolution; takes the arguments of Conv2d.
        norm: builds the norm from the number of channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        act: bool = True,
        conv: Callable[..., nn.Conv2d] = nn.Conv2d,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.conv = conv(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        self.norm = norm(out_channels)
        if act:
            self.act = nn.ReLU(inplace=True)


class SeparableConv(nn.Sequential):
    """Depthwise 3x3 convolution and norm, then a pointwise ConvNormAct (arXiv 1610.02357).

    Args:
        depthwise_act: whether a ReLU follows the depthwise convolution too, as in mmsegmentation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dilation: int = 1,
        depthwise_act: bool = False,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.depthwise = ConvNormAct(
            in_channels, in_channels, 3, dilation=dilation, groups=in_channels, act=depthwise_act, norm=norm
        )
        self.pointwise = ConvNormAct(in_channels, out_channels, 1, norm=norm)


class ImagePooling(nn.Module):
    """Image-level features (ParseNet, arXiv 1506.04579; DeepLabV3): mean over the image, 1x1 convolution, broadcast."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: NormFactory = nn.BatchNorm2d) -> None:
        super().__init__()
        self.project = ConvNormAct(in_channels, out_channels, 1, norm=norm)
        self.project.norm = pooled_norm(self.project.norm, out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """Pool (B, C, H, W) to (B, out_channels, H, W), constant over the image."""
        # mean(): the backward pass of adaptive average pooling is not deterministic on CUDA.
        pooled: Tensor = self.project(features.mean(dim=(2, 3), keepdim=True))
        return pooled.expand(-1, -1, *features.shape[2:])


MAX_WIDTH = 65536  # limit on a layer's channels, against absurd values in damaged checkpoints
RATES_AT_16 = (6, 12, 18)  # arXiv 1706.05587, section 4.1.2; doubled at output stride 8


def require_output_stride(output_stride: int) -> None:
    """Check an output stride.

    Raises:
        ConfigError: no backbone and no decoder supports it.
    """
    if output_stride not in OUTPUT_STRIDES:
        choices = ", ".join(map(str, OUTPUT_STRIDES))
        raise ConfigError(f"output_stride={output_stride} is unknown: choose from {choices}")


def atrous_rates(output_stride: int, strides: Sequence[int]) -> tuple[int, ...]:
    """Return the atrous rates of an ASPP: 6, 12, 18 at output stride 16, doubled at 8, halved at 32.

    Args:
        output_stride: output stride of the decoder.
        strides: strides of the backbone's stages.

    Raises:
        ConfigError: an unknown output stride, or one that differs from the backbone's.
    """
    require_output_stride(output_stride)
    if strides[-1] != output_stride:
        raise ConfigError(
            f"decoder.output_stride={output_stride}, but the backbone ends at stride {strides[-1]}: "
            f"set both together with output_stride={strides[-1]}"
        )
    return tuple(rate * 16 // output_stride for rate in RATES_AT_16)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1, a 3x3 at each rate and image pooling; concatenated and projected.

    Args:
        in_channels: channels of the features.
        channels: width of each branch and of the result.
        atrous_rates: dilation of each 3x3 convolution.
        conv3x3: builds a 3x3 convolution; takes ConvNormAct's arguments without kernel_size.
        projection_kernel: kernel size of the projection: 1 in the paper and in PaddleSeg, 3 in mmsegmentation.
        dropout: dropout probability after the projection.
        norm: builds a norm from the number of channels.

    Raises:
        ConfigError: an impossible value; the message names the decoder's option.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        atrous_rates: Sequence[int],
        *,
        conv3x3: Callable[..., nn.Module],
        projection_kernel: int = 1,
        dropout: float = 0.1,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        check_width("aspp_channels", channels)
        if projection_kernel not in (1, 3):
            raise ConfigError(f"decoder.projection_kernel={projection_kernel} is not available: choose 1 or 3")
        if not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
            raise ConfigError(f"decoder.dropout={dropout} must be a probability in [0, 1)")
        self.branches = nn.ModuleList(
            [
                ConvNormAct(in_channels, channels, 1, norm=norm),
                *(conv3x3(in_channels, channels, dilation=rate) for rate in atrous_rates),
                ImagePooling(in_channels, channels, norm=norm),
            ]
        )
        self.project = ConvNormAct(channels * len(self.branches), channels, projection_kernel, norm=norm)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Pool features (B, in_channels, H, W) to (B, channels, H, W)."""
        joined = torch.cat([branch(features) for branch in self.branches], dim=1)
        output: Tensor = self.dropout(self.project(joined))
        return output


def check_width(option: str, width: object) -> None:
    """Check the width of a decoder's layer.

    Raises:
        ConfigError: it is not an integer of 1 to MAX_WIDTH.
    """
    if not isinstance(width, int) or not 1 <= width <= MAX_WIDTH:
        raise ConfigError(f"decoder.{option}={width} must be a number of channels, 1-{MAX_WIDTH}")


@torch.no_grad()
def initialize(module: nn.Module) -> None:
    """Initialize all convolutions of a module (He normal, arXiv 1502.01852, fan in); norms start as the identity."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

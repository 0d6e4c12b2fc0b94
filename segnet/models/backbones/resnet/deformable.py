"""Modulated deformable convolution in plain torch.

Source: "Deformable ConvNets v2: More Deformable, Better Results" (arXiv 1811.11168, equation 1). The sampling and the
order of the offset channels are those of torchvision's and mmcv's operators. One detail differs: the modulation is
twice a sigmoid, 0-2, and starts at 1. So a new layer computes what its convolution computes, and pretrained weights
keep their meaning. With the paper's sigmoid it would start with half of that.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segnet.errors import ConfigError
from segnet.models.backbones.resnet.options import check_counts, check_stages

Axes = tuple[int, int]  # vertical, horizontal
ConvFactory = Callable[..., nn.Conv2d]  # takes the arguments of Conv2d


class DeformableConv(nn.Conv2d):
    """Convolution whose taps are moved by learned offsets and scaled by learned factors, at every position.

    Args:
        deform_groups: groups of input channels with offsets of their own.
        in_channels, out_channels, kernel_size, options: as in Conv2d.

    Attributes:
        offset: convolution that computes offsets and modulation; it starts at zero.

    Raises:
        ConfigError: the groups do not divide the input channels.
    """

    kernel_size: Axes
    padding: Axes
    stride: Axes
    dilation: Axes

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, deform_groups: int = 1, **options: Any
    ):
        super().__init__(in_channels, out_channels, kernel_size, **options)
        if in_channels % deform_groups:
            raise ConfigError(
                f"backbone.deform_groups={deform_groups} must divide the channels of every deformable convolution, "
                f"and one has {in_channels}"
            )
        self.deform_groups = deform_groups
        self.offset = nn.Conv2d(
            in_channels,
            3 * deform_groups * self.kernel_size[0] * self.kernel_size[1],
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )
        self.zero_init()

    def zero_init(self) -> None:
        """Set the offsets to zero and the modulation to one."""
        nn.init.zeros_(self.offset.weight)
        assert self.offset.bias is not None
        nn.init.zeros_(self.offset.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (B, in_channels, H, W)."""
        _refuse_deterministic(input)
        moves = self.offset(input)
        taps = self.kernel_size[0] * self.kernel_size[1]
        offsets, modulation = moves.split([2 * self.deform_groups * taps, self.deform_groups * taps], dim=1)
        columns = deformed_columns(
            input,
            offsets,
            2 * modulation.sigmoid(),
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )
        # (B, C * taps, h, w) is ordered like a kernel's weights, so the rest is a 1x1 convolution
        weight = self.weight.flatten(1)[:, :, None, None]
        return F.conv2d(columns, weight, self.bias, groups=self.groups)


def convolutions_of_stages(deformable_stages: Sequence[bool] | None, deform_groups: int) -> list[ConvFactory]:
    """Return the kind of the second convolution of the blocks of each of the four stages.

    Args:
        deformable_stages: four booleans; None: no deformable convolution.
        deform_groups: see DeformableConv.

    Raises:
        ConfigError: not four stages, or groups that are impossible or have no effect.
    """
    check_counts(deform_groups=deform_groups)
    if deformable_stages is not None:
        check_stages("deformable_stages", deformable_stages)
    if deform_groups > 1 and not any(deformable_stages or ()):
        raise ConfigError(
            f"backbone.deform_groups={deform_groups} needs deformable convolutions: set "
            "backbone.deformable_stages=[false,true,true,true]"
        )
    deformable = partial(DeformableConv, deform_groups=deform_groups)
    return [deformable if chosen else nn.Conv2d for chosen in deformable_stages or [False] * 4]


def deformed_columns(
    x: Tensor,
    offsets: Tensor,
    modulation: Tensor,
    *,
    kernel_size: Axes,
    stride: Axes,
    padding: Axes,
    dilation: Axes,
) -> Tensor:
    """Sample the input of a deformable convolution: bilinearly, with zeros outside the image.

    Args:
        x: (B, C, H, W).
        offsets: (B, 2 * groups * taps, h, w), for each group and tap a vertical and a horizontal offset [pixels].
        modulation: (B, groups * taps, h, w), factors of the samples.
        kernel_size, stride, padding, dilation: of the convolution, vertical and horizontal.

    Returns:
        (B, C * taps, h, w), the taps of each channel in the order of a kernel's weights; dtype of `x`.
    """
    batch, channels, height, width = x.shape
    taps = kernel_size[0] * kernel_size[1]
    groups = modulation.shape[1] // taps
    rows, columns = modulation.shape[2:]
    # Half precision would misplace samples by up to a tenth of a pixel at 256 pixels.
    dtype = torch.promote_types(x.dtype, torch.float32)
    moves = offsets.to(dtype).view(batch, groups, taps, 2, rows, columns)
    top, left = (
        torch.arange(size, dtype=dtype, device=x.device) * step - pad
        for size, step, pad in zip((rows, columns), stride, padding, strict=True)
    )
    down, right = (
        torch.arange(size, dtype=dtype, device=x.device) * rate
        for size, rate in zip(kernel_size, dilation, strict=True)
    )
    y = moves[:, :, :, 0] + top[:, None] + down.repeat_interleave(kernel_size[1])[:, None, None]
    x_ = moves[:, :, :, 1] + left + right.repeat(kernel_size[0])[:, None, None]
    # grid_sample takes coordinates from -1 to 1, the outer edges of the image; one image for each group
    grid = torch.stack(((2 * x_ + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    samples = F.grid_sample(
        x.to(dtype).reshape(batch * groups, channels // groups, height, width),
        grid.view(batch * groups, taps * rows, columns, 2),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    ).view(batch, groups, channels // groups, taps, rows, columns)
    modulated = samples * modulation.to(dtype).view(batch, groups, 1, taps, rows, columns)
    return modulated.view(batch, channels * taps, rows, columns).to(x.dtype)


def _refuse_deterministic(x: Tensor) -> None:
    """Refuse a training that must be deterministic on a GPU.

    Raises:
        ConfigError: torch has no deterministic gradient of the sampling there.
    """
    if (
        x.is_cuda
        and torch.is_grad_enabled()
        and torch.are_deterministic_algorithms_enabled()
        and not torch.is_deterministic_algorithms_warn_only_enabled()
    ):
        raise ConfigError(
            "deterministic=true: torch has no deterministic gradient of deformable convolutions on a GPU: leave out "
            "backbone.deformable_stages, or deterministic"
        )

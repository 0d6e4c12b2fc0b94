"""Strided 1x1 convolutions of few channels on a CPU, computed on the pixels that they read.

torch's CPU kernel (oneDNN) of their gradients is wrong in channels_last. With 8 input channels, 80 x 80 pixels and one
image it writes to foreign memory: torch 2.13 on an Intel Xeon ends with "double free" or a segmentation fault. With 16
channels it is right. A convolution of stride 1 on every second pixel is the same, and has another kernel.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ENOUGH_CHANNELS = 16  # input channels of a group from which torch's kernel is used: the floats of a register


class StridedPointwiseConv(nn.Conv2d):
    """1x1 Conv2d with a stride (see `is_strided_pointwise`); uses torch's kernel if no gradient is needed."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (B, C, H, W)."""
        if input.device.type != "cpu" or torch.compiler.is_exporting() or not torch.is_grad_enabled():
            return super().forward(input)
        rows, columns = self.stride
        return F.conv2d(input[:, :, ::rows, ::columns], self.weight, self.bias, groups=self.groups)


def is_strided_pointwise(conv: nn.Conv2d) -> bool:
    """Return True for a convolution of few channels with a kernel of one pixel, a stride, and no padding."""
    is_narrow = conv.in_channels // conv.groups < ENOUGH_CHANNELS
    return is_narrow and conv.kernel_size == (1, 1) and max(conv.stride) > 1 and conv.padding == (0, 0)


def slice_strided_pointwise(model: nn.Module) -> None:
    """Replace the strided 1x1 convolutions of few channels of a model in place; weights and their names stay."""
    for layer in model.modules():
        if type(layer) is nn.Conv2d and is_strided_pointwise(layer):
            layer.__class__ = StridedPointwiseConv

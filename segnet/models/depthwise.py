"""Dilated depthwise convolutions on a CPU, computed as sums of shifted products.

torch computes convolutions on a CPU by oneDNN, which has no fast kernel for these: forward and backward in an ASPP take
5 to 10 times as long. In bf16 and channels_last, oneDNN is also wrong (torch 2.13 on an AMD EPYC). From a width of
about 30 pixels on, it reads the weights' gradient from foreign memory, with NaN and crashes as a result.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

FAR = 6  # smallest dilation at which oneDNN's forward pass is slow too; ASPP's first rate at output stride 16

Slices = tuple[slice, slice]


class DilatedDepthwiseConv(nn.Conv2d):
    """Dilated depthwise Conv2d (see `is_dilated_depthwise`); uses torch's kernel if that is correct and fast."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (B, C, H, W); the shape stays the same."""
        if input.device.type != "cpu" or torch.compiler.is_exporting():
            return super().forward(input)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else input.dtype
        if min(self.dilation) < FAR and not (dtype == torch.bfloat16 and torch.is_grad_enabled()):
            return super().forward(input)
        bias = None if self.bias is None else self.bias.to(dtype)
        result: Tensor = ShiftedProducts.apply(  # type: ignore[no-untyped-call]
            input.to(dtype), self.weight.to(dtype), bias, self.dilation
        )
        return result


def is_dilated_depthwise(conv: nn.Conv2d) -> bool:
    """Return True for a depthwise convolution of stride 1, dilated on both axes, with zero padding of equal size."""
    reach = tuple(size // 2 * dilation for size, dilation in zip(conv.kernel_size, conv.dilation, strict=True))
    return (
        conv.groups == conv.in_channels == conv.out_channels > 1
        and min(conv.dilation) > 1
        and conv.stride == (1, 1)
        and all(size % 2 for size in conv.kernel_size)
        and conv.padding == reach
        and conv.padding_mode == "zeros"
    )


def shift_dilated_depthwise(model: nn.Module) -> None:
    """Replace all dilated depthwise convolutions of a model in place; weights and their names stay."""
    for layer in model.modules():
        if type(layer) is nn.Conv2d and is_dilated_depthwise(layer):
            layer.__class__ = DilatedDepthwiseConv


class ShiftedProducts(torch.autograd.Function):
    """Dilated depthwise convolution of (B, C, H, W): the sum of shifted images, each times the weights of a tap."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        taps = _by_tap(weight)
        center = taps[taps.shape[0] // 2, taps.shape[1] // 2]
        result = x * center if bias is None else torch.addcmul(bias.view(-1, 1, 1), x, center)
        for row, column, source, target in _shifts(weight, x, dilation):
            if source != target:
                result[:, :, *target].addcmul_(x[:, :, *source], taps[row, column])
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        taps = _by_tap(weight)
        tap_gradient = torch.zeros_like(taps)
        x_gradient = gradient * taps[taps.shape[0] // 2, taps.shape[1] // 2]
        for row, column, source, target in _shifts(weight, x, ctx.dilation):
            part = gradient[:, :, *target]
            tap_gradient[row, column, :, 0, 0] = (part * x[:, :, *source]).sum((0, 2, 3))
            if source != target:
                x_gradient[:, :, *source].addcmul_(part, taps[row, column])
        weight_gradient = tap_gradient.squeeze((3, 4)).permute(2, 0, 1).unsqueeze(1)
        return x_gradient, weight_gradient, gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None, None


def _by_tap(weight: Tensor) -> Tensor:
    """Reshape a weight (C, 1, rows, columns) to (rows, columns, C, 1, 1)."""
    return weight[:, 0].permute(1, 2, 0).contiguous()[..., None, None]


def _shifts(weight: Tensor, x: Tensor, dilation: tuple[int, int]) -> Iterator[tuple[int, int, Slices, Slices]]:
    """Yield row, column, source slices and target slices of each tap that overlaps the image."""
    rows, columns = weight.shape[2:]
    for row in range(rows):
        down, to_down = _shifted_slices(x.shape[2], (row - rows // 2) * dilation[0])
        for column in range(columns):
            right, to_right = _shifted_slices(x.shape[3], (column - columns // 2) * dilation[1])
            if down.stop > down.start and right.stop > right.start:
                yield row, column, (down, right), (to_down, to_right)


def _shifted_slices(size: int, shift: int) -> Slices:
    """Return the source and target slices that shift values along an axis: i receives i + shift; may be empty."""
    length = max(0, size - abs(shift))
    start = min(size, max(0, shift))
    target = min(size, max(0, -shift))
    return slice(start, start + length), slice(target, target + length)

"""Dilated depthwise convolutions on a CPU, as sums of shifted products.

oneDNN, which computes torch's convolutions there, has no fast code for them: forward and backward of those of an ASPP
take 5 to 10 times as long. In bf16 and channels-last memory it is wrong besides (torch 2.13, on an AMD EPYC): from a
width of about 30 on, the gradient of the weights is that of other memory, up to NaN and crashes.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

FAR = 6  # dilation from which oneDNN is slow forward too; an ASPP at output stride 16 begins with it

Slices = tuple[slice, slice]


class DilatedDepthwiseConv(nn.Conv2d):
    """A Conv2d for which `is_dilated_depthwise` holds; where torch's own is right and fast, it is that."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        if input.device.type != "cpu" or torch.compiler.is_exporting():
            return super().forward(input)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else input.dtype
        if min(self.dilation) < FAR and not (dtype == torch.bfloat16 and torch.is_grad_enabled()):
            return super().forward(input)
        bias = None if self.bias is None else self.bias.to(dtype)
        result: Tensor = _ShiftedProducts.apply(  # type: ignore[no-untyped-call]
            input.to(dtype), self.weight.to(dtype), bias, self.dilation
        )
        return result


def is_dilated_depthwise(conv: nn.Conv2d) -> bool:
    """Whether each channel is convolved alone, at stride 1 and dilated on both axes, with zeros around it."""
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
    """Make all convolutions of a model that can be so DilatedDepthwiseConvs, in place; weights and names stay."""
    for layer in model.modules():
        if type(layer) is nn.Conv2d and is_dilated_depthwise(layer):
            layer.__class__ = DilatedDepthwiseConv


class _ShiftedProducts(torch.autograd.Function):
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
        of_taps = torch.zeros_like(taps)
        of_x = gradient * taps[taps.shape[0] // 2, taps.shape[1] // 2]
        for row, column, source, target in _shifts(weight, x, ctx.dilation):
            part = gradient[:, :, *target]
            of_taps[row, column, :, 0, 0] = (part * x[:, :, *source]).sum((0, 2, 3))
            if source != target:
                of_x[:, :, *source].addcmul_(part, taps[row, column])
        of_weight = of_taps.squeeze((3, 4)).permute(2, 0, 1).unsqueeze(1)
        return of_x, of_weight, gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None, None


def _by_tap(weight: Tensor) -> Tensor:
    """(C, 1, rows, columns) -> (rows, columns, C, 1, 1)."""
    return weight[:, 0].permute(1, 2, 0).contiguous()[..., None, None]


def _shifts(weight: Tensor, x: Tensor, dilation: tuple[int, int]) -> Iterator[tuple[int, int, Slices, Slices]]:
    """For each tap that meets the image: its row and column, where it reads, and where that counts."""
    rows, columns = weight.shape[2:]
    for row in range(rows):
        down, to_down = _shifted_slices(x.shape[2], (row - rows // 2) * dilation[0])
        for column in range(columns):
            right, to_right = _shifted_slices(x.shape[3], (column - columns // 2) * dilation[1])
            if down.stop > down.start and right.stop > right.start:
                yield row, column, (down, right), (to_down, to_right)


def _shifted_slices(size: int, shift: int) -> Slices:
    """From where and to where values move along an axis, so that position i gets that of i + shift; may be empty."""
    length = max(0, size - abs(shift))
    start = min(size, max(0, shift))
    target = min(size, max(0, -shift))
    return slice(start, start + length), slice(target, target + length)

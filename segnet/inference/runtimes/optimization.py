"""Optimize a trained model for inference with torch, without compilation.

Batch norms are folded into the preceding convolutions. On a CPU, convolution weights are also packed in oneDNN's
layout, and a following ReLU is fused. ``torch.compile`` with freezing gives about the same, but compiles for 20-40 s.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from segnet.models.norms import PooledBatchNorm, PooledSyncBatchNorm
from segnet.system.memory import keep_freed_memory

PROBE = 64  # side of the image for tracing the model [pixels]
USUAL = 512  # image side for the initial weight layout [pixels]; other sizes work too
REPEATED = 3  # consecutive inputs of another shape before weights are packed for it; flips come in pairs
KEPT_BYTES = 2**29  # freed memory to keep [bytes]
LARGEST = 72 * 2**20  # largest array to keep: above 64 channels of 512 x 512, the features of a window [bytes]
OUTPUT_TOLERANCE = 1e-3  # allowed difference relative to the largest output; rounding stays far below


@torch.inference_mode()
def optimize(model: nn.Module, probe: Tensor, *, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a faster copy of a model in evaluation mode with the same outputs.

    Forward hooks on `probe` record which batch norm follows which convolution, for any architecture. If the copy's
    output differs, for example because a convolution's result is used twice, nothing is fused.

    Args:
        model: a float32 model; on a CPU, the copy cannot be moved or saved.
        probe: (1, C, PROBE, PROBE), an input for the model on its device.
        dtype: dtype of the copy's weights and input.
    """
    trace = _Trace(model, probe)
    optimized = _build(model, trace, torch.float32)
    error = float((optimized(probe) - trace.result).abs().max())
    if error > OUTPUT_TOLERANCE * float(trace.result.abs().max()):
        return _to_channels_last(copy.deepcopy(model), dtype)
    if dtype != torch.float32:
        optimized = _build(model, trace, dtype)
    for name, layer in optimized.named_modules():
        if isinstance(layer, PackedConv):
            _, channels, *size = trace.shapes[name]
            layer.lay_out([1, channels, *(max(1, side * USUAL // PROBE) for side in size)])
    return optimized


def _build(model: nn.Module, trace: "_Trace", dtype: torch.dtype) -> nn.Module:
    built = copy.deepcopy(model)
    _fold(built, trace)
    built = _to_channels_last(built, dtype)
    if trace.result.device.type == "cpu" and packable(dtype):
        _pack(built, trace)
    return built


def _to_channels_last(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    return model.to(dtype=dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def keep_layer_memory() -> None:
    """Make the whole process keep freed memory for the next layers. It saves up to a third of the time.

    Arrays above LARGEST, such as the scores of a window, are still returned: fragmentation would make the peak memory
    unpredictable.
    """
    keep_freed_memory(LARGEST, KEPT_BYTES)


def packable(dtype: torch.dtype) -> bool:
    """Whether torch has oneDNN for the dtype, and the operators that torch.compile uses for packed convolutions."""
    operators = torch.ops.mkldnn
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
        and hasattr(operators, "_convolution_pointwise")
        and (dtype == torch.float32 or (dtype == torch.bfloat16 and operators._is_mkldnn_bf16_supported()))
    )


class _Trace:
    """A trace of the forward pass of a model on `probe`.

    Attributes:
        norms: name of a convolution -> name of the batch norm after it.
        activated: name of a convolution or batch norm -> name of the ReLU after it.
        shapes: name of a convolution -> shape of its input.
        result: output of the model.
    """

    def __init__(self, model: nn.Module, probe: Tensor) -> None:
        self.norms: dict[str, str] = {}
        self.activated: dict[str, str] = {}
        self.shapes: dict[str, list[int]] = {}
        self._calls: dict[str, int] = {}
        self._givers: dict[
            int, tuple[str, Tensor]
        ] = {}  # id of a result -> its layer and the tensor, which keeps ids unique
        kinds = (nn.Conv2d, nn.BatchNorm2d, nn.SyncBatchNorm, nn.ReLU)
        handles = [
            layer.register_forward_hook(self._hook(name))
            for name, layer in model.named_modules()
            if isinstance(layer, kinds)
        ]
        try:
            self.result = model(probe)
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str) -> Any:
        def note(layer: nn.Module, inputs: tuple[Tensor, ...], result: Tensor) -> None:
            self._calls[name] = self._calls.get(name, 0) + 1
            giver, _ = self._givers.get(id(inputs[0]), ("", None))
            if isinstance(layer, nn.Conv2d):
                self.shapes[name] = list(inputs[0].shape)
            elif giver:
                (self.activated if isinstance(layer, nn.ReLU) else self.norms)[giver] = name
            if not isinstance(layer, nn.ReLU):
                self._givers[id(result)] = (name, result)

        return note

    def once(self, name: str) -> bool:
        """Whether a layer ran exactly once: shared layers must stay unchanged."""
        return self._calls.get(name) == 1


def _fold(model: nn.Module, trace: _Trace) -> None:
    """Fold batch norms into the convolutions before them."""
    for conv_name, norm_name in trace.norms.items():
        conv: Any = model.get_submodule(conv_name)
        norm: Any = model.get_submodule(norm_name)
        rest = _rest_of_norm(norm)
        if rest is None or not (trace.once(conv_name) and trace.once(norm_name)):
            continue
        _replace(model, conv_name, fuse_conv_bn_eval(conv, norm))
        _replace(model, norm_name, rest)
        if norm_name in trace.activated:
            trace.activated[conv_name] = trace.activated[norm_name]


def _rest_of_norm(norm: nn.Module) -> nn.Module | None:
    """The layers of a batch norm besides scale and bias; None if unknown, or if it uses batch statistics.

    Only timm's BatchNormAct2d has any: its activation.
    """
    if getattr(norm, "running_mean", None) is None:
        return None
    if type(norm) in (nn.BatchNorm2d, nn.SyncBatchNorm, PooledBatchNorm, PooledSyncBatchNorm):
        return nn.Identity()
    if type(norm).__name__ != "BatchNormAct2d":
        return None
    return nn.Sequential(*(part for part in (getattr(norm, "drop", None), getattr(norm, "act", None)) if part))


def _pack(model: nn.Module, trace: _Trace) -> None:
    """Pack convolutions for oneDNN, except those with their own kernel: `segnet.models.depthwise`."""
    for name in trace.shapes:
        conv: Any = model.get_submodule(name)
        usual = type(conv).forward is nn.Conv2d.forward and conv.padding_mode == "zeros"
        if not trace.once(name) or not usual or isinstance(conv.padding, str):
            continue
        relu = trace.activated.get(name, "")
        fuse = trace.once(relu)
        _replace(model, name, PackedConv(conv, relu=fuse))
        if fuse:
            _replace(model, relu, nn.Identity())


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)


class PackedConv(nn.Module):
    """A convolution with weights in oneDNN's layout, optionally fused with a ReLU.

    The operators are those of torch.compile on a CPU (torch/_inductor/mkldnn_ir.py). The best layout depends on the
    input shape. Other shapes give the same result, but oneDNN reorders the weights for each input: a network then takes
    10 % longer on large images, and up to ten times as long on small ones.

    Args:
        relu: whether to fuse a ReLU.
    """

    def __init__(self, conv: nn.Conv2d, *, relu: bool) -> None:
        super().__init__()
        self._places = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        self._bias = None if conv.bias is None else conv.bias.detach()
        self._activation = "relu" if relu else "none"
        self._weight = conv.weight.detach().to_mkldnn()
        self._packed_for: list[int] = []
        self._lately: tuple[list[int], int] = ([], 0)  # another shape, and the number of consecutive inputs with it

    def lay_out(self, shape: list[int]) -> None:
        """Pack the weights for an input shape."""
        reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
        plain = self._weight.to_dense().to_mkldnn()  # conversion between packed layouts is several times slower
        self._weight = reorder(plain, *self._places, shape)
        self._packed_for = shape

    def forward(self, x: Tensor) -> Tensor:
        self._follow(list(x.shape))
        x = x.contiguous(memory_format=torch.channels_last)
        output: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, self._bias, *self._places, self._activation, [], ""
        )
        return output

    def _follow(self, shape: list[int]) -> None:
        """Pack the weights for a repeated input shape; concurrent threads do it twice at worst."""
        if shape == self._packed_for:
            self._lately = ([], 0)
            return
        before, times = self._lately
        times = times + 1 if shape == before else 1
        self._lately = (shape, times)
        if times >= REPEATED:
            self.lay_out(shape)

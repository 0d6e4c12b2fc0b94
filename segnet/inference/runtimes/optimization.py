"""What makes a trained model fast where torch runs it, without compiling it: the same function in fewer, better steps.

Batch norms go into the convolutions before them. On a CPU, moreover, convolutions get their weights in oneDNN's own
order and a ReLU behind them inside. That is what ``torch.compile`` with freezing comes to, which compiles for 20-40 s.
"""

import copy
import ctypes
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from segnet.models.norms import PooledBatchNorm, PooledSyncBatchNorm

PROBE = 64  # side of the image on which the model is watched [pixels]
USUAL = 512  # side of the images for which weights are laid out at first [pixels]; others are computed with them too
REPEATED = 3  # inputs in a row of another shape, after which weights are laid out for that; flips come in pairs
KEPT_BYTES = 2**29  # freed memory [bytes]
LARGEST = 72 * 2**20  # of an array that is kept: more than 64 channels of 512 x 512, the features of a window [bytes]
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
OUTPUT_TOLERANCE = 1e-3  # by which the result may differ, of its largest value: rounding stays far below it


@torch.inference_mode()
def optimize(model: nn.Module, probe: Tensor, *, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A copy of a model in evaluation mode that computes the same from the same images, faster.

    The model is watched at work on `probe`: which batch norm takes what which convolution gives, of any family. Where
    the copy then gives something else, as it would where a convolution's result is used twice, nothing is taken
    together.

    Args:
        model: in float32; on a CPU the copy can be neither moved nor saved.
        probe: (1, C, PROBE, PROBE) as the model takes it, on its device.
        dtype: of the copy's weights and input.
    """
    watched = _Watch(model, probe)
    optimized = _build(model, watched, torch.float32)
    error = float((optimized(probe) - watched.result).abs().max())
    if error > OUTPUT_TOLERANCE * float(watched.result.abs().max()):
        return _laid_out(copy.deepcopy(model), dtype)
    if dtype != torch.float32:
        optimized = _build(model, watched, dtype)
    for name, layer in optimized.named_modules():
        if isinstance(layer, PackedConv):
            _, channels, *size = watched.shapes[name]
            layer.lay_out([1, channels, *(max(1, side * USUAL // PROBE) for side in size)])
    return optimized


def _build(model: nn.Module, watched: "_Watch", dtype: torch.dtype) -> nn.Module:
    built = copy.deepcopy(model)
    _fold(built, watched)
    built = _laid_out(built, dtype)
    if watched.result.device.type == "cpu" and packable(dtype):
        _pack(built, watched)
    return built


def _laid_out(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    return model.to(dtype=dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def keep_freed_memory() -> None:
    """Make glibc keep the memory that layers free for the next ones; it otherwise returns all of it after each image.

    For the whole process; at most KEPT_BYTES stay with it. The page faults that this saves take up to a third of the
    time.
    What is larger than LARGEST, such as the scores of a window, goes back all the same: what waits for the next window
    would take parts of its place, and how far the peak grew would be luck.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return
    set_option(M_MMAP_THRESHOLD, LARGEST)
    set_option(M_TRIM_THRESHOLD, KEPT_BYTES)


def packable(dtype: torch.dtype) -> bool:
    """Whether this torch has oneDNN for the type, and the operators with which torch.compile prepares convolutions."""
    operators = torch.ops.mkldnn
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
        and hasattr(operators, "_convolution_pointwise")
        and (dtype == torch.float32 or (dtype == torch.bfloat16 and operators._is_mkldnn_bf16_supported()))
    )


class _Watch:
    """What happens while a model works on `probe`.

    Attributes:
        norms: name of a convolution -> name of the batch norm that takes its result.
        activated: names of convolutions and batch norms whose result a ReLU takes, and its name.
        shapes: name of a convolution -> shape of its input.
        result: of the model.
    """

    def __init__(self, model: nn.Module, probe: Tensor) -> None:
        self.norms: dict[str, str] = {}
        self.activated: dict[str, str] = {}
        self.shapes: dict[str, list[int]] = {}
        self._calls: dict[str, int] = {}
        self._givers: dict[int, tuple[str, Tensor]] = {}  # id of a result -> who gave it; holds it, so ids stay unique
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
        """Whether a layer worked exactly once: one that is shared must stay as it is."""
        return self._calls.get(name) == 1


def _fold(model: nn.Module, watched: _Watch) -> None:
    """Fold batch norms into the convolutions before them."""
    for conv_name, norm_name in watched.norms.items():
        conv: Any = model.get_submodule(conv_name)
        norm: Any = model.get_submodule(norm_name)
        rest = _rest_of_norm(norm)
        if rest is None or not (watched.once(conv_name) and watched.once(norm_name)):
            continue
        _replace(model, conv_name, fuse_conv_bn_eval(conv, norm))
        _replace(model, norm_name, rest)
        if norm_name in watched.activated:
            watched.activated[conv_name] = watched.activated[norm_name]


def _rest_of_norm(norm: nn.Module) -> nn.Module | None:
    """What a batch norm does in evaluation besides scale and bias; None: it is not known, or uses the batch.

    That is nothing but for timm's BatchNormAct2d, which has its activation inside.
    """
    if getattr(norm, "running_mean", None) is None:
        return None
    if type(norm) in (nn.BatchNorm2d, nn.SyncBatchNorm, PooledBatchNorm, PooledSyncBatchNorm):
        return nn.Identity()
    if type(norm).__name__ != "BatchNormAct2d":
        return None
    return nn.Sequential(*(part for part in (getattr(norm, "drop", None), getattr(norm, "act", None)) if part))


def _pack(model: nn.Module, watched: _Watch) -> None:
    """Prepare convolutions for oneDNN, but those that do without it: `segnet.models.depthwise`."""
    for name in watched.shapes:
        conv: Any = model.get_submodule(name)
        usual = type(conv).forward is nn.Conv2d.forward and conv.padding_mode == "zeros"
        if not watched.once(name) or not usual or isinstance(conv.padding, str):
            continue
        relu = watched.activated.get(name, "")
        fuse = watched.once(relu)
        _replace(model, name, PackedConv(conv, relu=fuse))
        if fuse:
            _replace(model, relu, nn.Identity())


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)


class PackedConv(nn.Module):
    """A convolution with its weights in oneDNN's own order, and perhaps a ReLU behind it.

    The operators are those into which torch.compile turns convolutions on a CPU (torch/_inductor/mkldnn_ir.py). The
    best order depends on the input's shape. With another the result is the same, but oneDNN changes the order for each
    input each time: a network then takes a tenth more time for large images, up to ten times as long for small ones.

    Args:
        relu: whether the ReLU is part of it.
    """

    def __init__(self, conv: nn.Conv2d, *, relu: bool) -> None:
        super().__init__()
        self._places = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        self._bias = None if conv.bias is None else conv.bias.detach()
        self._activation = "relu" if relu else "none"
        self._weight = conv.weight.detach().to_mkldnn()
        self._laid_out_for: list[int] = []
        self._lately: tuple[list[int], int] = ([], 0)  # another shape, and how many inputs in a row have had it

    def lay_out(self, shape: list[int]) -> None:
        """Put the weights into the best order for inputs of a shape."""
        reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
        plain = self._weight.to_dense().to_mkldnn()  # from one of its orders to another, oneDNN is several times slower
        self._weight = reorder(plain, *self._places, shape)
        self._laid_out_for = shape

    def forward(self, x: Tensor) -> Tensor:
        self._follow(list(x.shape))
        x = x.contiguous(memory_format=torch.channels_last)
        output: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, self._bias, *self._places, self._activation, [], ""
        )
        return output

    def _follow(self, shape: list[int]) -> None:
        """Lay the weights out for a repeated input shape; concurrent threads do it twice at worst."""
        if shape == self._laid_out_for:
            self._lately = ([], 0)
            return
        before, times = self._lately
        times = times + 1 if shape == before else 1
        self._lately = (shape, times)
        if times >= REPEATED:
            self.lay_out(shape)

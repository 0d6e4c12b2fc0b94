"""Load pretrained weights into backbones and models: from a file, a URL or the hub, in any known naming scheme.

Reading never executes code in a file: see `formats`. Loading is strict: it fails with lists of missing and unexpected
weights. Only a classifier head may be dropped, which is logged. The normalization of the training is read too.
"""

import logging
import math
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from segnet.components import are_numbers
from segnet.errors import CheckpointError, counted, listed
from segnet.system.integrity import refusing_damage
from segnet.weights.catalog import NON_COMMERCIAL, license_line, license_of
from segnet.weights.download import fetch
from segnet.weights.formats import read_weight_file
from segnet.weights.names import (
    Weights,
    depths_of,
    pools_shortcuts,
    recognize,
    split,
    translate_backbone,
    translate_model,
)
from segnet.weights.normalization import ASSUMED, IMAGENET
from segnet.weights.schemes import CLASSIFIER

log = logging.getLogger(__name__)

HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # PaddleSeg's normalization, and segnet's default
# Normalization of caffe-style weights of detectron2 and mmcv: BGR means 103.53, 116.28, 123.675, std 1; here as RGB.
CAFFE = ((0.485, 0.456, 0.406), (1 / 255, 1 / 255, 1 / 255))
CAFFE_NAME = re.compile(r"(?<![a-z])(caffe|msra)(?![a-z])")


def read_weights(source: str | os.PathLike[str]) -> Weights:
    """Fetch and read weights, and detect their naming scheme and normalization.

    Args:
        source: path of a ``.pth``, ``.pt``, ``.ckpt``, ``.safetensors`` or ``.pdparams`` file, URL, or name on the hub.

    Raises:
        CheckpointError: the file does not exist or cannot be used.
        MachineError: the download failed.
    """
    path, source = fetch(source), os.fspath(source)
    if not os.path.exists(os.path.expanduser(source)):
        log.log(logging.WARNING if license_of(source) == NON_COMMERCIAL else logging.INFO, license_line(source))
    state, meta = read_weight_file(path)
    with refusing_damage(path, "is damaged"):
        scheme = recognize(state)
        mean, std = _normalization(scheme, state, meta) or (None, None)
    if is_caffe(source) and scheme in ("torchvision", "mmseg"):
        log.info("%s: caffe weights, trained on BGR images; the first convolution is converted to RGB", source)
        state, (mean, std) = _from_bgr(state), CAFFE
    elif path.suffix == ".safetensors" and not meta and mean is not None and std is not None:
        log.info(
            "%s: no config.json in its folder; assuming mean=%s std=%s; set both if it was trained with other values",
            *(source, list(mean), list(std)),
        )
        meta = {ASSUMED: True}
    return Weights(source, scheme, state, mean, std, meta)


def is_caffe(source: str) -> bool:
    """Whether weights are caffe-style by their name: another stride and BGR images, which shapes do not show."""
    return CAFFE_NAME.search(re.split(r"[/\\]", source.lower())[-1]) is not None


def _from_bgr(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the first convolution from BGR to RGB input."""
    firsts = [name for name in state if re.fullmatch(r"(backbone\.)?(conv1|stem\.0)\.weight", name)]
    return {name: value.flip(1) if name in firsts and value.ndim == 4 else value for name, value in state.items()}


def _normalization(
    scheme: str, state: Iterable[str], meta: Mapping[str, Any]
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation of the training; None if unknown."""
    trained = meta.get("hyper_parameters")
    # timm's config.json, current and older form, and segnet's checkpoints
    for source in (meta.get("pretrained_cfg"), meta, trained.get("model") if isinstance(trained, dict) else None):
        if isinstance(source, dict) and are_numbers(source.get("mean")) and are_numbers(source.get("std")):
            mean, std = tuple(source["mean"]), tuple(source["std"])
            if not all(map(math.isfinite, (*mean, *std))) or min(std, default=0) <= 0:
                raise ValueError(f"mean={list(mean)}, std={list(std)} is not a valid normalization")
            return mean, std
    if scheme == "paddle":
        return IMAGENET if any(CLASSIFIER.fullmatch(name) for name in state) else HALF
    return IMAGENET if scheme in ("paddleclas", "timm", "torchvision", "mmseg") else None


def load_backbone_weights(backbone: nn.Module, source: str | os.PathLike[str] | Weights) -> None:
    """Initialize a backbone with pretrained weights.

    Args:
        backbone: a backbone of `segnet.models.backbones`.
        source: weights of a backbone, a classifier or a whole model: a source for `read_weights`, or its result.

    Raises:
        CheckpointError: the file cannot be read, or does not fit the backbone.
        MachineError: the download failed.
    """
    weights = source if isinstance(source, Weights) else read_weights(source)
    load_pretrained = getattr(backbone, "load_pretrained", None)
    with refusing_damage(weights.source, "does not fit the backbone"):
        _, rest = split(weights)
        if load_pretrained is not None:  # a backbone family with its own loader
            missing, left_over = load_pretrained(weights.state)
            _refuse_misfit(missing, left_over, weights.source)
        else:
            state, _ = translate_backbone(weights, depths_of(backbone.state_dict()))
            _refuse_other_shortcuts(backbone, weights)
            _refuse_other_style(backbone, weights)
            _load(backbone, state, weights)
    if rest:
        log.info("%s: %d weights of its head are not used (%s)", weights.source, len(rest), listed(list(rest)))


def load_model_weights(model: nn.Module, source: str | os.PathLike[str] | Weights) -> None:
    """Initialize a whole SegmentationModel with pretrained weights.

    Args:
        model: a SegmentationModel with a ResNet and a DeepLabV3 or DeepLabV3+ decoder.
        source: weights of a DeepLab model of PaddleSeg, mmsegmentation or segnet: a source for `read_weights`, or its
            result.

    Raises:
        CheckpointError: the file cannot be read, or does not fit the model.
        MachineError: the download failed.
    """
    weights = source if isinstance(source, Weights) else read_weights(source)
    with refusing_damage(weights.source, "does not fit the model"):
        state, auxiliary = translate_model(weights, depths_of(model.state_dict()))
        _refuse_other_shortcuts(model, weights)
        _refuse_other_style(model, weights)
        _load(model, state, weights, prefix="backbone.")
    if auxiliary:
        log.info(
            "%s: %d weights of an auxiliary head are not used (%s)", weights.source, len(auxiliary), listed(auxiliary)
        )


def _load(module: nn.Module, state: dict[str, Tensor], weights: Weights, prefix: str = "") -> None:
    """Load `state` strictly into `module`; `prefix` is that of the backbone.

    Raises:
        CheckpointError: weights are missing, unexpected, or of another shape.
    """
    own = {name: value for name, value in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    added: set[str] = getattr(module, "added_weights", set())
    if added and added.isdisjoint(state):
        own = {name: value for name, value in own.items() if name not in added}
        log.info(
            "%s: %d weights of the backbone's added modules are not in the file and keep their initial values (%s)",
            *(weights.source, len(added), listed(sorted(added))),
        )
    if not weights.scheme.startswith("paddle"):  # Paddle has projected shortcuts there
        _complete_shortcuts(module, own, state)
    _refuse_misfit(own.keys() - state.keys(), state.keys() - own.keys(), weights.source)
    for name in own:
        if not state[name].is_floating_point():
            # Paddle stores bfloat16 as uint16, whose values are not usable as numbers.
            raise CheckpointError(
                f"{weights.source}: does not fit the model: {name} has dtype {state[name].dtype}; "
                "it must be float16, float32 or float64"
            )
    _adapt_stem(own, state, f"{prefix}stem.0.conv.weight", weights.source)
    for name, value in own.items():
        if value.shape != state[name].shape:
            raise CheckpointError(
                f"{weights.source}: does not fit the model: {name} is {list(state[name].shape)} in the file "
                f"and {list(value.shape)} in the model"
            )
    module.load_state_dict(state, strict=False)  # strict except for num_batches_tracked, which other schemes lack


def _refuse_misfit(missing: Iterable[str], left_over: Iterable[str], source: str) -> None:
    missing, left_over = sorted(missing), sorted(left_over)
    if missing or left_over:
        raise CheckpointError(
            f"{source}: does not fit the model: {counted(len(missing), 'weight is', 'weights are')} missing "
            f"({listed(missing)}), {counted(len(left_over), 'is', 'are')} unexpected ({listed(left_over)})"
        )


def _refuse_other_shortcuts(module: nn.Module, weights: Weights) -> None:
    """Refuse weights with another kind of shortcut, which names and shapes do not show.

    Raises:
        CheckpointError: names the option to change.
    """
    theirs = pools_shortcuts(weights)
    ours = any(name.endswith("shortcut.pool") for name, _ in module.named_modules())
    if theirs is not None and theirs != ours:
        kind, way = ("an average pool", "pool") if theirs else ("a strided convolution", "conv")
        raise CheckpointError(
            f"{weights.source}: does not fit the backbone: its shortcuts downsample with {kind}; "
            f"set backbone.shortcut={way} or choose a backbone with it"
        )


def _refuse_other_style(module: nn.Module, weights: Weights) -> None:
    """Refuse caffe weights for a backbone that strides on the 3x3 convolution; names and shapes do not show it.

    Raises:
        CheckpointError: names the option to change.
    """
    layers = dict(module.named_modules())
    first = next((name for name in layers if name.endswith("stages.1.0.conv1.conv")), None)
    if not is_caffe(weights.source) or first is None or f"{first.removesuffix('1.conv')}3.conv" not in layers:
        return
    conv = layers[first]
    if isinstance(conv, nn.Conv2d) and max(conv.stride) == 1:
        raise CheckpointError(
            f"{weights.source}: does not fit the backbone: caffe weights stride on the first 1x1 convolution; "
            "set backbone.style=caffe"
        )


def _complete_shortcuts(module: nn.Module, own: Mapping[str, Tensor], state: dict[str, Tensor]) -> None:
    """Initialize projected shortcuts missing in the file as identities, if input and output have equal channels.

    This affects the first stage of 18 and 34 layers: vd variants of timm and mmsegmentation have no projection there.
    """
    for name, value in own.items():
        place = name.removesuffix("conv.weight")
        alike = value.ndim == 4 and value.shape[0] == value.shape[1]
        if not (name.endswith(".shortcut.project.conv.weight") and alike) or f"{place}norm.running_mean" not in own:
            continue
        if not any(theirs.startswith(place) for theirs in state):
            norm = module.get_submodule(f"{place}norm")
            assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
            state.update({place + part: weight for part, weight in _identity(value.shape[0], norm.eps).items()})


def _identity(channels: int, eps: float) -> dict[str, Tensor]:
    """The weights of a 1x1 convolution and batch norm that together are exactly the identity."""
    one, zero = torch.ones(channels), torch.zeros(channels)
    variance = torch.nextafter(one - eps, zero)
    while (variance + eps)[0] < 1:  # 1 - eps is not a float32: find the value with value + eps == 1
        variance = torch.nextafter(variance, 2 * one)
    return {
        "conv.weight": torch.eye(channels)[:, :, None, None],
        "norm.weight": one,
        "norm.bias": zero,
        "norm.running_mean": zero,
        "norm.running_var": variance,
    }


def _adapt_stem(own: Mapping[str, Tensor], state: dict[str, Tensor], name: str, source: str) -> None:
    """Adapt the first convolution from 3 input channels to the backbone's number, as timm does.

    One channel gets the sum over red, green and blue. More channels repeat the three, scaled to the same total.
    """
    weight, wanted = state.get(name), own[name].shape[1] if name in own else 3
    if weight is None or weight.ndim != 4 or weight.shape[1] != 3 or wanted == 3:
        return
    if wanted == 1:
        state[name] = weight.float().sum(dim=1, keepdim=True)
    else:
        state[name] = weight.float()[:, [channel % 3 for channel in range(wanted)]] * (3 / wanted)
    log.info("%s: first convolution adapted from 3 to %d input channels", source, wanted)

"""Weights from elsewhere: PaddleSeg's ``.pdparams`` files into our backbones and models.

Reading never runs what a file hides: see `read_pdparams`. Everything maps, or the load fails with the lists of what is
missing and what is left over; only a classifier head may be dropped, and that is said.
"""

import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segnet.errors import CheckpointError
from segnet.pdparams import read_pdparams

log = logging.getLogger(__name__)

# PaddleSeg's name -> ours. The first pattern that matches a whole name wins.
PADDLE_BACKBONE = (
    (r"conv1_([123])\.(.+)", lambda m: f"stem.{int(m[1]) - 1}.{m[2]}"),
    (r"bb_(\d)_(\d+)\.conv(\d)\.(.+)", lambda m: f"stages.{m[1]}.{m[2]}.conv{int(m[3]) + 1}.{m[4]}"),
    (r"bb_(\d)_(\d+)\.short\.(.+)", lambda m: f"stages.{m[1]}.{m[2]}.shortcut.project.{m[3]}"),
)
PADDLE_DEEPLABV3PLUS = (
    (r"head\.aspp\.aspp_blocks\.(\d)\.(.+)", lambda m: f"decoder.aspp.branches.{m[1]}.{m[2]}"),
    (r"head\.aspp\.global_avg_pool\.1\.(.+)", lambda m: f"decoder.aspp.branches.4.project.{m[1]}"),
    (r"head\.aspp\.conv_bn_relu\.(.+)", lambda m: f"decoder.aspp.project.{m[1]}"),
    (r"head\.decoder\.conv_bn_relu1\.(.+)", lambda m: f"decoder.low_level.{m[1]}"),
    (r"head\.decoder\.conv_bn_relu([23])\.(.+)", lambda m: f"decoder.fuse.{int(m[1]) - 2}.{m[2]}"),
    (r"head\.decoder\.conv\.(.+)", lambda m: f"decoder.classifier.{m[1]}"),
)
PADDLE_PARTS = (
    ("depthwise_conv.", "depthwise."),
    ("piontwise_conv.", "pointwise."),  # PaddleSeg's spelling
    ("pointwise_conv.", "pointwise."),
    ("_conv.", "conv."),
    ("_batch_norm._mean", "norm.running_mean"),
    ("_batch_norm._variance", "norm.running_var"),
    ("_batch_norm.", "norm."),
)
PADDLE_CLASSIFIER = re.compile(r"(out|fc)\.(weight|bias)")  # of PaddleClas, for ImageNet
NUM_LISTED = 5


def load_backbone_weights(backbone: nn.Module, source: str | os.PathLike[str]) -> None:
    """Initialises a backbone from a file.

    Args:
        backbone: one of `segnet.backbones`.
        source: path of a ``.pdparams`` file of PaddleSeg or PaddleClas, of a backbone or of a whole model.

    Raises:
        CheckpointError: the file cannot be read, or does not fit the backbone.
    """
    arrays = read_pdparams(source)
    if any(name.startswith("backbone.") for name in arrays):
        dropped = [name for name in arrays if not name.startswith("backbone.")]
        arrays = {
            name.removeprefix("backbone."): array for name, array in arrays.items() if name.startswith("backbone.")
        }
    else:
        dropped = [name for name in arrays if PADDLE_CLASSIFIER.fullmatch(name)]
        arrays = {name: array for name, array in arrays.items() if name not in dropped}
    _load(backbone, _translate(arrays, PADDLE_BACKBONE), Path(source))
    if dropped:
        log.info("%s: %d weights of its head are not used (%s)", source, len(dropped), _listed(dropped))


def load_model_weights(model: nn.Module, source: str | os.PathLike[str]) -> None:
    """Initialises a whole SegmentationModel from a file.

    Args:
        model: a SegmentationModel with a ResNet_vd and a DeepLabV3+ decoder.
        source: path of a ``.pdparams`` file of PaddleSeg's DeepLabV3P.

    Raises:
        CheckpointError: the file cannot be read, or does not fit the model.
    """
    backbone = tuple((rf"backbone\.{pattern}", _with_prefix(rename)) for pattern, rename in PADDLE_BACKBONE)
    _load(model, _translate(read_pdparams(source), (*backbone, *PADDLE_DEEPLABV3PLUS)), Path(source))


def _with_prefix(rename: Any) -> Any:
    return lambda match: "backbone." + rename(match)


def _translate(arrays: Mapping[str, NDArray[Any]], rules: Iterable[tuple[str, Any]]) -> dict[str, Tensor]:
    """Gives PaddleSeg's arrays our names; unknown ones keep theirs and fail later as left over."""
    state = {}
    for name, array in arrays.items():
        ours = name
        for pattern, rename in rules:
            if match := re.fullmatch(pattern, name):
                ours = rename(match)
                break
        if ours != name:
            for theirs, part in PADDLE_PARTS:
                ours = ours.replace(theirs, part)
        state[ours] = torch.from_numpy(np.array(array))
    return _fold_biases(state)


def _fold_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Removes convolution biases that a norm follows: norm(x + b) is norm(x) with a running mean lower by b."""
    for name in [name for name in state if name.endswith("conv.bias")]:
        mean = name.removesuffix("conv.bias") + "norm.running_mean"
        if mean in state and state[mean].shape == state[name].shape:
            state[mean] = state[mean] - state.pop(name)
    return state


def _load(module: nn.Module, state: dict[str, Tensor], source: Path) -> None:
    """Loads `state`, all of it into all of `module`.

    Raises:
        CheckpointError: with what is missing, left over, or of another shape.
    """
    own = {name: value for name, value in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    missing, left_over = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or left_over:
        raise CheckpointError(
            f"{source}: does not fit the model: {len(missing)} weights are missing ({_listed(missing)}), "
            f"{len(left_over)} are left over ({_listed(left_over)})"
        )
    for name, value in own.items():
        if value.shape != state[name].shape:
            raise CheckpointError(
                f"{source}: does not fit the model: {name} is {list(state[name].shape)} in the file "
                f"and {list(value.shape)} in the model"
            )
        if not state[name].is_floating_point():
            # Paddle stores bfloat16 as uint16: taken as numbers that would be nonsense.
            raise CheckpointError(
                f"{source}: does not fit the model: {name} is of type {state[name].dtype}, "
                "needed are float16, float32 or float64"
            )
    module.load_state_dict(state, strict=False)  # strict but for num_batches_tracked, which other schemes lack


def _listed(names: list[str]) -> str:
    return ", ".join(names[:NUM_LISTED]) + (", ..." if len(names) > NUM_LISTED else "") if names else "none"

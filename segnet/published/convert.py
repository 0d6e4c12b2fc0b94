"""Convert trained models of PaddleSeg and mmsegmentation to segnet checkpoints.

Weights do not determine all settings. The published ones come from PaddleSeg's configs/deeplabv3p and
configs/deeplabv3 (output stride 8, multi-grid 1, 2, 4), and from mmsegmentation's
configs/_base_/models/deeplabv3plus_r50-d8.py (output stride 8, the first block of a dilated stage at half the rate, a
ReLU between depthwise and pointwise convolution).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from segnet.class_sets import CLASS_SETS
from segnet.classes import Classes
from segnet.components import did_you_mean
from segnet.config import OptimConfig
from segnet.errors import CheckpointError, ConfigError, listed
from segnet.models.checkpoint import save_checkpoint
from segnet.models.segmentation_model import SegmentationModel
from segnet.system.integrity import refusing_damage
from segnet.weights.load import load_model_weights
from segnet.weights.names import Weights, depths_of, pools_shortcuts, translate_model


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """Settings of a trained model that its weights do not show.

    Attributes:
        output_stride: output stride of the backbone.
        multi_grid: multi-grid of the last stage's blocks: factors of its dilation (PaddleSeg), or the dilations
            themselves (mmsegmentation). None: no multi-grid.
        align_corners: align_corners of all bilinear resizing.
    """

    output_stride: int
    multi_grid: tuple[int, ...] | None
    align_corners: bool = False


PUBLISHED = {
    "paddle": BuildSettings(output_stride=8, multi_grid=(1, 2, 4)),
    "mmseg": BuildSettings(output_stride=8, multi_grid=None),
}
_FOUR = r"[(\[]\s*" + r"\s*,\s*".join([r"(\d+)"] * 4) + r"\s*,?\s*[)\]]"
STRIDES: dict[tuple[str | Any, ...], int] = {  # mmsegmentation's dilations -> output stride
    ("1", "1", "2", "4"): 8,
    ("1", "1", "1", "2"): 16,
    ("1", "1", "1", "1"): 32,
}


def published_settings(weights: Weights) -> BuildSettings:
    """Return a project's published settings, updated by the configuration stored in the file.

    Raises:
        CheckpointError: the weights are not from PaddleSeg or mmsegmentation, or no output stride has these dilations.
    """
    if weights.scheme not in PUBLISHED:
        raise CheckpointError(
            f"{weights.source}: is not a complete model of PaddleSeg or mmsegmentation (its weights are named as "
            f"{weights.scheme}'s)"
        )
    settings = PUBLISHED[weights.scheme]
    meta = weights.meta.get("meta", {})
    text = str(meta.get("config") or meta.get("cfg"))  # keys of mmengine and mmcv
    if dilations := re.search(rf"dilations\s*=\s*{_FOUR}", text):
        stride = STRIDES.get(dilations.groups())
        if stride is None:
            raise CheckpointError(
                f"{weights.source}: was built with dilations {','.join(dilations.groups())}, which fit no output stride"
            )
        settings = replace(settings, output_stride=stride)
    if grid := re.search(r"multi_grid\s*=\s*[(\[]([\d,\s]+)[)\]]", text):
        settings = replace(settings, multi_grid=tuple(int(rate) for rate in grid[1].split(",") if rate.strip()))
    return replace(settings, align_corners=True) if re.search(r"align_corners\s*=\s*True", text) else settings


def named_classes(named: str) -> Classes:
    """Return the classes that --classes names.

    Args:
        named: "cityscapes", "road,tree,car", or the path of a YAML file: a list of names, or ``names``, ``palette`` and
            ``ignore_index``.

    Raises:
        ConfigError: an unknown dataset or file.
    """
    if named in CLASS_SETS:
        return CLASS_SETS[named]
    if Path(named).suffix in (".yaml", ".yml", ".json"):
        return _read_classes(Path(named))
    if "," in named:
        return Classes.create([name.strip() for name in named.split(",")])
    raise ConfigError(f"--classes {named}: no such dataset.{did_you_mean(named, CLASS_SETS)}")


def stored_classes(weights: Weights) -> Classes:
    """Return the classes that mmsegmentation stored in the weights file.

    Raises:
        ConfigError: there are none.
        CheckpointError: they cannot be used.
    """
    meta = weights.meta.get("meta", {})
    described = meta.get("dataset_meta") or meta
    if not isinstance(described, Mapping):
        described = {}
    names = described.get("classes") or described.get("CLASSES")
    if not names:
        raise ConfigError(
            f"{weights.source}: contains no class names: add --classes with {', '.join(sorted(CLASS_SETS))}, "
            "a list such as road,tree,car or a YAML file"
        )
    palette = described.get("palette") or described.get("PALETTE")
    with refusing_damage(weights.source, "its classes cannot be used, set them with --classes"):
        return Classes.create([str(name).strip() for name in names], palette)


def _read_classes(path: Path) -> Classes:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"--classes {path}: cannot be read: {' '.join(str(error).split())}") from None
    if isinstance(content, list):
        content = {"names": content}
    if not isinstance(content, dict) or not {"names"} <= content.keys() <= {"names", "palette", "ignore_index"}:
        raise ConfigError(
            f"--classes {path}: must contain a list of names, or the keys names, palette and ignore_index"
        )
    return Classes.create(**content)


def convert(weights: Weights, classes: Classes, settings: BuildSettings, output: Path) -> SegmentationModel:
    """Write a checkpoint for predict and evaluate from the weights of another project.

    Args:
        weights: weights of a complete model.
        classes: the model's classes.
        settings: settings that the weights do not show.
        output: path of the .ckpt file; an existing file is replaced.

    Returns:
        The model, on the CPU and in eval mode.

    Raises:
        CheckpointError: the weights are not a DeepLabV3 or DeepLabV3+, or have another number of classes.
        MachineError: the file cannot be written.
    """
    with refusing_damage(weights.source, "is not a DeepLabV3 or DeepLabV3+"):
        state, _ = translate_model(weights)
        spec = model_spec(state, weights, settings)
    if spec["num_classes"] != len(classes.names):
        raise CheckpointError(
            f"{weights.source}: has {spec['num_classes']} classes, but --classes names {len(classes.names)}: "
            f"{listed(classes.names)}"
        )
    try:
        model = SegmentationModel(**spec)
    except ConfigError as error:
        if settings != published_settings(weights):  # the user's own option is wrong
            raise
        raise CheckpointError(f"{weights.source}: is not a DeepLabV3 or DeepLabV3+ ({error})") from None
    load_model_weights(model, weights)
    checkpoint = {
        "state_dict": {f"model.{name}": value for name, value in model.state_dict().items()},
        "hyper_parameters": {
            "model": spec,
            "classes": classes.to_dict(),
            "loss": {"name": "cross_entropy"},
            "optim": asdict(OptimConfig()),
        },
    }
    save_checkpoint(checkpoint, output)
    return model.eval()


def model_spec(state: Mapping[str, Tensor], weights: Weights, settings: BuildSettings) -> dict[str, Any]:
    """Derive the keyword arguments of SegmentationModel from the shapes of a state dict with segnet's names.

    Raises:
        CheckpointError: segnet has no such backbone or decoder.
    """
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    needed = ("backbone.stages.0.0.conv2.conv.weight", "decoder.classifier.weight", "decoder.aspp.project.conv.weight")
    absent = [name for name in needed if name not in shapes]
    if absent or weights.mean is None or weights.std is None:
        raise CheckpointError(
            f"{weights.source}: is not a DeepLabV3 or DeepLabV3+ with a ResNet: {absent[0]} is missing"
        )
    return {
        "backbone": _describe_backbone(shapes, weights, settings),
        "decoder": _describe_decoder(shapes, weights.scheme, settings),
        "num_classes": shapes["decoder.classifier.weight"][0],
        "mean": list(weights.mean),
        "std": list(weights.std),
    }


def _describe_backbone(
    shapes: Mapping[str, Sequence[int]], weights: Weights, settings: BuildSettings
) -> dict[str, Any]:
    bottleneck = "backbone.stages.0.0.conv3.conv.weight" in shapes
    deep_stem = "backbone.stem.2.conv.weight" in shapes
    width, group_width = shapes["backbone.stages.0.0.conv2.conv.weight"][:2]
    last = "conv3" if bottleneck else "conv2"
    base_channels = shapes[f"backbone.stages.0.0.{last}.conv.weight"][0] // (4 if bottleneck else 1)
    groups = width // group_width
    return {
        "name": "resnet",
        "block": "bottleneck" if bottleneck else "basic",
        "depths": list(depths_of(shapes)),
        "in_channels": shapes["backbone.stem.0.conv.weight"][1],
        "stem": "deep" if deep_stem else "conv7x7",
        "stem_channels": shapes[f"backbone.stem.{2 if deep_stem else 0}.conv.weight"][0],
        "base_channels": base_channels,
        "groups": groups,
        "base_width": 64 * width // (groups * base_channels),
        "shortcut": "pool" if pools_shortcuts(weights) else "conv",
        "contract_dilation": weights.scheme == "mmseg",
        "basic_dilation": "first" if weights.scheme == "mmseg" and not bottleneck else "both",
        "output_stride": settings.output_stride,
        "multi_grid": None if settings.multi_grid is None else list(settings.multi_grid),
    }


def _describe_decoder(shapes: Mapping[str, Sequence[int]], scheme: str, settings: BuildSettings) -> dict[str, Any]:
    spec = {
        "name": "deeplabv3plus" if "decoder.low_level.conv.weight" in shapes else "deeplabv3",
        "output_stride": settings.output_stride,
        "aspp_channels": shapes["decoder.aspp.project.conv.weight"][0],
        "projection_kernel": shapes["decoder.aspp.project.conv.weight"][-1],
        "align_corners": settings.align_corners,
    }
    if spec["name"] == "deeplabv3plus":
        separable = "decoder.fuse.0.depthwise.conv.weight" in shapes
        last = "decoder.fuse.1.pointwise.conv.weight" if separable else "decoder.fuse.1.conv.weight"
        spec |= {
            "separable": separable,
            "depthwise_act": separable and scheme == "mmseg",
            "low_level_channels": shapes["decoder.low_level.conv.weight"][0],
            "decoder_channels": shapes[last][0],
        }
    return spec

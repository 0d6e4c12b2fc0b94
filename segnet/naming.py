"""The names of weights: which project's scheme a file follows, and what each of its weights is called here.

One table of rules for each scheme, after the constructors of these projects: timm's and torchvision's ``ResNet``,
mmsegmentation's and mmpretrain's ``ResNet``, ``ResNetV1c`` and ``ResNetV1d`` with ``ASPPHead`` and
``DepthwiseSeparableASPPHead``, PaddleSeg's ``ResNet_vd``, ``DeepLabV3P`` and ``DeepLabV3``, PaddleClas's ``ResNet`` of
both generations. What no rule knows keeps its name, and fails as left over when it is loaded.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from segnet.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Weights:
    """The contents of a weight file.

    Attributes:
        source: where it is from, as the user named it.
        scheme: whose names it follows: a key of SIGNS, or "unknown".
        state: name -> tensor, in that scheme's own names.
        mean, std: of the images that it was trained with, for values scaled to 0-1; None where that is not known.
        meta: what else the file tells, such as a checkpoint's "hyper_parameters".
    """

    source: str
    scheme: str
    state: dict[str, Tensor]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    meta: dict[str, Any] = field(default_factory=dict)


# scheme -> the names that give it away, less their prefixes
SIGNS = {
    "paddle": {"bb_0_0.conv0._conv.weight"},
    "paddleclas": {"blocks.0.conv0.conv.weight"},
    "timm": {"conv1.0.weight", "layer1.0.conv1.weight"},
    "torchvision": {"conv1.weight", "layer1.0.conv1.weight"},
    "mmseg": {"stem.0.weight", "layer1.0.conv1.weight"},
    "segnet": {"stages.0.0.conv1.conv.weight"},
}

Rule = tuple[str, Callable[[re.Match[str]], str]]  # a pattern of their whole name -> ours


def _triple(place: str) -> str:
    """Our name of what lies at `place` in a Sequential of convolution, norm, ReLU, convolution, ..."""
    return f"stem.{int(place) // 3}.{('conv', 'norm')[int(place) % 3]}"


TORCH_BLOCKS: tuple[Rule, ...] = (
    (r"layer(\d)\.(\d+)\.conv(\d)\.(.+)", lambda m: f"stages.{int(m[1]) - 1}.{m[2]}.conv{m[3]}.conv.{m[4]}"),
    (r"layer(\d)\.(\d+)\.bn(\d)\.(.+)", lambda m: f"stages.{int(m[1]) - 1}.{m[2]}.conv{m[3]}.norm.{m[4]}"),
    # after _name_downsamples
    (
        r"layer(\d)\.(\d+)\.downsample\.(conv|norm)\.(.+)",
        lambda m: f"stages.{int(m[1]) - 1}.{m[2]}.shortcut.project.{m[3]}.{m[4]}",
    ),
)
BACKBONES: dict[str, tuple[Rule, ...]] = {
    "torchvision": (
        *TORCH_BLOCKS,
        (r"conv1\.(.+)", lambda m: f"stem.0.conv.{m[1]}"),
        (r"bn1\.(.+)", lambda m: f"stem.0.norm.{m[1]}"),
    ),
    "timm": (
        *TORCH_BLOCKS,
        (r"conv1\.([01346])\.(.+)", lambda m: f"{_triple(m[1])}.{m[2]}"),
        (r"bn1\.(.+)", lambda m: f"stem.2.norm.{m[1]}"),
    ),
    "mmseg": (*TORCH_BLOCKS, (r"stem\.([013467])\.(.+)", lambda m: f"{_triple(m[1])}.{m[2]}")),
    "paddle": (
        (r"conv1_([123])\.(.+)", lambda m: f"stem.{int(m[1]) - 1}.{m[2]}"),
        (r"conv\.(.+)", lambda m: f"stem.0.{m[1]}"),
        (r"bb_(\d)_(\d+)\.conv(\d)\.(.+)", lambda m: f"stages.{m[1]}.{m[2]}.conv{int(m[3]) + 1}.{m[4]}"),
        (r"bb_(\d)_(\d+)\.short\.(.+)", lambda m: f"stages.{m[1]}.{m[2]}.shortcut.project.{m[3]}"),
    ),
    "paddleclas": (
        (r"stem\.(\d)\.(.+)", lambda m: f"stem.{m[1]}.{m[2]}"),
        # after _number_by_stage
        (r"blocks\.(\d)\.(\d+)\.conv(\d)\.(.+)", lambda m: f"stages.{m[1]}.{m[2]}.conv{int(m[3]) + 1}.{m[4]}"),
        (r"blocks\.(\d)\.(\d+)\.short\.(.+)", lambda m: f"stages.{m[1]}.{m[2]}.shortcut.project.{m[3]}"),
    ),
    "segnet": (),
    "unknown": (),
}
DECODERS: tuple[Rule, ...] = (
    # PaddleSeg
    (r"head\.aspp\.aspp_blocks\.(\d)\.(.+)", lambda m: f"decoder.aspp.branches.{m[1]}.{m[2]}"),
    (r"head\.aspp\.global_avg_pool\.1\.(.+)", lambda m: f"decoder.aspp.branches.4.project.{m[1]}"),
    (r"head\.aspp\.conv_bn_relu\.(.+)", lambda m: f"decoder.aspp.project.{m[1]}"),
    (r"head\.decoder\.conv_bn_relu1\.(.+)", lambda m: f"decoder.low_level.{m[1]}"),
    (r"head\.decoder\.conv_bn_relu([23])\.(.+)", lambda m: f"decoder.fuse.{int(m[1]) - 2}.{m[2]}"),
    (r"head\.(?:decoder\.conv|cls)\.(.+)", lambda m: f"decoder.classifier.{m[1]}"),
    # mmsegmentation
    (r"decode_head\.aspp_modules\.(\d)\.(.+)", lambda m: f"decoder.aspp.branches.{m[1]}.{m[2]}"),
    (r"decode_head\.image_pool\.1\.(.+)", lambda m: f"decoder.aspp.branches.4.project.{m[1]}"),
    (r"decode_head\.bottleneck\.(.+)", lambda m: f"decoder.aspp.project.{m[1]}"),
    (r"decode_head\.c1_bottleneck\.(.+)", lambda m: f"decoder.low_level.{m[1]}"),
    (r"decode_head\.sep_bottleneck\.([01])\.(.+)", lambda m: f"decoder.fuse.{m[1]}.{m[2]}"),
    (r"decode_head\.conv_seg\.(.+)", lambda m: f"decoder.classifier.{m[1]}"),
)
# Within a block, whatever the scheme; the first that occurs is replaced before the next is looked for.
PARTS = (
    ("depthwise_conv.", "depthwise."),
    ("piontwise_conv.", "pointwise."),  # PaddleSeg's spelling
    ("pointwise_conv.", "pointwise."),
    ("_conv.", "conv."),
    ("_batch_norm._mean", "norm.running_mean"),
    ("_batch_norm._variance", "norm.running_var"),
    ("_batch_norm.", "norm."),
    ("bn._mean", "norm.running_mean"),
    ("bn._variance", "norm.running_var"),
    ("bn.", "norm."),
)
# for ImageNet: torchvision's and timm's, PaddleClas's of both generations, mmpretrain's
CLASSIFIER = re.compile(r"(?:fc|out|head\.fc)\.(weight|bias)")
AUXILIARY = re.compile(r"(auxiliary_head|aux_head|aux_classifier)\..+")
OURS = re.compile(r"(?:backbone\.)?stages\.(\d)\.(\d+)\..+")


def recognise(names: Iterable[str]) -> str:
    """The scheme that names follow: a key of SIGNS, or "unknown"."""
    bare = {name.removeprefix("model.").removeprefix("backbone.") for name in names}
    return next((scheme for scheme, signs in SIGNS.items() if signs <= bare), "unknown")


def split(weights: Weights) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of the backbone, less their prefix, and all others: the parts of a whole model, or a classifier."""
    state = weights.state
    if any(name.startswith("model.backbone.") for name in state):  # a checkpoint of segnet: all else is the training's
        state = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    if any(name.startswith("backbone.") for name in state):
        backbone = {
            name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")
        }
        return backbone, {name: value for name, value in state.items() if not name.startswith("backbone.")}
    rest = {name: value for name, value in state.items() if CLASSIFIER.fullmatch(name)}
    return {name: value for name, value in state.items() if name not in rest}, rest


def translate_backbone(
    weights: Weights, depths: Sequence[int] | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Gives the weights of a backbone our names.

    Args:
        weights: of a backbone, a classifier or a whole model.
        depths: blocks in each stage of the ResNet that will take them; None for those that the file has.

    Returns:
        Our name -> tensor; and of an ImageNet classifier's linear layer, if the file has one, "weight"
        (num_classes, channels) and "bias" (num_classes,).

    Raises:
        CheckpointError: names of no known scheme, or a ResNet of other depths.
    """
    if weights.scheme == "unknown":
        raise CheckpointError(
            f"{weights.source}: its names are of no ResNet known here ({', '.join(SIGNS)}); the first are "
            f"{', '.join(list(weights.state)[:3])}"
        )
    backbone, rest = split(weights)
    if weights.scheme == "paddleclas":
        backbone = _number_by_stage(backbone)
    state = _rename(_name_downsamples(backbone), BACKBONES[weights.scheme])
    found = depths_of(state)
    if depths is not None and found != tuple(depths):
        raise CheckpointError(
            f"{weights.source}: does not fit the backbone: the file has a ResNet of depths {found}, "
            f"the backbone {tuple(depths)}"
        )
    return state, _classifier(rest, weights.scheme)


def translate_model(weights: Weights, depths: Sequence[int] | None = None) -> tuple[dict[str, Tensor], list[str]]:
    """Gives the weights of a whole segmentation model our names.

    Args:
        weights: of a whole model.
        depths: as of translate_backbone.

    Returns:
        Our name ("backbone...", "decoder...") -> tensor; and the names of auxiliary heads, which are left out.

    Raises:
        CheckpointError: as of translate_backbone.
    """
    backbone, _ = translate_backbone(weights, depths)
    _, rest = split(weights)
    auxiliary = [name for name in rest if AUXILIARY.fullmatch(name)]
    decoder = _rename({name: value for name, value in rest.items() if name not in auxiliary}, DECODERS)
    project = "decoder.aspp.project.conv.weight"
    if "decode_head.bottleneck.conv.weight" in rest:
        # mmsegmentation concatenates the pooled features before the branches, we behind them
        width = rest["decode_head.bottleneck.conv.weight"].shape[0]
        decoder[project] = decoder[project].roll(-width, dims=1)
    return {**{f"backbone.{name}": value for name, value in backbone.items()}, **decoder}, auxiliary


def depths_of(names: Iterable[str]) -> tuple[int, ...]:
    """Blocks in each stage of a ResNet, by our names of its weights."""
    blocks = [(int(match[1]), int(match[2])) for match in map(OURS.fullmatch, names) if match]
    return tuple(
        1 + max((block for stage, block in blocks if stage == wanted), default=-1)
        for wanted in range(1 + max((stage for stage, _ in blocks), default=-1))
    )


def _rename(state: Mapping[str, Tensor], rules: Iterable[Rule]) -> dict[str, Tensor]:
    """Renames by the first rule that matches; batch counters, which other schemes lack, are left out."""
    renamed = {}
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        for pattern, rename in rules:
            if match := re.fullmatch(pattern, name):
                name = rename(match)
                for theirs, ours in PARTS:
                    name = name.replace(theirs, ours)
                break
        renamed[name] = value
    return _fold_biases(renamed)


def _name_downsamples(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names the parts of a torch shortcut by what they are.

    Their numbers depend on whether a pool comes first, even from stage to stage: the convolution is the one with a
    weight of four dimensions, and the norm follows it.
    """
    pattern = re.compile(r"(layer\d\.\d+\.downsample)\.(\d)\.(.+)")
    matches = {name: pattern.fullmatch(name) for name in state}
    places = {match[1]: int(match[2]) for name, match in matches.items() if match and state[name].ndim == 4}
    named = {}
    for name, value in state.items():
        match = matches[name]
        part = {0: "conv", 1: "norm"}.get(int(match[2]) - places.get(match[1], -2)) if match else None
        named[f"{match[1]}.{part}.{match[3]}" if match and part else name] = value
    return named


def _number_by_stage(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """blocks.7 -> blocks.2.0, as PaddleClas counts through all stages: each begins with a block that has a shortcut."""
    starts = sorted({0, *(int(match[1]) for name in state if (match := re.match(r"blocks\.(\d+)\.short\.", name)))})

    def by_stage(match: re.Match[str]) -> str:
        block = int(match[1])
        stage = sum(start <= block for start in starts) - 1
        return f"blocks.{stage}.{block - starts[stage]}."

    return {re.sub(r"^blocks\.(\d+)\.", by_stage, name): value for name, value in state.items()}


def _classifier(rest: Mapping[str, Tensor], scheme: str) -> dict[str, Tensor]:
    head = {match[1]: rest[name] for name in rest if (match := CLASSIFIER.fullmatch(name))}
    if scheme.startswith("paddle") and "weight" in head:
        head["weight"] = head["weight"].T  # Paddle's Linear is (in, out)
    return head


def _fold_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Removes convolution biases that a norm follows: norm(x + b) is norm(x) with a running mean lower by b."""
    for name in [name for name in state if name.endswith("conv.bias")]:
        mean = name.removesuffix("conv.bias") + "norm.running_mean"
        if mean in state and state[mean].shape == state[name].shape:
            state[mean] = state[mean] - state.pop(name)
    return state

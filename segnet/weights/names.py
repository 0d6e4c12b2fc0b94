"""Detect the naming scheme of weights, and translate parameter names."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from segnet.errors import CheckpointError
from segnet.weights.schemes import (
    ANTI_ALIASED,
    AUXILIARY,
    BACKBONE_RULES,
    CLASSIFIER,
    DECODER_RULES,
    OURS,
    PADDLE_PARTS,
    SIGNS,
    Rule,
)


@dataclass(frozen=True, slots=True)
class Weights:
    """The contents of a weight file.

    Attributes:
        source: path, URL or hub name from the user.
        scheme: naming scheme of the parameters: a value of SIGNS, or "unknown".
        state: name -> tensor, with the names of that scheme.
        mean, std: normalization in training, for values scaled to 0-1; None if unknown.
        meta: other contents of the file, such as a checkpoint's "hyper_parameters".
    """

    source: str
    scheme: str
    state: dict[str, Tensor]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    meta: dict[str, Any] = field(default_factory=dict)


PADDLE_VC = re.compile(r"(?i)resnet\d+_vc(?![a-z])")


def recognize(names: Iterable[str]) -> str:
    """Detect the naming scheme: a value of SIGNS, or "unknown"."""
    bare = {name.removeprefix("model.").removeprefix("backbone.") for name in names}
    return next((scheme for signs, scheme in SIGNS.items() if bare.issuperset(signs)), "unknown")


def split(weights: Weights) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split weights into those of the backbone, without prefix, and all others (decoder, heads, classifier)."""
    state = weights.state
    if any(name.startswith("model.backbone.") for name in state):  # segnet's checkpoint
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
    """Translate the names of a backbone's weights.

    Args:
        weights: weights of a backbone, a classifier or a whole model.
        depths: number of blocks per stage of the target ResNet; None: that of the file.

    Returns:
        segnet's name -> tensor; and the linear layer of an ImageNet classifier, if any: "weight"
        (num_classes, channels) and "bias" (num_classes,).

    Raises:
        CheckpointError: an unknown naming scheme, other depths, or an unsupported variant.
    """
    if weights.scheme == "unknown":
        schemes = ", ".join(dict.fromkeys(SIGNS.values()))
        raise CheckpointError(
            f"{weights.source}: unknown naming scheme of the weights; known are {schemes}; the first names are "
            f"{', '.join(list(weights.state)[:3])}"
        )
    architecture = str(weights.meta.get("architecture"))  # from timm's config.json
    if ANTI_ALIASED.search(architecture):
        raise CheckpointError(
            f"{weights.source}: {architecture} has anti-aliased pooling, which segnet's ResNet does not support: "
            f"choose backbone=timm backbone.model={architecture}"
        )
    backbone, rest = split(weights)
    if weights.scheme == "paddleclas":
        backbone = _number_by_stage(backbone)
    state = _rename(_name_downsamples(backbone), BACKBONE_RULES[weights.scheme])
    found = depths_of(state)
    if depths is not None and found != tuple(depths):
        raise CheckpointError(
            f"{weights.source}: does not fit the backbone: the file contains a ResNet with depths {found}, "
            f"the backbone {tuple(depths)}"
        )
    return state, _classifier(rest, weights.scheme)


def translate_model(weights: Weights, depths: Sequence[int] | None = None) -> tuple[dict[str, Tensor], list[str]]:
    """Translate the names of a whole segmentation model's weights.

    Args:
        weights: weights of a whole model.
        depths: see translate_backbone.

    Returns:
        segnet's name ("backbone...", "decoder...") -> tensor; and the names of skipped auxiliary heads.

    Raises:
        CheckpointError: see translate_backbone.
    """
    backbone, _ = translate_backbone(weights, depths)
    _, rest = split(weights)
    auxiliary = [name for name in rest if AUXILIARY.fullmatch(name)]
    decoder = _rename({name: value for name, value in rest.items() if name not in auxiliary}, DECODER_RULES)
    project = "decoder.aspp.project.conv.weight"
    if "decode_head.bottleneck.conv.weight" in rest:
        # mmsegmentation concatenates the pooled features before the branches, segnet after them
        width = rest["decode_head.bottleneck.conv.weight"].shape[0]
        decoder[project] = decoder[project].roll(-width, dims=1)
    return {**{f"backbone.{name}": value for name, value in backbone.items()}, **decoder}, auxiliary


def pools_shortcuts(weights: Weights) -> bool | None:
    """Whether the shortcuts downsample with an average pool (vd) or a strided convolution; None if unknown.

    Names and shapes are equal in both cases. Weights of the other kind would load, but score badly.
    """
    if weights.scheme.startswith("paddle"):
        if PADDLE_VC.search(weights.source):  # deep stem without pools: only the file name differs from vd
            return False
        return any(name.startswith(("conv1_2.", "stem.1.")) for name in split(weights)[0])
    if weights.scheme == "segnet":
        trained: Any = weights.meta
        for key in ("hyper_parameters", "model", "backbone"):
            trained = trained.get(key) if isinstance(trained, dict) else None
        return trained.get("shortcut", "pool") == "pool" if isinstance(trained, dict) else None
    conv = re.compile(r"(?:backbone\.)?layer2\.0\.downsample\.(\d)\.weight")
    places = [match[1] for name, value in weights.state.items() if value.ndim == 4 and (match := conv.fullmatch(name))]
    return places[0] == "1" if places else None


def depths_of(names: Iterable[str]) -> tuple[int, ...]:
    """Number of blocks per stage of a ResNet, from segnet's parameter names."""
    blocks = [(int(match[1]), int(match[2])) for match in map(OURS.fullmatch, names) if match]
    return tuple(
        1 + max((block for stage, block in blocks if stage == wanted), default=-1)
        for wanted in range(1 + max((stage for stage, _ in blocks), default=-1))
    )


def _rename(state: Mapping[str, Tensor], rules: Iterable[Rule]) -> dict[str, Tensor]:
    """Rename by the first matching rule; drop batch counters, which other schemes lack."""
    renamed = {}
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        for pattern, rename in rules:
            if match := re.fullmatch(pattern, name):
                name = rename(match)
                for theirs, ours in PADDLE_PARTS:
                    name = name.replace(theirs, ours)
                break
        renamed[name] = value
    return _fold_biases(renamed)


def _name_downsamples(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the layers of a torch shortcut "conv" and "norm".

    Their indices depend on a preceding pool, even from stage to stage. The convolution has a weight of four
    dimensions, and the norm follows it.
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
    """blocks.7 -> blocks.2.0: PaddleClas numbers blocks across stages; each stage starts with a projected shortcut."""
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
    """Fold convolution biases into the next norm: norm(x + b) is norm(x) with a running mean lower by b."""
    for name in [name for name in state if name.endswith("conv.bias")]:
        mean = name.removesuffix("conv.bias") + "norm.running_mean"
        if mean in state and state[mean].shape == state[name].shape:
            state[mean] = state[mean] - state.pop(name)
    return state

"""Plugins: attention blocks after a convolution of the residual blocks, in chosen stages.

Sources: "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond" (arXiv 1904.11492) for the context
block; "Squeeze-and-Excitation Networks" (arXiv 1709.01507). Places and options are those of mmdetection's and
mmpretrain's ResNet, which have plugins for bottleneck blocks only. Two details differ. `ratio` is a fraction for both
kinds. The attention has no bias, which its softmax would cancel.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from segnet.components import build, complete, did_you_mean
from segnet.errors import ConfigError
from segnet.models.backbones.resnet.options import check_stages
from segnet.models.norms import layer_norm

POSITIONS = {
    "basic": ("after_conv1", "after_conv2"),
    "bottleneck": ("after_conv1", "after_conv2", "after_conv3"),
}  # kind of block -> positions of a plugin; the last one is before the residual sum
ALL_STAGES = {"stages": [True, True, True, True]}
POOLINGS = ("att", "avg")
FUSIONS = ("channel_add", "channel_mul")

# position -> functions that build a plugin from the number of channels there
Plugins = Mapping[str, Sequence[Callable[[int], nn.Module]]]


class ContextBlock(nn.Module):
    """Global context block (GCNet, figure 4d): pools the image to one vector, transforms it, and adds it everywhere.

    The last layer of each transform starts at zero. So channel_add starts as the identity, and channel_mul with
    factors of 0.5.

    Args:
        channels: channels of the features.
        ratio: width of the transform, as a fraction of `channels`.
        pooling: "att", weights from a softmax over all positions, or "avg", the mean.
        fusion: "channel_add", "channel_mul" (by a sigmoid), or both.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        ratio: float = 1 / 16,
        pooling: str = "att",
        fusion: str | list[str] = "channel_add",
    ) -> None:
        super().__init__()
        fusions = [fusion] if isinstance(fusion, str) else list(fusion)
        for option, given, choices in (("pooling", [pooling], POOLINGS), ("fusion", fusions or [""], FUSIONS)):
            for value in given:
                if value not in choices:
                    raise ConfigError(f"backbone.plugins.{option}={value} is unknown.{did_you_mean(value, choices)}")
        width = _width(channels, ratio, least=2)  # layer norm would turn a single channel into a constant
        self.attention = nn.Conv2d(channels, 1, 1, bias=False) if pooling == "att" else None
        self.mul = _transform(channels, width) if "channel_mul" in fusions else None
        self.add = _transform(channels, width) if "channel_add" in fusions else None
        self.zero_init()

    def zero_init(self) -> None:
        """Set the last layer of each transform to zero."""
        for transform in (self.mul, self.add):
            if transform is not None:
                last = transform[-1]
                assert isinstance(last, nn.Conv2d)
                _zero(last)

    def forward(self, x: Tensor) -> Tensor:
        """Add the context to features (B, channels, H, W), or scale them by it."""
        context = self._pool(x)
        if self.mul is not None:
            x = x * self.mul(context).sigmoid()
        return x if self.add is None else x + self.add(context)

    def _pool(self, x: Tensor) -> Tensor:
        if self.attention is None:
            return x.mean(dim=(2, 3), keepdim=True)
        weights = self.attention(x).flatten(2).softmax(dim=2)
        return torch.matmul(x.flatten(2), weights.transpose(1, 2)).unsqueeze(3)


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation: scales each channel by a gate from the mean over the image.

    Args:
        channels: channels of the features.
        ratio: width of the hidden layer, as a fraction of `channels`.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(self, channels: int, *, ratio: float = 1 / 16) -> None:
        super().__init__()
        width = _width(channels, ratio, least=1)
        self.reduce = nn.Conv2d(channels, width, 1)
        self.act = nn.ReLU(inplace=True)
        self.expand = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale features (B, channels, H, W)."""
        pooled = x.mean(dim=(2, 3), keepdim=True)
        gate: Tensor = self.expand(self.act(self.reduce(pooled))).sigmoid()
        return x * gate


PLUGINS: dict[str, Callable[..., nn.Module]] = {
    "context": ContextBlock,
    "squeeze_excite": SqueezeExcite,
}


def plugins_of_stages(plugins: Sequence[Mapping[str, Any]] | None, block: str) -> list[Plugins]:
    """Return the plugins of each of the four stages.

    Args:
        plugins: specs ``{"name": name from PLUGINS, "position": ..., "stages": four booleans, **options}``; without
            "stages", a plugin is in all of them.
        block: kind of the residual blocks, "basic" or "bottleneck".

    Raises:
        ConfigError: an unknown name, option or position, or not four stages.
    """
    stages: list[dict[str, list[Callable[[int], nn.Module]]]] = [{} for _ in range(4)]
    for plugin in plugins or ():
        spec = _checked(plugin, block)
        make = partial(_make, {key: value for key, value in spec.items() if key not in ("position", "stages")})
        for chosen, stage in zip(spec["stages"], stages, strict=True):
            if chosen:
                stage.setdefault(spec["position"], []).append(make)
    return list(stages)


def complete_plugins(plugins: Sequence[Any]) -> list[Any]:
    """Return specs of plugins with every option; what is not a spec stays, for `plugins_of_stages` to refuse."""
    return [{**ALL_STAGES, **complete(PLUGINS, spec)} if isinstance(spec, Mapping) else spec for spec in plugins]


def _make(spec: Mapping[str, Any], channels: int) -> nn.Module:
    return build("backbone.plugins", PLUGINS, spec, channels=channels)


def _checked(plugin: Any, block: str) -> dict[str, Any]:
    """Return the spec of a plugin with its stages, its name, position and stages checked."""
    if not isinstance(plugin, Mapping):
        raise ConfigError(
            f"backbone.plugins: {plugin} is not a plugin: write plugins=[{{name:context,position:after_conv2}}]"
        )
    spec = {**ALL_STAGES, **plugin}
    name, position = spec.get("name"), spec.get("position")
    if not isinstance(name, str) or name not in PLUGINS:
        raise ConfigError(f"backbone.plugins.name={name} is unknown.{did_you_mean(str(name), PLUGINS)}")
    known = ["name", "position", "stages", *(key for key in signature(PLUGINS[name]).parameters if key != "channels")]
    for key in spec:
        if key not in known:
            raise ConfigError(f"backbone.plugins.{key} is not an option of '{name}'.{did_you_mean(str(key), known)}")
    if position is None:
        raise ConfigError(f"backbone.plugins: '{name}' needs a position, one of {', '.join(POSITIONS[block])}")
    if position not in POSITIONS[block]:
        what = f"is not available in {block} blocks" if position in POSITIONS["bottleneck"] else "is unknown"
        raise ConfigError(
            f"backbone.plugins.position={position} of '{name}' {what}.{did_you_mean(str(position), POSITIONS[block])}"
        )
    check_stages("plugins.stages", spec["stages"])
    return spec


def _width(channels: int, ratio: float, least: int) -> int:
    if not 0 < ratio <= 1:
        raise ConfigError(
            f"backbone.plugins.ratio={ratio} must be a fraction of the channels, above 0 and at most 1: 0.0625 for 1/16"
        )
    width = int(channels * ratio)
    if width < least:
        raise ConfigError(
            f"backbone.plugins.ratio={ratio} is too small: it leaves {width} of {channels} channels, "
            f"and {least} are needed"
        )
    return width


def _transform(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 1), layer_norm(width), nn.ReLU(inplace=True), nn.Conv2d(width, channels, 1)
    )


def _zero(conv: nn.Conv2d) -> None:
    nn.init.zeros_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)

"""Checks of ResNet's options, and the dilation of its blocks."""

from collections.abc import Collection, Sequence
from itertools import accumulate
from operator import mul
from typing import Any

from segnet.components import did_you_mean
from segnet.errors import ConfigError
from segnet.models.layers import MAX_WIDTH, require_output_stride

# output stride -> stride and dilation of each of the four stages
STAGES = {
    8: ((1, 1), (2, 1), (1, 2), (1, 4)),
    16: ((1, 1), (2, 1), (2, 1), (1, 2)),
    32: ((1, 1), (2, 1), (2, 1), (2, 1)),
}
STEMS = ("deep", "conv7x7")
SHORTCUTS = ("pool", "conv")
STYLES = ("pytorch", "caffe")
BASIC_DILATIONS = ("both", "first")
MAX_DEPTH = 1000  # limit on a stage's blocks, against absurd values in damaged checkpoints


def dilation_rates(
    depths: Sequence[int], output_stride: int, multi_grid: Sequence[int] | None, contract: bool
) -> list[list[int]]:
    """Return the dilation of every block of every stage.

    Raises:
        ConfigError: invalid depths, output stride or multi-grid.
    """
    require_output_stride(output_stride)
    if not _are_counts(depths) or len(depths) != 4 or max(depths) > MAX_DEPTH:
        raise ConfigError(f"backbone.depths={depths} must be four numbers of blocks, each 1-{MAX_DEPTH}")
    dilations = [dilation for _, dilation in STAGES[output_stride]]
    # Dilation doubles from stage to stage, so half of it is that of the previous stage.
    firsts = [1, *dilations[:-1]] if contract else dilations
    rates = [
        [first, *[dilation] * (depth - 1)] for first, dilation, depth in zip(firsts, dilations, depths, strict=True)
    ]
    if multi_grid is not None:
        if not _are_counts(multi_grid) or len(multi_grid) < depths[3]:
            raise ConfigError(
                f"backbone.multi_grid={multi_grid} does not fit: the last stage has {depths[3]} blocks, "
                "give a factor of 1 or more for each"
            )
        unit = 1 if contract else dilations[3]
        rates[3] = [unit * factor for factor in multi_grid[: depths[3]]]
    return rates


def strides_of_stages(output_stride: int) -> tuple[int, ...]:
    """Return the stride of each stage's features; the stem has 4 [pixels]."""
    return tuple(accumulate((stride for stride, _ in STAGES[output_stride]), mul, initial=4))[1:]


def check_choice(option: str, value: str, choices: Collection[str]) -> None:
    """Check that an option has one of its values.

    Raises:
        ConfigError: it has another one.
    """
    if value not in choices:
        raise ConfigError(f"backbone.{option}={value} is unknown.{did_you_mean(str(value), choices)}")


def check_counts(least: int = 1, **values: int) -> None:
    """Check that options are integers of `least` to MAX_WIDTH.

    Raises:
        ConfigError: one is not.
    """
    for option, value in values.items():
        if not isinstance(value, int) or not least <= value <= MAX_WIDTH:
            raise ConfigError(f"backbone.{option}={value} must be an integer, {least}-{MAX_WIDTH}")


def drop_path_rates(rate: float, num_blocks: int) -> list[float]:
    """Return the drop path rate of every block: rising linearly from 0 to `rate`.

    Raises:
        ConfigError: `rate` is not in [0, 1).
    """
    if not 0 <= rate < 1:
        raise ConfigError(f"backbone.drop_path_rate={rate} must be a probability in [0, 1)")
    return [rate * index / max(1, num_blocks - 1) for index in range(num_blocks)]


def check_stages(option: str, stages: Any) -> None:
    """Check a list of the stages that an option applies to: four booleans.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(stages, Sequence) or len(stages) != 4 or not all(isinstance(value, bool) for value in stages):
        raise ConfigError(
            f"backbone.{option}={stages} must be four of true and false, one for each stage: [false,true,true,true]"
        )


def check_kind(block: str, style: str, groups: int, base_width: int, base_channels: int, basic_dilation: str) -> None:
    """Check that the kind of block supports the options, and that they leave it channels.

    Raises:
        ConfigError: it does not, or they do not.
    """
    check_choice("style", style, STYLES)
    check_choice("basic_dilation", basic_dilation, BASIC_DILATIONS)
    check_counts(groups=groups, base_width=base_width)
    if block == "basic":
        for option, value, neutral in (
            ("style", style, "pytorch"),
            ("groups", groups, 1),
            ("base_width", base_width, 64),
        ):
            if value != neutral:
                raise ConfigError(
                    f"backbone.{option}={value} needs bottleneck blocks: set backbone.block=bottleneck, "
                    f"or leave it at {neutral}"
                )
    elif basic_dilation != "both":
        raise ConfigError(f"backbone.basic_dilation={basic_dilation} needs basic blocks: set backbone.block=basic")
    elif base_channels * base_width < 64:
        raise ConfigError(
            f"backbone.base_width={base_width} leaves the 3x3 convolutions without channels: they have "
            f"base_channels * base_width / 64 per group, and base_channels={base_channels}"
        )


def _are_counts(values: Any) -> bool:
    return isinstance(values, Sequence) and all(isinstance(value, int) and value >= 1 for value in values)

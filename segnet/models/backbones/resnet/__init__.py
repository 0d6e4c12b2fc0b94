"""The ResNet family with an output stride of 8, 16 or 32: plain, v1c, vd (v1d), ResNeXt.

Sources: "Deep Residual Learning" (arXiv 1512.03385); "Bag of Tricks for Image Classification" (arXiv 1812.01187) for
the deep stem (C, "v1c") and the average-pool shortcut (D, "vd"); "Aggregated Residual Transformations" (arXiv
1611.05431) for ResNeXt; DeepLabV3 (arXiv 1706.05587) for dilation and multi-grid; PaddleSeg's ResNet_vd for details of
vd; torchvision for details of plain ResNets.

vd differs from timm's resnet*d in three points. Every block of a dilated stage, the first included, has the full rate.
A shortcut has no pool if dilation replaces its stride. In basic-block variants, the first stage also has a
convolution in its shortcut.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from segnet.components import did_you_mean
from segnet.errors import ConfigError
from segnet.models.backbones.resnet.blocks import BasicBlock, Bottleneck, make_stage, make_stem
from segnet.models.layers import MAX_WIDTH, initialize, require_output_stride
from segnet.models.norms import norm_layer

# output stride -> stride and dilation of each of the four stages
STAGES = {
    8: ((1, 1), (2, 1), (1, 2), (1, 4)),
    16: ((1, 1), (2, 1), (2, 1), (1, 2)),
    32: ((1, 1), (2, 1), (2, 1), (2, 1)),
}
BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}
STEMS = ("deep", "conv7x7")
SHORTCUTS = ("pool", "conv")
STYLES = ("pytorch", "caffe")
BASIC_DILATIONS = ("both", "first")
MAX_DEPTH = 1000  # limit on a stage's blocks, against absurd values in damaged checkpoints


class ResNet(nn.Module):
    """ResNet; see `segnet.models.backbones` for the contract. The defaults are those of ResNet_vd.

    Args:
        depths: number of blocks of each of the four stages.
        block: "basic" (18, 34) or "bottleneck" (50 and deeper).
        output_stride: 8, 16 or 32 [pixels]. At 16 the last stage has dilation 2; at 8 the last two have 2 and 4.
        multi_grid: factors of the dilation of the last stage's blocks, one per block; additional factors are ignored.
        in_channels: channels of the images.
        stem: "deep" (three 3x3 convolutions; v1c, vd) or "conv7x7" (plain); a max-pool follows.
        stem_channels: width of the stem's output; the first two convolutions of a deep stem have half of it.
        base_channels: width of the first stage's 3x3 convolutions; it doubles with each stage.
        shortcut: downsampling of shortcuts: "pool" (vd), with a convolution in the first block of every stage; or
            "conv" (plain, v1c), with a convolution only if the stride or the number of channels changes.
        style: position of a bottleneck's stride: the 3x3 ("pytorch") or the first 1x1 convolution ("caffe").
        groups, base_width: a bottleneck's 3x3 convolution has `groups` groups and
            channels * base_width / 64 * groups channels (ResNeXt).
        contract_dilation: use mmsegmentation's dilation (for bottlenecks also timm's and torchvision's): the first
            block of a stage with an increased dilation has half the rate, and `multi_grid` contains the rates.
        basic_dilation: the dilated convolutions of a basic block: "both", or the "first" (mmsegmentation).
        norm: spec from `segnet.models.norms.NORMS`; None is batch norm.
        zero_init_residual: initialize the last norm of each block with weight 0, so that blocks start as their
            shortcuts (arXiv 1706.02677, section 5.1).
        drop_path_rate: probability of dropping the last block in training, [0, 1); it rises linearly from 0 over the
            blocks.
        activation_checkpointing: keep only each block's input in training, and recompute the rest in the backward pass.

    Attributes:
        channels, strides: channels and strides of the features.
        in_channels: channels of the images.

    Raises:
        ConfigError: a value out of range, or incompatible options.
    """

    def __init__(
        self,
        depths: Sequence[int],
        block: str = "bottleneck",
        output_stride: int = 16,
        multi_grid: Sequence[int] | None = None,
        *,
        in_channels: int = 3,
        stem: str = "deep",
        stem_channels: int = 64,
        base_channels: int = 64,
        shortcut: str = "pool",
        style: str = "pytorch",
        groups: int = 1,
        base_width: int = 64,
        contract_dilation: bool = False,
        basic_dilation: str = "both",
        norm: Mapping[str, Any] | None = None,
        zero_init_residual: bool = False,
        drop_path_rate: float = 0.0,
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        _check_choice("block", block, BLOCKS)
        _check_choice("stem", stem, STEMS)
        _check_choice("shortcut", shortcut, SHORTCUTS)
        _check_counts(in_channels=in_channels, base_channels=base_channels)
        _check_counts(least=2 if stem == "deep" else 1, stem_channels=stem_channels)
        _check_kind(block, style, groups, base_width, base_channels, basic_dilation)
        if not 0 <= drop_path_rate < 1:
            raise ConfigError(f"backbone.drop_path_rate={drop_path_rate} must be a probability in [0, 1)")
        rates = dilation_rates(depths, output_stride, multi_grid, contract_dilation)

        block_class, make_norm = BLOCKS[block], norm_layer(norm)
        options = _block_options(block, style, groups, base_width, basic_dilation)
        options |= {"pool": shortcut == "pool", "norm": make_norm}
        drop_rates = iter(drop_path_rate * index / max(1, sum(depths) - 1) for index in range(sum(depths)))
        self.in_channels = in_channels
        self.channels = tuple(base_channels * 2**index * block_class.expansion for index in range(4))
        self.stem = make_stem(in_channels, stem_channels, deep=stem == "deep", norm=make_norm)
        self.stages = nn.ModuleList()
        width, total_stride, strides = stem_channels, 4, []
        for index, (stride, _) in enumerate(STAGES[output_stride]):
            self.stages.append(
                make_stage(
                    partial(block_class, channels=base_channels * 2**index, **options),
                    width,
                    self.channels[index],
                    stride=stride,
                    rates=rates[index],
                    project=shortcut == "pool" or stride > 1 or width != self.channels[index],
                    drop_rates=drop_rates,
                    checkpointing=activation_checkpointing,
                )
            )
            width = self.channels[index]
            total_stride *= stride
            strides.append(total_stride)
        self.strides = tuple(strides)
        self._initialize(zero_init_residual)

    def _initialize(self, zero_init_residual: bool) -> None:
        initialize(self)
        if zero_init_residual:
            for block in self.modules():
                if isinstance(block, (BasicBlock, Bottleneck)):
                    nn.init.zeros_(block.last_norm.get_parameter("weight"))

    @property
    def parts(self) -> list[nn.Module]:
        """The stem and the four stages, in the order of the forward pass."""
        return [self.stem, *self.stages]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute the features of the four stages of images (B, in_channels, H, W), float, normalized."""
        features = []
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


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


def _block_options(block: str, style: str, groups: int, base_width: int, basic_dilation: str) -> dict[str, Any]:
    """Return the arguments specific to the kind of block."""
    if block == "basic":
        return {"dilate_second": basic_dilation == "both"}
    return {"groups": groups, "base_width": base_width, "stride_first": style == "caffe"}


def _check_choice(option: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise ConfigError(f"backbone.{option}={value} is unknown.{did_you_mean(str(value), choices)}")


def _are_counts(values: Any) -> bool:
    return isinstance(values, Sequence) and all(isinstance(value, int) and value >= 1 for value in values)


def _check_counts(least: int = 1, **values: int) -> None:
    for option, value in values.items():
        if not isinstance(value, int) or not least <= value <= MAX_WIDTH:
            raise ConfigError(f"backbone.{option}={value} must be an integer, {least}-{MAX_WIDTH}")


def _check_kind(block: str, style: str, groups: int, base_width: int, base_channels: int, basic_dilation: str) -> None:
    """Refuse options that the kind of block does not support, or that leave it without channels."""
    _check_choice("style", style, STYLES)
    _check_choice("basic_dilation", basic_dilation, BASIC_DILATIONS)
    _check_counts(groups=groups, base_width=base_width)
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

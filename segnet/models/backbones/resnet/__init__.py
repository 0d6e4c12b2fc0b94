"""The ResNet family with an output stride of 8, 16 or 32: plain, v1c, vd (v1d), ResNeXt.

Sources: "Deep Residual Learning" (arXiv 1512.03385); "Bag of Tricks for Image Classification" (arXiv 1812.01187) for
the deep stem (C, which makes it "v1c") and the average-pool shortcut (D, which makes it "vd"); "Aggregated Residual
Transformations" (arXiv 1611.05431) for ResNeXt; DeepLabV3 (arXiv 1706.05587) for dilation and multi-grid; PaddleSeg's
ResNet_vd for the details of vd, torchvision for those of plain ones. vd differs from timm's resnet*d: every block of a
dilated stage, the first included, has the full rate; where dilation replaced a stride there is no pool; the first stage
of the basic-block variants has a convolution in its shortcut too.
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
MAX_DEPTH = 1000  # of a stage [blocks]: a damaged checkpoint may ask for anything


class ResNet(nn.Module):
    """ResNet; see `segnet.models.backbones` for the contract. The defaults are ResNet_vd's.

    Args:
        depths: number of blocks of each of the four stages.
        block: "basic" (18, 34) or "bottleneck" (50 and deeper).
        output_stride: 8, 16 or 32 [pixels]. At 16 the last stage has dilation 2; at 8 the last two have 2 and 4.
        multi_grid: factors on the dilation of the last stage's blocks, one a block; more than it has blocks are unused.
        in_channels: of the images.
        stem: "deep" (three 3x3 convolutions; v1c, vd) or "conv7x7" (plain); a max-pool follows.
        stem_channels: width of the stem's output; the first two convolutions of a deep one have half of it.
        base_channels: width of the first stage's 3x3 convolutions; it doubles from stage to stage.
        shortcut: how a shortcut strides: "pool" (vd), where the first block of every stage has a convolution; or
            "conv" (plain, v1c), where only those that stride or change the channels have one.
        style: where a bottleneck strides: on the 3x3 ("pytorch") or on the first 1x1 ("caffe").
        groups, base_width: of a bottleneck's 3x3 (ResNeXt): it has channels * base_width / 64 * groups channels.
        contract_dilation: mmsegmentation's dilation, which of bottlenecks is timm's and torchvision's too: the first
            block of a stage whose dilation grew has half of the rate, and a `multi_grid` holds the rates themselves.
        basic_dilation: which convolutions of a basic block are dilated: "both", or the "first" (mmsegmentation).
        norm: spec from `segnet.models.norms.NORMS`; None is batch norm.
        zero_init_residual: whether the last norm of each block starts with weight 0, so that blocks start as their
            shortcuts (arXiv 1706.02677, section 5.1).
        drop_path_rate: probability at which training drops the last block, [0, 1); it rises linearly from 0.
        activation_checkpointing: whether training keeps only each block's input and computes the rest twice.

    Attributes:
        channels, strides: of the features.
        in_channels: of the images.

    Raises:
        ConfigError: a value outside these, or options that do not go together.
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
            raise ConfigError(f"backbone.drop_path_rate={drop_path_rate} is not a probability in [0, 1)")
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
        """(B, in_channels, H, W), float, normalized -> the features of the four stages."""
        features = []
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def dilation_rates(
    depths: Sequence[int], output_stride: int, multi_grid: Sequence[int] | None, contract: bool
) -> list[list[int]]:
    """The dilation of every block of every stage.

    Raises:
        ConfigError: depths, stride or grid do not fit.
    """
    require_output_stride(output_stride)
    if not _are_counts(depths) or len(depths) != 4 or max(depths) > MAX_DEPTH:
        raise ConfigError(f"backbone.depths={depths} is not four counts of blocks, each 1-{MAX_DEPTH}")
    dilations = [dilation for _, dilation in STAGES[output_stride]]
    # A dilation that grew has doubled: half of it is that of the stage before.
    firsts = [1, *dilations[:-1]] if contract else dilations
    rates = [
        [first, *[dilation] * (depth - 1)] for first, dilation, depth in zip(firsts, dilations, depths, strict=True)
    ]
    if multi_grid is not None:
        if not _are_counts(multi_grid) or len(multi_grid) < depths[3]:
            raise ConfigError(
                f"backbone.multi_grid={multi_grid} does not fit: the last stage has {depths[3]} blocks, "
                "and each needs a factor of 1 or more"
            )
        unit = 1 if contract else dilations[3]
        rates[3] = [unit * factor for factor in multi_grid[: depths[3]]]
    return rates


def _block_options(block: str, style: str, groups: int, base_width: int, basic_dilation: str) -> dict[str, Any]:
    """The arguments that only this kind of block takes."""
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
            raise ConfigError(f"backbone.{option}={value} is not a number of {least}-{MAX_WIDTH}")


def _check_kind(block: str, style: str, groups: int, base_width: int, base_channels: int, basic_dilation: str) -> None:
    """Refuse options that the kind of block does not have, or that leave it without channels."""
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
            f"backbone.base_width={base_width} leaves the 3x3 convolutions no channel: "
            f"of base_channels={base_channels} they get base_channels * base_width / 64 a group"
        )

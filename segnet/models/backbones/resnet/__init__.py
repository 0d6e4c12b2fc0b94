"""The ResNet family with an output stride of 8, 16 or 32: plain, v1c, vd (v1d), ResNeXt.

Sources: "Deep Residual Learning" (arXiv 1512.03385); "Bag of Tricks for Image Classification" (arXiv 1812.01187) for
the deep stem (C, "v1c") and the average-pool shortcut (D, "vd"); "Aggregated Residual Transformations" (arXiv
1611.05431) for ResNeXt; DeepLabV3 (arXiv 1706.05587) for dilation and multi-grid; PaddleSeg's ResNet_vd for details of
vd; torchvision for details of plain ResNets.

vd differs from timm's resnet*d in three points. Every block of a dilated stage, the first included, has the full rate.
A shortcut has no pool if dilation replaces its stride. In basic-block variants, the first stage also has a
convolution in its shortcut.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from segnet.models.backbones.resnet.blocks import BasicBlock, Bottleneck, make_stage, make_stem
from segnet.models.backbones.resnet.deformable import DeformableConv, convolutions_of_stages
from segnet.models.backbones.resnet.options import (
    SHORTCUTS,
    STAGES,
    STEMS,
    check_choice,
    check_counts,
    check_kind,
    dilation_rates,
    drop_path_rates,
    strides_of_stages,
)
from segnet.models.backbones.resnet.plugins import ContextBlock, SqueezeExcite, plugins_of_stages
from segnet.models.layers import initialize
from segnet.models.norms import norm_layer

BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


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
        plugins: attention blocks in the residual blocks, such as ``{"name": "context", "position": "after_conv3"}``;
            see `segnet.models.backbones.resnet.plugins.plugins_of_stages`.
        deformable_stages: stages whose second convolutions are deformable (DCNv2), such as [False, True, True, True].
        deform_groups: groups of channels of a deformable convolution with offsets of their own.
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
        plugins: list[dict[str, Any]] | None = None,
        deformable_stages: Sequence[bool] | None = None,
        deform_groups: int = 1,
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_choice("block", block, BLOCKS)
        check_choice("stem", stem, STEMS)
        check_choice("shortcut", shortcut, SHORTCUTS)
        check_counts(in_channels=in_channels, base_channels=base_channels)
        check_counts(least=2 if stem == "deep" else 1, stem_channels=stem_channels)
        check_kind(block, style, groups, base_width, base_channels, basic_dilation)
        rates = dilation_rates(depths, output_stride, multi_grid, contract_dilation)
        block_class, make_norm = BLOCKS[block], norm_layer(norm)
        options = _block_options(block, style, groups, base_width, basic_dilation)
        options |= {"pool": shortcut == "pool", "norm": make_norm}
        added = plugins_of_stages(plugins, block)
        seconds = convolutions_of_stages(deformable_stages, deform_groups)
        self.in_channels = in_channels
        self.channels = tuple(base_channels * 2**index * block_class.expansion for index in range(4))
        self.strides = strides_of_stages(output_stride)
        self.stem = make_stem(in_channels, stem_channels, deep=stem == "deep", norm=make_norm)
        self.stages = nn.ModuleList()
        widths = (stem_channels, *self.channels)
        drop_rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        for index, (stride, _) in enumerate(STAGES[output_stride]):
            kind = {"channels": base_channels * 2**index, "plugins": added[index], "second": seconds[index]}
            self.stages.append(
                make_stage(
                    partial(block_class, **{**options, **kind}),
                    *widths[index : index + 2],
                    stride=stride,
                    rates=rates[index],
                    project=shortcut == "pool" or stride > 1 or widths[index] != widths[index + 1],
                    drop_rates=drop_rates,
                    checkpointing=activation_checkpointing,
                )
            )
        self._initialize(zero_init_residual)

    def _initialize(self, zero_init_residual: bool) -> None:
        initialize(self)
        for layer in self.modules():
            if isinstance(layer, ContextBlock | DeformableConv):
                layer.zero_init()
            elif zero_init_residual and isinstance(layer, BasicBlock | Bottleneck):
                nn.init.zeros_(layer.last_norm.get_parameter("weight"))

    @property
    def parts(self) -> list[nn.Module]:
        """The stem and the four stages, in the order of the forward pass."""
        return [self.stem, *self.stages]

    @property
    def added_weights(self) -> set[str]:
        """Names of the weights that a plain ResNet lacks, as in `state_dict`: those of plugins and offsets."""
        places = {ContextBlock: "", SqueezeExcite: "", DeformableConv: "offset."}
        added = [f"{name}.{places[type(layer)]}" for name, layer in self.named_modules() if type(layer) in places]
        return {name for name in self.state_dict() if name.startswith(tuple(added))}

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute the features of the four stages of images (B, in_channels, H, W), float, normalized."""
        features = []
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def _block_options(block: str, style: str, groups: int, base_width: int, basic_dilation: str) -> dict[str, Any]:
    """Return the arguments specific to the kind of block."""
    if block == "basic":
        return {"dilate_second": basic_dilation == "both"}
    return {"groups": groups, "base_width": base_width, "stride_first": style == "caffe"}

"""ResNet_vd with an output stride of 8, 16 or 32.

Sources: "Deep Residual Learning" (arXiv 1512.03385); "Bag of Tricks for Image Classification" (arXiv 1812.01187) for
the deep stem (C) and the average-pool shortcut (D, which makes it "vd"); DeepLabV3 (arXiv 1706.05587) for dilation and
multi-grid; PaddleSeg's ResNet_vd for the details. It differs from timm's resnet*d: every block of a dilated stage, the
first included, has the full rate; where dilation replaced a stride there is no pool; the first stage of the
basic-block variants has a convolution in its shortcut too.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from segnet.components import did_you_mean
from segnet.errors import ConfigError
from segnet.layers import ConvNormAct, initialise

# output stride -> stride and dilation of each of the four stages
STAGES = {
    8: ((1, 1), (2, 1), (1, 2), (1, 4)),
    16: ((1, 1), (2, 1), (2, 1), (1, 2)),
    32: ((1, 1), (2, 1), (2, 1), (2, 1)),
}


class Shortcut(nn.Sequential):
    """1x1 convolution and norm, after a 2x2 average pool where the block strides.

    The names of its parameters do not depend on the stride: weights fit a backbone of any output stride.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        if stride > 1:
            # Ceil mode keeps odd sizes equal to what the strided 3x3 gives; padding must not count, or borders darken.
            self.pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
        self.project = ConvNormAct(in_channels, out_channels, 1, act=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; the stride sits on the first, the dilation on both."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, *, stride: int, dilation: int, project: bool) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(in_channels, channels, 3, stride=stride, dilation=dilation)
        self.conv2 = ConvNormAct(channels, channels, 3, dilation=dilation, act=False)
        self.shortcut = Shortcut(in_channels, channels, stride) if project else nn.Identity()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv2(self.conv1(x)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution; stride and dilation sit on the 3x3."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, *, stride: int, dilation: int, project: bool) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = ConvNormAct(in_channels, channels, 1)
        self.conv2 = ConvNormAct(channels, channels, 3, stride=stride, dilation=dilation)
        self.conv3 = ConvNormAct(channels, out_channels, 1, act=False)
        self.shortcut = Shortcut(in_channels, out_channels, stride) if project else nn.Identity()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv3(self.conv2(self.conv1(x))) + self.shortcut(x))


BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


def _are_counts(values: Any) -> bool:
    return isinstance(values, Sequence) and all(isinstance(value, int) and value >= 1 for value in values)


class ResNet(nn.Module):
    """ResNet_vd; see `segnet.backbones` for the contract.

    Args:
        depths: number of blocks of each of the four stages.
        block: "basic" (18, 34) or "bottleneck" (50 and deeper).
        output_stride: 8, 16 or 32 [pixels]. At 16 the last stage has dilation 2; at 8 the last two have 2 and 4.
        multi_grid: factors on the dilation of the last stage's blocks, one a block; more than it has blocks are unused.

    Raises:
        ConfigError: a value outside these.
    """

    def __init__(
        self,
        depths: Sequence[int],
        block: str = "bottleneck",
        output_stride: int = 16,
        multi_grid: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if block not in BLOCKS:
            raise ConfigError(f"backbone.block={block} is unknown.{did_you_mean(str(block), BLOCKS)}")
        if output_stride not in STAGES:
            raise ConfigError(f"output_stride={output_stride} is not possible: choose 8, 16 or 32")
        if not _are_counts(depths) or len(depths) != 4:
            raise ConfigError(f"backbone.depths={depths} is not four counts of blocks, each 1 or more")
        grid = [1] * depths[3] if multi_grid is None else multi_grid
        if not _are_counts(grid) or len(grid) < depths[3]:
            raise ConfigError(
                f"backbone.multi_grid={grid} does not fit: the last stage has {depths[3]} blocks, "
                "and each needs a factor of 1 or more"
            )

        block_class = BLOCKS[block]
        self.channels = tuple(width * block_class.expansion for width in (64, 128, 256, 512))
        self.stem = nn.Sequential(
            ConvNormAct(3, 32, 3, stride=2),
            ConvNormAct(32, 32, 3),
            ConvNormAct(32, 64, 3),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.stages = nn.ModuleList()
        in_channels, total_stride, strides = 64, 4, []
        for index, (stride, dilation) in enumerate(STAGES[output_stride]):
            rates = [dilation * factor for factor in grid] if index == 3 else [dilation] * depths[index]
            blocks = []
            for number in range(depths[index]):
                first = number == 0
                blocks.append(
                    block_class(
                        in_channels,
                        64 * 2**index,
                        stride=stride if first else 1,
                        dilation=rates[number],
                        project=first,
                    )
                )
                in_channels = self.channels[index]
            self.stages.append(nn.Sequential(*blocks))
            total_stride *= stride
            strides.append(total_stride)
        self.strides = tuple(strides)
        initialise(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W), float, normalised -> the features of the four stages."""
        features = []
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

"""DeepLabV3+: "Encoder-Decoder with Atrous Separable Convolution", 2018, arXiv 1802.02611.

Layout and details as in PaddleSeg's DeepLabV3P. It differs in that convolutions before a norm have no bias.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segnet.errors import ConfigError
from segnet.layers import ConvNormAct, ImagePooling, SeparableConv, initialise

RATES_AT_16 = (6, 12, 18)  # arXiv 1706.05587, section 4.1.2; doubled at output stride 8


def conv3x3(in_channels: int, out_channels: int, *, separable: bool, dilation: int = 1) -> nn.Module:
    """3x3 convolution with norm and ReLU, depthwise-separable on request."""
    if separable:
        return SeparableConv(in_channels, out_channels, dilation=dilation)
    return ConvNormAct(in_channels, out_channels, 3, dilation=dilation)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1, a 3x3 at each rate and image pooling; concatenated and projected."""

    def __init__(
        self, in_channels: int, channels: int, atrous_rates: Sequence[int], *, separable: bool, dropout: float
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                ConvNormAct(in_channels, channels, 1),
                *(conv3x3(in_channels, channels, separable=separable, dilation=rate) for rate in atrous_rates),
                ImagePooling(in_channels, channels),
            ]
        )
        self.project = ConvNormAct(channels * len(self.branches), channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        return self.dropout(self.project(torch.cat([branch(features) for branch in self.branches], dim=1)))


class DeepLabV3Plus(nn.Module):
    """DeepLabV3+ decoder; see `segnet.decoders` for the contract.

    Args:
        output_stride: at which the backbone ends [pixels]; the atrous rates follow from it: 6, 12, 18 at 16,
            doubled at 8, halved at 32.
        aspp_channels: width of each ASPP branch.
        low_level_channels: width to which the first stage's features are reduced.
        decoder_channels: width of the two 3x3 convolutions.
        separable: whether the atrous and the decoder's 3x3 convolutions are depthwise-separable.
        dropout: probability, after the ASPP.
        align_corners: of all bilinear resizing.

    Raises:
        ConfigError: a value outside these, or a backbone that ends at another stride.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        *,
        output_stride: int,
        aspp_channels: int = 256,
        low_level_channels: int = 48,
        decoder_channels: int = 256,
        separable: bool = True,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ConfigError(f"output_stride={output_stride} is not possible: choose 8, 16 or 32")
        if strides[-1] != output_stride:
            raise ConfigError(
                f"decoder.output_stride={output_stride}, but the backbone ends at stride {strides[-1]}: "
                f"set both at once with output_stride={strides[-1]}"
            )
        for option, width in (
            ("aspp_channels", aspp_channels),
            ("low_level_channels", low_level_channels),
            ("decoder_channels", decoder_channels),
        ):
            if not isinstance(width, int) or width < 1:
                raise ConfigError(f"decoder.{option}={width} is not a number of channels, 1 or more")
        if not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
            raise ConfigError(f"decoder.dropout={dropout} is not a probability in [0, 1)")
        self.align_corners = align_corners
        self.atrous_rates = tuple(rate * 16 // output_stride for rate in RATES_AT_16)
        self.aspp = ASPP(channels[-1], aspp_channels, self.atrous_rates, separable=separable, dropout=dropout)
        self.low_level = ConvNormAct(channels[0], low_level_channels, 1)
        self.fuse = nn.Sequential(
            conv3x3(aspp_channels + low_level_channels, decoder_channels, separable=separable),
            conv3x3(decoder_channels, decoder_channels, separable=separable),
        )
        self.classifier = nn.Conv2d(decoder_channels, num_classes, 1)
        initialise(self)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features of the backbone -> logits at the first stage's stride."""
        low_level = self.low_level(features[0])
        context = self.aspp(features[-1])
        context = F.interpolate(context, size=low_level.shape[2:], mode="bilinear", align_corners=self.align_corners)
        return self.classifier(self.fuse(torch.cat([context, low_level], dim=1)))

"""DeepLabV3+: "Encoder-Decoder with Atrous Separable Convolution", 2018, arXiv 1802.02611.

Layout and details follow PaddleSeg's DeepLabV3P, but convolutions before a norm have no bias.
``projection_kernel=3, depthwise_act=True`` gives mmsegmentation's decoder.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segnet.errors import ConfigError
from segnet.models.layers import ASPP, ConvNormAct, SeparableConv, atrous_rates, check_width, initialize
from segnet.models.norms import norm_layer


class DeepLabV3Plus(nn.Module):
    """DeepLabV3+ decoder; see `segnet.models.decoders` for the contract.

    Args:
        output_stride: output stride of the backbone; it determines the atrous rates: 6, 12, 18 at 16, doubled at 8,
            halved at 32.
        aspp_channels: width of each ASPP branch.
        low_level_channels: width of the reduced low-level features (the first stage's features).
        decoder_channels: width of the decoder's two 3x3 convolutions.
        separable: use depthwise separable convolutions for the atrous and the decoder's 3x3 convolutions.
        depthwise_act: whether a ReLU follows their depthwise convolutions too.
        projection_kernel: kernel size of the ASPP's projection, 1 or 3.
        dropout: dropout probability after the ASPP.
        align_corners: align_corners of all bilinear resizing.
        norm: spec from `segnet.models.norms.NORMS`; None is batch norm.

    Raises:
        ConfigError: a value out of range, or a backbone with another output stride.
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
        depthwise_act: bool = False,
        projection_kernel: int = 1,
        dropout: float = 0.1,
        align_corners: bool = False,
        norm: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.atrous_rates = atrous_rates(output_stride, strides)
        if depthwise_act and not separable:
            raise ConfigError("decoder.depthwise_act=True needs depthwise convolutions: set decoder.separable=true")
        check_width("low_level_channels", low_level_channels)
        check_width("decoder_channels", decoder_channels)
        make_norm = norm_layer(norm)
        conv3x3: partial[SeparableConv] | partial[ConvNormAct] = (
            partial(SeparableConv, depthwise_act=depthwise_act, norm=make_norm)
            if separable
            else partial(ConvNormAct, kernel_size=3, norm=make_norm)
        )
        self.aspp = ASPP(
            channels[-1],
            aspp_channels,
            self.atrous_rates,
            conv3x3=conv3x3,
            projection_kernel=projection_kernel,
            dropout=dropout,
            norm=make_norm,
        )
        self.low_level = ConvNormAct(channels[0], low_level_channels, 1, norm=make_norm)
        self.fuse = nn.Sequential(
            conv3x3(aspp_channels + low_level_channels, decoder_channels),
            conv3x3(decoder_channels, decoder_channels),
        )
        self.classifier = nn.Conv2d(decoder_channels, num_classes, 1)
        initialize(self)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Compute logits at the first stage's stride from the backbone's features."""
        low_level = self.low_level(features[0])
        context = self.aspp(features[-1])
        context = F.interpolate(context, size=low_level.shape[2:], mode="bilinear", align_corners=self.align_corners)
        logits: Tensor = self.classifier(self.fuse(torch.cat([context, low_level], dim=1)))
        return logits

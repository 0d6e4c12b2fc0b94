"""DeepLabV3: "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017, arXiv 1706.05587.

ASPP and a classifier, without low-level features, with plain 3x3 convolutions. Details follow PaddleSeg's DeepLabV3,
but convolutions before a norm have no bias. ``projection_kernel=3`` gives mmsegmentation's decoder.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from segnet.models.layers import ASPP, ConvNormAct, atrous_rates, initialize
from segnet.models.norms import norm_layer


class DeepLabV3(nn.Module):
    """DeepLabV3 decoder; see `segnet.models.decoders` for the contract.

    Args:
        output_stride: output stride of the backbone; it determines the atrous rates: 6, 12, 18 at 16, doubled at 8,
            halved at 32.
        aspp_channels: width of each ASPP branch.
        projection_kernel: kernel size of the ASPP's projection, 1 or 3.
        dropout: dropout probability after the ASPP.
        align_corners: align_corners of resizing the logits.
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
        projection_kernel: int = 1,
        dropout: float = 0.1,
        align_corners: bool = False,
        norm: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.atrous_rates = atrous_rates(output_stride, strides)
        make_norm = norm_layer(norm)
        self.aspp = ASPP(
            channels[-1],
            aspp_channels,
            self.atrous_rates,
            conv3x3=partial(ConvNormAct, kernel_size=3, norm=make_norm),
            projection_kernel=projection_kernel,
            dropout=dropout,
            norm=make_norm,
        )
        self.classifier = nn.Conv2d(aspp_channels, num_classes, 1)
        initialize(self)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Compute logits at the output stride from the backbone's features."""
        logits: Tensor = self.classifier(self.aspp(features[-1]))
        return logits

"""DeepLabV3: "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017, arXiv 1706.05587.

The ASPP and a classifier: no low-level features, plain 3x3 convolutions. Details as in PaddleSeg's DeepLabV3; it
differs in that convolutions before a norm have no bias. mmsegmentation's is the same with ``projection_kernel=3``.
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
        output_stride: at which the backbone ends [pixels]; the atrous rates follow from it: 6, 12, 18 at 16,
            doubled at 8, halved at 32.
        aspp_channels: width of each ASPP branch.
        projection_kernel: size of the convolution that closes the ASPP, 1 or 3.
        dropout: probability, after the ASPP.
        align_corners: of the resizing of the logits.
        norm: spec from `segnet.models.norms.NORMS`; None is batch norm.

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
        """Features of the backbone -> logits at the output stride."""
        logits: Tensor = self.classifier(self.aspp(features[-1]))
        return logits

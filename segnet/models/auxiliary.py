"""Auxiliary heads: a second training loss on intermediate features (PSPNet, arXiv 1612.01105, section 3.3).

A head is part of training only, not of the model: prediction and export do not use it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from segnet.errors import ConfigError
from segnet.models.layers import ConvNormAct, initialize
from segnet.models.norms import norm_layer


class FCNHead(nn.Module):
    """3x3 convolution, dropout and classifier, as mmsegmentation's auxiliary FCNHead.

    Args:
        backbone_channels: channels of each stage's features.
        num_classes: channels of the logits.
        weight: weight of this head's loss; the decoder's loss has weight 1.
        stage: number of the backbone stage that provides the features, from 1.
        channels: width of the convolution.
        dropout: dropout probability before the classifier.
        align_corners: align_corners of resizing the logits.
        norm: spec from `segnet.models.norms.NORMS`; None is batch norm.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(
        self,
        backbone_channels: Sequence[int],
        num_classes: int,
        *,
        weight: float = 0.4,
        stage: int = 3,
        channels: int = 256,
        dropout: float = 0.1,
        align_corners: bool = False,
        norm: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= weight < math.inf:
            raise ConfigError(f"auxiliary_head.weight={weight} must be 0 or more")
        if not 1 <= stage <= len(backbone_channels):
            raise ConfigError(f"auxiliary_head.stage={stage}: the backbone has stages 1 to {len(backbone_channels)}")
        if channels < 1:
            raise ConfigError(f"auxiliary_head.channels={channels} must be 1 or more")
        if not 0 <= dropout < 1:
            raise ConfigError(f"auxiliary_head.dropout={dropout} must be a probability in [0, 1)")
        self.weight, self.stage, self.align_corners = weight, stage, align_corners
        self.conv = ConvNormAct(backbone_channels[stage - 1], channels, 3, norm=norm_layer(norm))
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        initialize(self)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Compute logits from the features of all stages, at the chosen stage's size; the loss resizes them."""
        logits: Tensor = self.classifier(self.dropout(self.conv(features[self.stage - 1])))
        return logits


AUXILIARY_HEADS: dict[str, Callable[..., FCNHead]] = {
    "fcn": FCNHead,
}

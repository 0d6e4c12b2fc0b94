"""ImageNetClassifier: a backbone with its original linear layer, to check the published accuracy of its weights.

It is not part of a segmentation model. If the weights, the normalization or the architecture are wrong, the accuracy
drops.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segnet.components import build
from segnet.errors import CheckpointError
from segnet.models.backbones import BACKBONES
from segnet.models.layers import Normalize


class ImageNetClassifier(nn.Module):
    """Normalize -> backbone -> mean over the last features -> linear layer.

    Args:
        backbone: spec from `segnet.models.backbones.BACKBONES`; ImageNet's weights are trained at output stride 32.
        mean, std: of each channel of the images, for values scaled to 0-1, as the weights were trained.
        num_classes: channels of the logits.

    Raises:
        ConfigError: an unknown or impossible option.
    """

    def __init__(
        self, *, backbone: Mapping[str, Any], mean: Sequence[float], std: Sequence[float], num_classes: int = 1000
    ) -> None:
        super().__init__()
        self.backbone = build("backbone", BACKBONES, backbone)
        self.normalize = Normalize(mean, std, self.backbone.in_channels)
        self.head = nn.Linear(self.backbone.channels[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, in_channels, H, W), uint8 (or float), 0-255, any H, W >= 1 -> logits (B, num_classes)."""
        logits: Tensor = self.head(self.backbone(self.normalize(images))[-1].mean(dim=(2, 3)))
        return logits

    @torch.no_grad()
    def load_head(self, head: Mapping[str, Tensor], source: str) -> None:
        """Load the weights of the linear layer.

        Args:
            head: "weight" (num_classes, channels) and "bias" (num_classes,), as `naming.translate_backbone` gives them.
            source: where the weights come from, for error messages.

        Raises:
            CheckpointError: the weights have no linear layer, or it does not fit.
        """
        own = self.head.state_dict()
        if head.keys() != own.keys():
            raise CheckpointError(f"{source}: has no linear layer for ImageNet's classes (fc, head.fc or out)")
        for name, value in own.items():
            if head[name].shape != value.shape:
                raise CheckpointError(
                    f"{source}: does not fit the classifier: {name} of its linear layer is {list(head[name].shape)} "
                    f"in the file and {list(value.shape)} in the model"
                )
        self.head.load_state_dict(dict(head))

"""SegmentationModel: uint8 RGB in, logits out. Normalisation is part of the model."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segnet.backbones import BACKBONES
from segnet.components import build
from segnet.decoders import DECODERS
from segnet.errors import ConfigError


class SegmentationModel(nn.Module):
    """Normalise -> backbone -> decoder -> resize to the input's size.

    Args:
        backbone: spec from `segnet.backbones.BACKBONES`.
        decoder: spec from `segnet.decoders.DECODERS`.
        num_classes: channels of the logits.
        mean, std: of the RGB channels, for values scaled to 0-1: what the backbone's weights were trained with.

    Raises:
        ConfigError: an unknown or impossible option.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        backbone: Mapping[str, Any],
        decoder: Mapping[str, Any],
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        for option, values in (("mean", mean), ("std", std)):
            if len(values) != 3:
                raise ConfigError(f"{option}={list(values)} is not three values, one for each of red, green and blue")
            if not all(math.isfinite(value) for value in values):
                raise ConfigError(f"{option}={list(values)} must be finite")
        if min(std) <= 0:
            raise ConfigError(f"std={list(std)} must be above 0")
        self.backbone = build("backbone", BACKBONES, backbone)
        self.decoder = build(
            "decoder",
            DECODERS,
            decoder,
            channels=self.backbone.channels,
            strides=self.backbone.strides,
            num_classes=num_classes,
        )
        # Not persistent: the stored spec is their only source. For values of 0-255, as images come.
        self.register_buffer("mean", 255 * torch.tensor(mean, dtype=torch.float32).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std, dtype=torch.float32).view(3, 1, 1), persistent=False)

    @property
    def output_stride(self) -> int:
        """Stride of the backbone's last features [pixels]."""
        return self.backbone.strides[-1]

    def check_training_batch(self, batch_size: int, height: int, width: int) -> None:
        """Refuses a training batch from which batch norm cannot estimate a variance: one value a channel.

        Raises:
            ConfigError: a single image that is not larger than the output stride.
        """
        if batch_size == 1 and max(height, width) <= self.output_stride and self._normalises_each_process_alone():
            raise ConfigError(
                f"a training batch of one {height} x {width} image leaves batch norm one value a channel: "
                f"use data.batch_size=2 or more, or a data.crop_size above {self.output_stride}"
            )

    def _normalises_each_process_alone(self) -> bool:
        return any(isinstance(layer, nn.BatchNorm2d) for layer in self.modules())

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), uint8 (or float) RGB, 0-255, any H, W >= 1 -> logits (B, num_classes, H, W)."""
        if self.training:
            self.check_training_batch(images.shape[0], *images.shape[2:])
        features = self.backbone((images.to(self.mean.dtype) - self.mean) / self.std)
        logits = self.decoder(features)
        return F.interpolate(logits, size=images.shape[2:], mode="bilinear", align_corners=self.decoder.align_corners)

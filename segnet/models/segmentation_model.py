"""SegmentationModel: uint8 images in, logits out. Normalization is part of the model."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segnet.components import build
from segnet.errors import ConfigError
from segnet.models.backbones import BACKBONES
from segnet.models.decoders import DECODERS
from segnet.models.depthwise import shift_dilated_depthwise
from segnet.models.layers import Normalize
from segnet.models.norms import PooledBatchNorm, PooledSyncBatchNorm, num_processes


class SegmentationModel(nn.Module):
    """Normalize -> backbone -> decoder -> resize to the input's size.

    Args:
        backbone: spec from `segnet.models.backbones.BACKBONES`.
        decoder: spec from `segnet.models.decoders.DECODERS`.
        num_classes: channels of the logits.
        mean, std: of each channel of the images, for values scaled to 0-1: what the backbone's weights were trained
            with.
        value_range: the stored values that become 0 and 255 when images are read, before they come here; None: 0 and
            the largest of their type.

    Raises:
        ConfigError: an unknown or impossible option.
    """

    def __init__(
        self,
        *,
        backbone: Mapping[str, Any],
        decoder: Mapping[str, Any],
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        value_range: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = build("backbone", BACKBONES, backbone)
        self.in_channels: int = self.backbone.in_channels
        self.normalize = Normalize(mean, std, self.in_channels)
        self.value_range = None if value_range is None else (float(value_range[0]), float(value_range[1]))
        self.decoder = build(
            "decoder",
            DECODERS,
            decoder,
            channels=self.backbone.channels,
            strides=self.backbone.strides,
            num_classes=num_classes,
        )
        shift_dilated_depthwise(self)

    @property
    def output_stride(self) -> int:
        """Stride of the backbone's last features [pixels]."""
        stride: int = self.backbone.strides[-1]
        return stride

    def check_training_batch(self, batch_size: int, height: int, width: int, *, processes: int | None = None) -> None:
        """Refuse a training batch that leaves a norm a single value, from which it cannot estimate a variance.

        Args:
            batch_size: images of one process.
            processes: how many train together; None: not known yet, and sync batch norm gets the benefit of the doubt.

        Raises:
            ConfigError: images so small that the last features are 1x1, and a norm that cannot train on those.
        """
        if max(height, width) > self.output_stride:
            return
        in_training = [layer for layer in self.modules() if layer.training]
        larger = f"a data.crop_size above {self.output_stride}"
        if any(isinstance(layer, nn.InstanceNorm2d) for layer in in_training):
            raise ConfigError(
                f"training images of {height} x {width} leave instance norm one value a channel: use {larger}"
            )
        pooled = (PooledBatchNorm, PooledSyncBatchNorm)
        alone = nn.BatchNorm2d if processes is None or processes > 1 else (nn.BatchNorm2d, nn.SyncBatchNorm)
        if batch_size == 1 and any(isinstance(layer, alone) and not isinstance(layer, pooled) for layer in in_training):
            raise ConfigError(
                f"a training batch of one {height} x {width} image leaves batch norm one value a channel: "
                f"use data.batch_size=2 or more, or {larger}"
            )

    @torch.no_grad()
    def zero_unreached_taps(self, height: int, width: int) -> None:
        """Zero what training on crops of this size cannot reach of dilated kernels.

        A tap beyond the features of a crop only ever meets the padding: it gets no gradient, stays as it was
        drawn, and adds noise as soon as a larger image is predicted. Such as the outer taps of atrous rate 18 on the
        16 x 16 features of a 256 x 256 crop. Weights that were trained on larger images are to be loaded afterwards.

        Args:
            height, width: of the training crops [pixels].
        """
        for conv in self.modules():
            if isinstance(conv, nn.Conv2d) and max(conv.dilation) > 1:  # these work at the output stride
                for axis, size in enumerate((height, width)):
                    taps = conv.weight.unbind(2 + axis)
                    middle = len(taps) // 2
                    for index, tap in enumerate(taps):
                        if abs(index - middle) * conv.dilation[axis] >= math.ceil(size / self.output_stride):
                            tap.zero_()

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, in_channels, H, W), uint8 (or float), 0-255, any H, W >= 1 -> logits (B, num_classes, H, W).

        Raises:
            ConfigError: images of another number of channels, or in training a batch that norms cannot train on.
        """
        logits = self.decoder(self.encode(images))
        return F.interpolate(logits, size=images.shape[2:], mode="bilinear", align_corners=self.decoder.align_corners)

    def encode(self, images: Tensor) -> list[Tensor]:
        """Images as `forward` takes them -> the features of each stage of the backbone.

        Raises:
            ConfigError: as `forward`.
        """
        if images.shape[1] != self.in_channels:
            raise ConfigError(
                f"images have {images.shape[1]} channels, but backbone.in_channels={self.in_channels}: they must agree"
            )
        if self.training:
            self.check_training_batch(images.shape[0], *images.shape[2:], processes=num_processes())
        features: list[Tensor] = self.backbone(self.normalize(images))
        return features

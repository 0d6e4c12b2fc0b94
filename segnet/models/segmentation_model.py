"""SegmentationModel: from uint8 images to logits. Normalization is part of the model."""

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
from segnet.models.strided_pointwise import slice_strided_pointwise
from segnet.models.temperature import Temperature


class SegmentationModel(nn.Module):
    """Normalize -> backbone -> decoder -> resize to the input's size.

    Args:
        backbone: spec from `segnet.models.backbones.BACKBONES`.
        decoder: spec from `segnet.models.decoders.DECODERS`.
        num_classes: channels of the logits.
        mean, std: normalization constants per image channel, for values scaled to 0-1, as in the training of the
            backbone's weights.
        value_range: the stored values that become 0 and 255 when images are read, before they reach the model; None: 0
            and the largest value of their dtype.

    Attributes:
        temperature: calibrated probabilities are the softmax of the logits, divided by it; stored with the weights.

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
        self.temperature = Temperature()
        self.decoder = build(
            "decoder",
            DECODERS,
            decoder,
            channels=self.backbone.channels,
            strides=self.backbone.strides,
            num_classes=num_classes,
        )
        shift_dilated_depthwise(self)
        slice_strided_pointwise(self)

    @property
    def output_stride(self) -> int:
        """Stride of the backbone's last features [pixels]."""
        stride: int = self.backbone.strides[-1]
        return stride

    def check_training_batch(self, batch_size: int, height: int, width: int, *, processes: int | None = None) -> None:
        """Check that every norm gets more than one value per channel in training, as a variance needs.

        Args:
            batch_size: images per process.
            height, width: size of the images [pixels].
            processes: world size; None: not known yet, and sync batch norm is assumed to be fine.

        Raises:
            ConfigError: the images are so small that the last features are 1x1, and a norm cannot train on them.
        """
        if max(height, width) > self.output_stride:
            return
        in_training = [layer for layer in self.modules() if layer.training]
        larger = f"a data.crop_size above {self.output_stride}"
        if any(isinstance(layer, nn.InstanceNorm2d) for layer in in_training):
            raise ConfigError(
                f"training images of {height} x {width} leave instance norm one value per channel: use {larger}"
            )
        pooled = (PooledBatchNorm, PooledSyncBatchNorm)
        local = nn.BatchNorm2d if processes is None or processes > 1 else (nn.BatchNorm2d, nn.SyncBatchNorm)
        if batch_size == 1 and any(isinstance(layer, local) and not isinstance(layer, pooled) for layer in in_training):
            raise ConfigError(
                f"a training batch of one {height} x {width} image leaves batch norm one value per channel: "
                f"use data.batch_size=2 or more, or {larger}"
            )

    @torch.no_grad()
    def zero_unreached_taps(self, height: int, width: int) -> None:
        """Zero the taps of dilated kernels that lie outside the features of every training crop.

        Such a tap only meets padding and gets no gradient. It would keep its random initial value and add noise to the
        prediction of larger images. An example: the outer taps of atrous rate 18 on the 16 x 16 features of a
        256 x 256 crop. Load weights that were trained on larger images afterwards.

        Args:
            height, width: size of the training crops [pixels].
        """
        for conv in self.modules():
            if isinstance(conv, nn.Conv2d) and max(conv.dilation) > 1:  # dilated layers work at the output stride
                for axis, size in enumerate((height, width)):
                    taps = conv.weight.unbind(2 + axis)
                    middle = len(taps) // 2
                    for index, tap in enumerate(taps):
                        if abs(index - middle) * conv.dilation[axis] >= math.ceil(size / self.output_stride):
                            tap.zero_()

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits (B, num_classes, H, W) of images (B, in_channels, H, W), uint8 or float, 0-255, H, W >= 1.

        Raises:
            ConfigError: a wrong number of channels, or a training batch that norms cannot train on.
        """
        logits = self.decoder(self.encode(images))
        return F.interpolate(logits, size=images.shape[2:], mode="bilinear", align_corners=self.decoder.align_corners)

    def encode(self, images: Tensor) -> list[Tensor]:
        """Compute the features of each backbone stage; arguments and errors as in `forward`.

        Raises:
            ConfigError: a wrong number of channels, or a training batch that norms cannot train on.
        """
        if images.shape[1] != self.in_channels:
            raise ConfigError(
                f"images have {images.shape[1]} channels, but backbone.in_channels={self.in_channels}: they must agree"
            )
        if self.training:
            self.check_training_batch(images.shape[0], *images.shape[2:], processes=num_processes())
        features: list[Tensor] = self.backbone(self.normalize(images))
        return features

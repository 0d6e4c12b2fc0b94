"""Backbones: from images to the features of every stage.

The contract for decoders: a backbone is an ``nn.Module`` with

* ``channels``: tuple of int, the channels of each stage's features;
* ``strides``: tuple of int, each stage's stride relative to the input [pixels], never decreasing;
* ``in_channels``: int, the channels of the images;
* ``parts``: its modules in the order of the forward pass, the stem and then each stage, for freezing; None if the
  backbone does not expose them;
* ``forward(images)``: float images (B, in_channels, H, W), normalized, any H, W >= 1 -> list of features
  (B, channels[i], ceil(H / strides[i]), ceil(W / strides[i])), one per stage.

The last entry of ``strides`` is the output stride. Dilation is built in, never patched on later.
"""

from collections.abc import Callable
from typing import Any

from segnet.models.backbones.resnet import ResNet
from segnet.models.backbones.timm import TimmBackbone

BACKBONES: dict[str, Callable[..., Any]] = {
    "resnet": ResNet,
    "timm": TimmBackbone,
}

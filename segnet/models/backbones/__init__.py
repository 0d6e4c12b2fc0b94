"""Backbones: images in, the features of every stage out.

The contract, which decoders rely on. A backbone is an ``nn.Module`` with

* ``channels``: tuple of int, the channels of each stage's features;
* ``strides``: tuple of int, each stage's stride towards the input [pixels], never falling;
* ``in_channels``: int, the channels of the images;
* ``parts``: its modules in the order of the forward pass, the stem and then a stage each, which can be frozen from the
  first on; or None if they cannot be separated;
* ``forward(images)``: float images (B, in_channels, H, W), normalized, any H, W >= 1 -> list of features
  (B, channels[i], ceil(H / strides[i]), ceil(W / strides[i])), one a stage.

The last of ``strides`` is the output stride. Dilation is constructed, never patched on afterwards.
"""

from collections.abc import Callable
from typing import Any

from segnet.models.backbones.resnet import ResNet
from segnet.models.backbones.timm import TimmBackbone

BACKBONES: dict[str, Callable[..., Any]] = {
    "resnet": ResNet,
    "timm": TimmBackbone,
}

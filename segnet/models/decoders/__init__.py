"""Decoders: from a backbone's features to logits.

The contract: a decoder is an ``nn.Module``, built with the backbone's ``channels`` and ``strides`` (see
`segnet.models.backbones`) and ``num_classes``. It has

* ``forward(features)``: list of features, one per stage -> logits (B, num_classes, h, w) at the decoder's own stride;
* ``align_corners``: align_corners of resizing these logits to the image's size.

A decoder with atrous rates derives them from its own ``output_stride``, and refuses a backbone with another one.
"""

from collections.abc import Callable
from typing import Any

from segnet.models.decoders.deeplabv3 import DeepLabV3
from segnet.models.decoders.deeplabv3plus import DeepLabV3Plus
from segnet.models.decoders.upernet import UPerNet

DECODERS: dict[str, Callable[..., Any]] = {
    "deeplabv3": DeepLabV3,
    "deeplabv3plus": DeepLabV3Plus,
    "upernet": UPerNet,
}

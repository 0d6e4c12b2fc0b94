"""Decoders: the features of a backbone in, logits out.

The contract. A decoder is built with ``channels`` and ``strides`` of the backbone (see `segnet.models.backbones`) and
``num_classes``; it is an ``nn.Module`` with

* ``forward(features)``: list of features, one a stage -> logits (B, num_classes, h, w) at whatever stride it works at;
* ``align_corners``: how the model resizes those logits to the size of the image.

It derives its rates from its own ``output_stride`` and refuses a backbone that ends at another: nothing is guessed.
"""

from collections.abc import Callable
from typing import Any

from segnet.models.decoders.deeplabv3 import DeepLabV3
from segnet.models.decoders.deeplabv3plus import DeepLabV3Plus

DECODERS: dict[str, Callable[..., Any]] = {
    "deeplabv3": DeepLabV3,
    "deeplabv3plus": DeepLabV3Plus,
}

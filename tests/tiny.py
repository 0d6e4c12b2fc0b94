"""The smallest model that has every part: what tests of other things are run with."""

from typing import Any


def components(output_stride: int = 16) -> dict[str, Any]:
    """Specs of a ResNet_vd of four basic blocks and a DeepLabV3+ decoder, new ones each time."""
    return {
        "backbone": {"name": "resnet", "block": "basic", "depths": [1, 1, 1, 1], "output_stride": output_stride},
        "decoder": {
            "name": "deeplabv3plus",
            "output_stride": output_stride,
            "aspp_channels": 8,
            "low_level_channels": 4,
            "decoder_channels": 8,
        },
    }

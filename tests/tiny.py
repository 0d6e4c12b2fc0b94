"""The smallest model with every part, and its training configuration, shared by many tests."""

from typing import Any

import numpy as np
import torch

from segnet.config import Config, DataConfig, OptimConfig

CPU = {"accelerator": "cpu", "devices": 1}
WIDE = {"base_channels": 64, "stem_channels": 64}  # of a backbone that must learn something in a few epochs
SHAPES = {"name": "shapes", "num_train": 16, "num_val": 5, "size": [48, 40]}
OVERLAPPING = {"name": "shapes", "num_train": 8, "num_val": 3, "size": [40, 48], "task": "multilabel"}


def components(output_stride: int = 16) -> dict[str, Any]:
    """Return new specs of a narrow ResNet_vd of four basic blocks and a DeepLabV3+ decoder."""
    return {
        "backbone": {
            "name": "resnet",
            "block": "basic",
            "depths": [1, 1, 1, 1],
            "base_channels": 16,
            "stem_channels": 16,
            "output_stride": output_stride,
        },
        "decoder": {
            "name": "deeplabv3plus",
            "output_stride": output_stride,
            "aspp_channels": 8,
            "low_level_channels": 4,
            "decoder_channels": 8,
        },
    }


def configuration(**changes: Any) -> Config:
    """Return a configuration of two epochs with four steps of four 32 x 32 images; `changes` replace whole sections."""
    sections = {
        **components(),
        "backbone_weights": None,
        "loss": {"name": "cross_entropy"},
        "dataset": SHAPES,
        "data": DataConfig(batch_size=4, crop_size=[32, 32], num_workers=0),
        "optim": OptimConfig(lr=0.05),
        "trainer": {**CPU, "max_epochs": 2, "log_every_n_steps": 2},
    }
    return Config(**{**sections, **changes})


@torch.inference_mode()
def classes_of(model: torch.nn.Module, image: Any) -> Any:
    """Predict an image (H, W, channels) with the unmodified model: class ids (H, W)."""
    return model(torch.tensor(image).permute(2, 0, 1)[None])[0].argmax(dim=0).numpy()


def assert_same_classes(mask: Any, expected: Any) -> None:
    """Assert that two predictions agree, except for a few pixels where rounding changes the class."""
    mask, expected = np.asarray(mask), np.asarray(expected)
    assert mask.shape == expected.shape
    assert np.sum(mask != expected) <= 2

"""What runs a trained model: torch, or another library on an exported file.

The contract: a runtime has `classes`, `channels` and `device`, and maps a batch of images to logits. Whole pictures,
windows, flips and scales are the business of `segnet.predictor`, the same for all of them.
"""

import os
from typing import Protocol

import torch
from torch import Tensor

from segnet.classes import Classes
from segnet.runtimes.pytorch import TorchRuntime


class Runtime(Protocol):
    """A model that is ready to run.

    Attributes:
        classes: names, palette and ignore_index.
        channels: of the images, as `segnet.bands.read_bands` takes it.
        device: where images are wanted and logits come out.
    """

    classes: Classes
    channels: int
    device: torch.device

    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, channels, H, W), uint8 or float32, 0-255, any H, W >= 1 -> logits (B, classes, H, W), float32.

        Both on `device`. May be called by several threads at the same time.
        """
        ...


def open_runtime(model: str | os.PathLike[str], device: str | None = None) -> Runtime:
    """Opens a trained model.

    Args:
        model: path of a segnet checkpoint.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes a GPU where there is one.

    Raises:
        CheckpointError: the file cannot be used. MachineError: there is no such device.
    """
    return TorchRuntime(model, device)

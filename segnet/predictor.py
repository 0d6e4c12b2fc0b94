"""Predictor: a picture in, a class map out."""

import os

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from segnet.checkpoint import load_checkpoint
from segnet.errors import MachineError


class Predictor:
    """Segments images with a checkpoint.

    Args:
        checkpoint: path of a segnet checkpoint.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes a GPU where there is one.

    Attributes:
        classes: names, palette and ignore_index, as the checkpoint stores them.
        channels: of the images, as `segnet.bands.read_bands` takes it.

    Raises:
        CheckpointError: the file cannot be used. MachineError: there is no such device.
    """

    def __init__(self, checkpoint: str | os.PathLike[str], device: str | None = None) -> None:
        model, self.classes = load_checkpoint(checkpoint)
        self.channels = model.in_channels
        self.device = move(model, device)
        self._model = model

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8 | np.float32]) -> NDArray[np.uint8 | np.uint16]:
        """Segments one image.

        Args:
            image: (H, W, channels), 0-255, any size: uint8 RGB, or what `segnet.bands.read_bands` gives.

        Returns:
            (H, W) class ids, uint8 where they fit, else uint16.
        """
        assert image.dtype in (np.uint8, np.float32)
        assert image.ndim == 3
        batch = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].to(self.device)
        ids = self._model(batch)[0].argmax(dim=0).cpu().numpy()
        return ids.astype(np.uint8 if len(self.classes.names) <= 256 else np.uint16)


def move(model: nn.Module, device: str | None) -> torch.device:
    """Moves a model to a device, which is returned; None takes a GPU where there is one.

    Raises:
        MachineError: there is no such device.
    """
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        model.to(chosen)
    except (RuntimeError, AssertionError) as error:
        raise MachineError(f"device '{device}' cannot be used: {str(error).splitlines()[0]}") from None
    return chosen

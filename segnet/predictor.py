"""Predictor: a picture in, its segmentation out."""

import os

import numpy as np
import torch

from segnet.bands import Bands
from segnet.runtimes import open_runtime
from segnet.segmentation import Segmentation


class Predictor:
    """Segments images with a trained model.

    Args:
        model: path of a segnet checkpoint.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes a GPU where there is one.

    Attributes:
        classes: names, palette and ignore_index, as the model stores them.
        channels: of the images, as `segnet.bands.read_bands` takes it.

    Raises:
        CheckpointError: the file cannot be used. MachineError: there is no such device.
    """

    def __init__(self, model: str | os.PathLike[str], device: str | None = None) -> None:
        self._runtime = open_runtime(model, device)
        self.classes = self._runtime.classes
        self.channels = self._runtime.channels

    def __call__(self, image: Bands) -> Segmentation:
        """Segments one image.

        Args:
            image: (H, W, channels), 0-255, any size: uint8 RGB, or what `segnet.bands.read_bands` gives.
        """
        assert image.dtype in (np.uint8, np.float32)
        assert image.ndim == 3
        batch = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].to(self._runtime.device)
        ids = self._runtime(batch)[0].argmax(dim=0).cpu().numpy()
        return Segmentation(image, ids.astype(np.uint8 if len(self.classes.names) <= 256 else np.uint16), self.classes)

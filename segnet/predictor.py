"""Predictor: a picture in, its segmentation out."""

import os
from collections.abc import Sequence

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

    def __call__(self, image: Bands, probabilities: bool = False) -> Segmentation:
        """Segments one image.

        Args:
            image: (H, W, channels), 0-255, any size: uint8 RGB, or what `segnet.bands.read_bands` gives.
            probabilities: whether the result has those of all classes.
        """
        return self.batch([image], probabilities)[0]

    def batch(self, images: Sequence[Bands], probabilities: bool = False) -> list[Segmentation]:
        """Segments images of one size and type together; the arguments are those of a call."""
        assert all(image.dtype in (np.uint8, np.float32) and image.ndim == 3 for image in images)
        batch = torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))
        logits = self._runtime(batch.to(self._runtime.device))
        masks = logits.argmax(dim=1).cpu().numpy().astype(np.uint8 if len(self.classes.names) <= 256 else np.uint16)
        shares = logits.softmax(dim=1).half().cpu().numpy() if probabilities else [None] * len(images)
        return [
            Segmentation(image, mask, self.classes, share)
            for image, mask, share in zip(images, masks, shares, strict=True)
        ]

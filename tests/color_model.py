"""A model without weights and with known probabilities: the values of a pixel are the logits of its classes."""

import numpy as np
import torch

from segnet.classes import Classes
from segnet.models.temperature import UNCALIBRATED

CLASSES = Classes.create(["red", "green", "blue"], [[200, 0, 0], [0, 200, 0], [0, 0, 200]])
SCALE = 16.0  # values that a logit takes


class ColorModel:
    """A runtime: images (B, 3, H, W), 0-255 -> logits (B, 3, H, W)."""

    has_probabilities = True
    temperature = UNCALIBRATED
    channels, value_range, device = 3, None, torch.device("cpu")

    def __init__(self, classes=CLASSES, pixels=10**9):
        self.classes, self._pixels = classes, pixels
        self.num_calls = 0

    def __call__(self, images):
        self.num_calls += 1
        if images.shape[0] * images.shape[2] * images.shape[3] > self._pixels:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return images.float() / SCALE


def install(monkeypatch, model=None):
    """Make every checkpoint this model."""
    model = model or ColorModel()
    monkeypatch.setattr("segnet.inference.ensemble.open_runtime", lambda *_: model)
    return model


def probabilities_of(image):
    """What the model gives for an image (H, W, 3), uint8: (3, H, W), float64."""
    powers = np.exp(image.astype(float).transpose(2, 0, 1) / SCALE)
    return powers / powers.sum(axis=0)


def blotches(height=60, width=80, seed=0):
    """An image with large regions and specks of all three classes, and unsure pixels between them."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2, 0] = image[:, width // 2 :, 1] = 120
    image[height // 2 :, width // 4 : 3 * width // 4] = [0, 0, 120]
    noise = rng.integers(0, 60, image.shape)
    noise[rng.random((height, width)) < 0.03] += rng.integers(0, 120, 3)
    return (image + noise).clip(0, 255).astype(np.uint8)

"""Samples and a transform for the tests of augmentation."""

import hashlib

import numpy as np

from segnet.data.augment.transforms import TrainTransform

FILL = (12, 34, 56)
COLORS = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200], [200, 200, 0]], np.uint8)  # colors of classes 0-3
DEFAULTS = {
    "crop_size": (40, 48),
    "scale_range": (0.5, 2.0),
    "flip": 0.5,
    "color_jitter": 0.4,
    "fill": FILL,
    "ignore_index": 255,
    "seed": 0,
}


def transform(**options: object) -> TrainTransform:
    return TrainTransform(**{**DEFAULTS, **options})


def sample(height: int = 45, width: int = 54, block: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of colored blocks, and the mask that its colors encode."""
    shape = -(-height // block), -(-width // block)
    ids = np.random.default_rng(height * width).integers(0, 4, shape).astype(np.uint8)
    mask = np.kron(ids, np.ones((block, block), np.uint8))[:height, :width]
    return COLORS[mask], mask


def digest(augment: TrainTransform, epoch: int, index: int) -> str:
    image, mask = augment(*sample(), epoch=epoch, index=index)
    return hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest()

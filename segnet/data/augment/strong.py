"""Weak and strong views of images without masks, for weak-to-strong consistency.

As in UniMatch (Yang et al., 2023, arXiv 2208.09910; reference code github.com/LiheYoung/UniMatch, dataset/semi.py and
transform.py): the weak view is a scaled, flipped crop. A strong view of the same crop has, each with its probability,
other colors (0.8), no colors (0.2), blur (0.5), and a CutMix rectangle (0.5) of 2-40 % of the crop and a height of 0.3
to 3.3 times its width.

Differences: the rectangle's sides follow the proportions of the crop. Images of other channels than RGB get brightness,
contrast and blur alone.
"""

import math
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from segnet.errors import ConfigError

JITTER_PROBABILITY, GRAY_PROBABILITY, BLUR_PROBABILITY = 0.8, 0.2, 0.5
BLUR_SIGMA = (0.1, 2.0)  # [pixels]
RECTANGLE_AREA = (0.02, 0.4)  # fraction of the crop
RECTANGLE_RATIO = (0.3, 1 / 0.3)  # height / width, relative to those of the crop
MOST_HUE_DEGREES = 90  # at strength 1: half of the strength is a fraction of the color circle, as in torchvision
RED_GREEN_BLUE = np.array([0.299, 0.587, 0.114], np.float32)  # luma, ITU-R 601-2


class StrongView:
    """Random change of the colors and sharpness of a crop.

    Args:
        color_jitter: strength of the change of brightness, contrast and saturation, 0-1; half of it for the hue
            (a fraction of the half circle); 0 returns the crop.

    Raises:
        ConfigError: a strength out of range.
    """

    def __init__(self, color_jitter: float) -> None:
        if not 0 <= color_jitter <= 1:
            raise ConfigError(f"consistency.color_jitter={color_jitter} must be between 0 and 1")
        self._strength = color_jitter

    def __call__(self, image: NDArray[Any], rng: Generator) -> NDArray[Any]:
        """Return a changed copy of an image (H, W, channels), 0-255, of the same type."""
        if self._strength == 0:
            return image.copy()
        values = image.astype(np.float32)
        is_rgb = image.shape[2] == 3
        if rng.random() < JITTER_PROBABILITY:
            values = self._jittered(values, rng, is_rgb)
        if is_rgb and rng.random() < GRAY_PROBABILITY:
            values = np.repeat(_luma(values), 3, axis=2)
        if rng.random() < BLUR_PROBABILITY:
            blurred = cv2.GaussianBlur(values, (0, 0), rng.uniform(*BLUR_SIGMA))
            values = np.asarray(blurred, np.float32).reshape(image.shape)  # OpenCV drops a single channel
        values = values.clip(0, 255)
        return np.rint(values).astype(image.dtype) if image.dtype == np.uint8 else values.astype(image.dtype)

    def _jittered(self, values: NDArray[np.float32], rng: Generator, is_rgb: bool) -> NDArray[np.float32]:
        brightness, contrast, saturation = rng.uniform(1 - self._strength, 1 + self._strength, 3).astype(np.float32)
        values = (values * brightness).clip(0, 255)
        mean = np.float32((_luma(values) if is_rgb else values).mean())
        values = (mean + (values - mean) * contrast).clip(0, 255)
        hue = rng.uniform(-self._strength / 2, self._strength / 2)
        if not is_rgb:
            return values
        gray = _luma(values)
        values = (gray + (values - gray) * saturation).clip(0, 255)
        return np.asarray((values @ hue_rotation(hue * 2 * MOST_HUE_DEGREES)).clip(0, 255), np.float32)


def _luma(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return (values @ RED_GREEN_BLUE)[..., None]


def hue_rotation(degrees: float) -> NDArray[np.float32]:
    """Return the matrix (3, 3) that rotates the hue of RGB rows around the gray axis: ``values @ matrix``."""
    angle = math.radians(degrees)
    axis = np.full((3, 3), 1 / 3)
    cross = np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]]) / math.sqrt(3)
    return (math.cos(angle) * np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * axis).astype(np.float32)


def draw_box(rng: Generator, height: int, width: int, probability: float) -> NDArray[np.int64]:
    """Draw the rectangle of CutMix: [top, bottom, left, right], ends excluded; zeros: no rectangle.

    Args:
        height, width: size of the crop [pixels].
        probability: probability of a rectangle, 0-1.
    """
    if rng.random() >= probability:
        return np.zeros(4, np.int64)
    area = rng.uniform(*RECTANGLE_AREA)
    while True:
        ratio = rng.uniform(*RECTANGLE_RATIO)
        rows, columns = int(height * math.sqrt(area * ratio)), int(width * math.sqrt(area / ratio))
        top, left = int(rng.integers(height)), int(rng.integers(width))
        if top + rows <= height and left + columns <= width:
            return np.array([top, top + rows, left, left + columns])

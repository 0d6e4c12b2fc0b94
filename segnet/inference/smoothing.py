"""Masks of a video that do not flicker: an exponential moving average of the probabilities over its frames.

    average = weight * earlier average + (1 - weight) * probabilities of the frame

Each pixel is averaged with the same place in earlier frames; motion is not compensated. The share of a frame that is k
frames old is (1 - weight) * weight^k. If a pixel changes from one sure class to another, the mask shows it from the
k-th new frame on, where k is the smallest number with weight^k < 1 / 2: the second one at 0.7 (`frames_to_change`). The
average restarts with a frame of another size, and with a cut: the frame's content differs, not only its motion.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segnet.errors import ConfigError
from segnet.images.bands import displayable
from segnet.images.values import Bands

CUT = 30.0  # mean difference of two frames at a cut, 0-255; PySceneDetect's ContentDetector has 27 by default
THUMBNAIL = (32, 32)  # size at which frames are compared: motion of small objects does not count [pixels]


@dataclass(frozen=True, slots=True)
class _State:
    """What is kept of the earlier frames: one tensor of probabilities, and the last frame's thumbnail."""

    average: Tensor
    thumbnail: NDArray[np.float32]


class Smoothing:
    """The moving average of one video. Frames must come in their order, from one thread.

    Args:
        weight: weight of the earlier frames, 0-0.99; 0: no average.

    Raises:
        ConfigError: the weight is out of its range.
    """

    def __init__(self, weight: float) -> None:
        if not 0 <= weight <= 0.99:
            raise ConfigError(f"smooth={weight:g} must be the weight of earlier frames, 0-0.99")
        self.weight = weight
        self._state: _State | None = None

    def copy(self) -> "Smoothing":
        """A copy that goes on from the same frame. The original stays as it is: a failed batch can be repeated."""
        other = Smoothing(self.weight)
        other._state = self._state
        return other

    def take(self, other: "Smoothing") -> None:
        """Continue from the frame of another one."""
        self._state = other._state

    @torch.inference_mode()
    def __call__(self, image: Bands, probabilities: Tensor) -> Tensor:
        """Average the next frame with the earlier ones.

        Args:
            image: the frame, (H, W, channels), 0-255.
            probabilities: (classes, H, W), 0-1.

        Returns:
            (classes, H, W), 0-1, a new tensor; it must not be changed.
        """
        thumbnail = cv2.resize(displayable(image), THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
        before = self._state
        if before is None or before.average.shape != probabilities.shape or is_cut(before.thumbnail, thumbnail):
            average = probabilities.clone()
        else:
            average = torch.lerp(probabilities, before.average, self.weight)
        self._state = _State(average, thumbnail)
        return average


def is_cut(before: NDArray[np.float32], after: NDArray[np.float32]) -> bool:
    """Whether two consecutive frames belong to different scenes.

    Args:
        before, after: thumbnails, (h, w, 3) RGB, 0-255.
    """
    return float(np.abs(after - before).mean()) > CUT


def frames_to_change(weight: float) -> int:
    """The first frame after a sure change that shows it, counted from 1."""
    return 1 if weight < 0.5 else math.floor(math.log(0.5) / math.log(weight)) + 1

"""Segmentation: what a model says of one picture."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from segnet.bands import Bands, displayable
from segnet.classes import Classes
from segnet.visualization import overlay


@dataclass(frozen=True)
class Segmentation:
    """A picture with the class of each of its pixels.

    Attributes:
        image: (H, W, channels), 0-255: uint8 RGB, or what `segnet.bands.read_bands` gives.
        mask: (H, W) class ids, uint8 where they fit, else uint16.
        classes: what the ids mean.
        probabilities: (classes, H, W) float16, where they were asked for.
    """

    image: Bands
    mask: NDArray[np.uint8 | np.uint16]
    classes: Classes
    probabilities: NDArray[np.float16] | None = None

    @cached_property
    def shares(self) -> dict[str, float]:
        """The share of each class among the pixels, 0-1, by name."""
        counts = np.bincount(self.mask.ravel(), minlength=len(self.classes.names))
        return {name: float(counts[index]) / self.mask.size for index, name in enumerate(self.classes.names)}

    def overlay(self, opacity: float = 0.5) -> NDArray[np.uint8]:
        """The picture under its classes' colours, (H, W, 3) uint8 RGB; `opacity` of the colours, 0-1."""
        return overlay(displayable(self.image), self.mask, self.classes, opacity)

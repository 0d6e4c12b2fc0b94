"""Draw instances into a mask: a smaller instance is always in front of a larger one."""

import numpy as np

from segnet.classes import Classes
from segnet.data.datasets.annotations import Area, empty_mask
from segnet.data.datasets.labels import Mask


class InstanceCanvas:
    """A mask under construction.

    Args:
        size: (height, width) [pixels].
        background: id of pixels without an instance.
        classes: of the mask.
    """

    def __init__(self, size: tuple[int, int], background: int, classes: Classes) -> None:
        self._mask = empty_mask(size, background, classes)
        self._ignore_index = classes.ignore_index
        self._nothing = size[0] * size[1] + 1
        self._front = np.full(size, self._nothing, np.int32)  # area of the front instance [pixels]
        self._ignored = np.zeros(size, bool)

    def add(self, area: Area, class_id: int) -> None:
        """Draw an instance; the later of two equal sizes is in front."""
        num_pixels = int(np.count_nonzero(area))
        visible = area & (self._front >= num_pixels)
        self._front[visible] = num_pixels
        self._mask[visible] = class_id

    def ignore(self, area: Area) -> None:
        """Set uncovered pixels to ignore_index."""
        self._ignored |= area

    def mask(self) -> Mask:
        """Return the mask of all instances so far."""
        self._mask[self._ignored & (self._front == self._nothing)] = self._ignore_index
        return self._mask

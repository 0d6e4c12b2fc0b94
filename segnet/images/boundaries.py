"""Pixels near class boundaries, for Boundary IoU (arXiv 2103.16562) and trimaps (Kohli et al., IJCV 82, 2009).

Boundary IoU's reference code erodes the mask of each class `width` times with a 3 x 3 kernel. That removes a pixel if
another class has one within `width` rows and columns. One dilation and one erosion of the class ids find these pixels
for all classes at once.
"""

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

PIXELS_AT_ONCE = 2**22  # per strip of rows: bounds the memory of the temporary arrays


def boundary_width(size: Sequence[int], ratio: float) -> int:
    """Return the width of boundaries in an image of (height, width): a fraction of its diagonal, or 1 [pixels]."""
    return max(1, round(ratio * math.hypot(*size)))


def near_other_class(mask: NDArray[np.integer], ignore_index: int, width: int) -> NDArray[np.bool_]:
    """Find the labeled pixels with a pixel of another class at most `width` rows and columns away.

    The border of the image is no boundary here, and neither is the border to ignored pixels: their class is unknown.

    Args:
        mask: (H, W) class ids of 0-65533, or `ignore_index`.
        width: width of the boundary on each of its sides [pixels], at least 1.

    Returns:
        (H, W) bool.
    """
    found = np.empty(mask.shape, np.bool_)
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    for rows, halo in _strips(mask.shape, width):
        part = mask[halo]
        ignored = part == ignore_index
        # 0 never is a maximum and 65535 never a minimum, so that ignored pixels count as no class
        ids = np.where(ignored, np.uint16(0), part.astype(np.uint16) + np.uint16(1))
        highest = cv2.dilate(ids, kernel)
        lowest = cv2.erode(np.where(ignored, np.uint16(65535), ids), kernel)
        near = (highest != lowest) & ~ignored  # a labeled pixel is in its own window
        found[rows] = near[rows.start - halo.start : rows.stop - halo.start]
    return found


def near_image_border(size: tuple[int, int], width: int) -> NDArray[np.bool_]:
    """Return the pixels of an image of (height, width) in its outermost `width` rows and columns: (H, W) bool."""
    found = np.ones(size, np.bool_)
    found[width : size[0] - width, width : size[1] - width] = False
    return found


def _strips(size: tuple[int, ...], width: int) -> Iterator[tuple[slice, slice]]:
    """The rows of each strip of an image, and the same rows with the neighbors that they need."""
    height = size[0]
    step = max(1, PIXELS_AT_ONCE // max(1, size[1]))
    for start in range(0, height, step):
        stop = min(height, start + step)
        yield slice(start, stop), slice(max(0, start - width), min(height, stop + width))

"""Carry the planes of a multilabel mask through transforms of class ids, exactly.

Crops, turns and the transforms of albumentations move the values of a mask (H, W) and never compute with them. OpenCV
limits the number of channels, so the planes are not moved one by one: each combination of plane values in the image
gets a number, and the numbers are moved. 0 is the combination without any class, `IGNORED_IN_PLANE` the one that is
ignored in all planes, which is also the value of padding.
"""

import numpy as np
from numpy.typing import NDArray

from segnet.classes import IGNORED_IN_PLANE

STATES = 3  # of a pixel in a plane: 0, 1 and ignored
MOST_CODES = STATES**10  # from this number of possible combinations on, those that do not occur are left out


def to_codes(planes: NDArray[np.uint8]) -> tuple[NDArray[np.uint8 | np.int32], NDArray[np.uint8]]:
    """Replace planes (classes, H, W) of 0, 1 and `IGNORED_IN_PLANE` by one mask of combinations.

    Returns:
        Codes (H, W), uint8 where they fit, else int32; and the combination of each code, (codes, classes) uint8.
    """
    codes = np.zeros(planes.shape[1:], np.int32)
    table = np.zeros((1, 0), np.uint8)  # the states of the planes so far, by code
    for plane in planes:
        if len(table) * STATES > MOST_CODES:
            codes, table = _without_unused(codes, table)
        codes *= STATES
        codes += np.minimum(plane, STATES - 1)
        states = np.tile(np.arange(STATES, dtype=np.uint8), len(table))
        table = np.column_stack([np.repeat(table, STATES, axis=0), states])
    codes, table = _without_unused(codes, table)
    return _with_fixed_codes(codes, np.where(table == STATES - 1, np.uint8(IGNORED_IN_PLANE), table))


def _without_unused(codes: NDArray[np.int32], table: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Number the combinations that occur without gaps."""
    used = np.flatnonzero(np.bincount(codes.ravel(), minlength=len(table)))
    numbers = np.zeros(len(table), np.int32)
    numbers[used] = np.arange(len(used))
    return numbers[codes], table[used]


def _with_fixed_codes(
    codes: NDArray[np.int32], table: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8 | np.int32], NDArray[np.uint8]]:
    """Renumber combinations: 0 has no class, `IGNORED_IN_PLANE` is ignored, others get the free numbers."""
    none, ignored = (table == 0).all(axis=1), (table == IGNORED_IN_PLANE).all(axis=1)
    others = np.flatnonzero(~none & ~ignored)
    free = np.arange(1, len(others) + 2)
    free = free[free != IGNORED_IN_PLANE][: len(others)]
    numbers = np.zeros(len(table), np.int32)
    numbers[others], numbers[ignored] = free, IGNORED_IN_PLANE
    found = np.full((max(IGNORED_IN_PLANE, int(numbers.max())) + 1, table.shape[1]), IGNORED_IN_PLANE, np.uint8)
    found[0] = 0
    found[free] = table[others]
    small = len(found) <= IGNORED_IN_PLANE + 1
    return numbers[codes].astype(np.uint8 if small else np.int32), found


def to_planes(codes: NDArray[np.integer], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the planes (classes, H, W) of codes (H, W), the inverse of `to_codes`."""
    return np.ascontiguousarray(np.moveaxis(table[codes], 2, 0))

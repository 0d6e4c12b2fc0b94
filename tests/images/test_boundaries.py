"""Pixels near boundaries: equal to repeated erosions of each class, as in Boundary IoU's reference code."""

import numpy as np
import pytest

from segnet.images import boundaries
from segnet.images.boundaries import boundary_width, near_image_border, near_other_class

IGNORED = 255


def blobs(seed, size=(40, 31), classes=4, ignored=0.0):
    """A mask of rectangles of random classes, with ignored rectangles."""
    generator = np.random.default_rng(seed)
    mask = np.zeros(size, np.uint8)
    for index in range(12):
        top, left = generator.integers(0, size[0]), generator.integers(0, size[1])
        height, width = generator.integers(1, 20, 2)
        mask[top : top + height, left : left + width] = IGNORED if index < 12 * ignored else generator.integers(classes)
    return mask


def by_distance(mask, width, row, column):
    """Whether a labeled pixel has a labeled pixel of another class in its window: one pixel at a time."""
    window = mask[max(0, row - width) : row + width + 1, max(0, column - width) : column + width + 1]
    own = mask[row, column]
    return own != IGNORED and bool(((window != own) & (window != IGNORED)).any())


@pytest.mark.parametrize(
    ("size", "ratio", "width"),
    [((360, 480), 0.02, 12), ((1024, 2048), 0.02, 46), ((10, 10), 0.02, 1), ((30, 40), 0.1, 5)],
)
def test_the_width_is_a_fraction_of_the_diagonal(size, ratio, width):
    assert boundary_width(size, ratio) == width


@pytest.mark.parametrize("width", [1, 3, 50])
def test_a_pixel_is_near_if_another_class_is_in_its_window(width, monkeypatch):
    monkeypatch.setattr(boundaries, "PIXELS_AT_ONCE", 31 * 7)  # strips of 7 rows: they need rows of their neighbors
    for seed, dtype in enumerate([np.uint8, np.int16, np.int32, np.int64]):
        mask = blobs(seed, ignored=0.3)
        assert (mask == IGNORED).any()
        expected = [[by_distance(mask, width, row, column) for column in range(31)] for row in range(40)]
        np.testing.assert_array_equal(near_other_class(mask.astype(dtype), IGNORED, width), expected)


def test_an_ignored_label_below_zero_and_large_ids():
    mask = np.array([[-1, 300, 300, 65533, -1]], np.int32)
    assert near_other_class(mask, -1, 1).tolist() == [[False, False, True, True, False]]


def test_the_image_border():
    expected = np.ones((5, 6), bool)
    expected[2:3, 2:4] = False
    np.testing.assert_array_equal(near_image_border((5, 6), 2), expected)
    assert near_image_border((5, 6), 3).all()
    assert near_image_border((2, 3), 10).all()

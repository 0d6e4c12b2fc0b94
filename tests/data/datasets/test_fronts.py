"""Instances are drawn by size, independent of their order."""

import itertools

import numpy as np
import pytest

from segnet.classes import Classes
from segnet.data.datasets.fronts import InstanceCanvas

CLASSES = Classes.create(["background", "a", "b", "c"])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_smaller_one_is_in_front(order):
    areas = [np.zeros((4, 8), bool) for _ in range(3)]
    areas[0][:], areas[1][1:3, :6], areas[2][1:2, 2:4] = True, True, True
    canvas = InstanceCanvas((4, 8), 0, CLASSES)
    for index in order:
        canvas.add(areas[index], index + 1)
    expected = np.full((4, 8), 1)
    expected[1:3, :6], expected[1:2, 2:4] = 2, 3
    np.testing.assert_array_equal(canvas.mask(), expected)


def test_the_later_of_equal_sizes_is_in_front_and_ignored_areas_are_behind():
    canvas = InstanceCanvas((1, 4), 0, CLASSES)
    canvas.ignore(np.array([[True, True, True, False]]))
    canvas.add(np.array([[True, True, False, False]]), 1)
    canvas.add(np.array([[False, True, False, True]]), 2)
    assert canvas.mask().tolist() == [[1, 2, 255, 2]]

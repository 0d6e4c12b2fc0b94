"""Outlines are exact: areas equal pixel counts, including holes and touching corners."""

import cv2
import numpy as np
import pytest
from difficult_masks import filled

from segnet.inference.polygons import find_polygons, ring_area


@pytest.mark.parametrize("seed", range(20))
def test_outlines_enclose_exactly_the_pixels_of_their_class(seed):
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(1, 16, 2))
    mask = rng.integers(0, 3, size)
    if seed % 2:
        mask = np.kron(mask, np.ones((3, 2), int))
    for class_id in range(3):
        where = mask == class_id
        found = find_polygons(mask, [class_id])
        assert len(found) == cv2.connectedComponents(where.astype(np.uint8), connectivity=4)[0] - 1
        painted = np.zeros(mask.shape, int)
        for polygon in found:
            area = filled(polygon.exterior, mask.shape)
            for hole in polygon.holes:
                area &= ~filled(hole, mask.shape)
                assert ring_area(hole) < 0
            assert polygon.area == area.sum()
            painted += area
        np.testing.assert_array_equal(painted, where)


def test_a_region_inside_a_hole_is_separate():
    mask = np.zeros((9, 9), np.uint8)
    mask[1:8, 1:8], mask[2:7, 2:7], mask[4, 4] = 1, 0, 1
    ring, island = find_polygons(mask, [1])
    assert (ring.area, len(ring.holes)) == (49 - 25, 1)
    assert ring.exterior.tolist() == [[1, 1], [8, 1], [8, 8], [1, 8]]
    assert (island.area, island.exterior.tolist(), island.holes) == (1, [[4, 4], [5, 4], [5, 5], [4, 5]], ())


def test_simplification_reduces_corners_and_keeps_the_area():
    y, x = np.mgrid[:100, :100]
    mask = ((x - 50) ** 2 + (y - 50) ** 2 < 40**2).astype(np.uint8)
    [exact], [simple] = find_polygons(mask, [1]), find_polygons(mask, [1], tolerance=1.5)
    assert len(simple.exterior) < len(exact.exterior) / 4
    assert simple.area == pytest.approx(exact.area, rel=0.05)

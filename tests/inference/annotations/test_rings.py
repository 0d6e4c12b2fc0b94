"""A region as one ring is the same pixels for every way to draw a polygon."""

import cv2
import numpy as np
import pytest
from difficult_masks import difficult_masks, filled
from PIL import Image, ImageDraw

from segnet.data.datasets.polygon_fill import fill_polygon
from segnet.inference.annotations.rings import INSET, single_ring
from segnet.inference.polygons import Polygon, find_polygons, ring_area


def with_pillow(ring, size):
    image = Image.new("1", (size[1], size[0]))
    ImageDraw.Draw(image).polygon([tuple(corner) for corner in ring], fill=1, outline=1)
    return np.array(image, bool)


def with_opencv(ring, size):
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [ring.astype(np.int32)], 1)
    return mask.astype(bool)


def with_centers(ring, size):
    return fill_polygon(ring.tolist(), size, "")


@pytest.mark.parametrize("draw", [with_pillow, with_opencv, with_centers, filled])
def test_drawing_the_ring_gives_the_pixels_of_the_region(draw):
    num_holes = 0
    for mask in difficult_masks(4):
        for class_id in np.unique(mask):
            drawn = np.zeros(mask.shape, int)
            for polygon in find_polygons(mask, [class_id]):
                drawn += draw(single_ring(polygon), mask.shape)
                num_holes += len(polygon.holes)
            np.testing.assert_array_equal(drawn, mask == class_id)
    assert num_holes == 80


def test_corners_move_into_the_region():
    where = np.zeros((4, 5), np.uint8)
    where[1:3, 1:4] = 1
    [polygon] = find_polygons(where, [1])
    assert single_ring(polygon).tolist() == [
        [1 + INSET, 1 + INSET],
        [4 - INSET, 1 + INSET],
        [4 - INSET, 3 - INSET],
        [1 + INSET, 3 - INSET],
    ]


def test_a_hole_is_joined_by_a_horizontal_cut():
    where = np.ones((5, 7), np.uint8)
    where[2, 3] = 0
    [polygon] = find_polygons(where, [1])
    ring = single_ring(polygon)
    assert len(ring) == 4 + 4 + 1 + 2  # corners of both, the first of the hole again, the end of the cut twice
    assert [ring.tolist().count([INSET, 2 - INSET]), ring.tolist().count([3 - INSET, 2 - INSET])] == [2, 2]
    assert ring_area(ring) == (7 - 2 * INSET) * (5 - 2 * INSET) - (1 + 2 * INSET) ** 2


def test_a_hole_outside_of_a_simplified_exterior_is_joined_too():
    exterior = np.array([[5.0, 0], [9, 4], [5, 8]])
    hole = np.array([[1.0, 3], [1, 5], [3, 4]])  # counter-clockwise, left of the exterior
    ring = single_ring(Polygon(0, exterior, (hole,)))
    assert len(ring) == 3 + 4 + 2
    assert np.isfinite(ring).all()

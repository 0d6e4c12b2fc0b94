"""Polygons are filled by the centers of pixels."""

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from segnet.data.datasets.polygon_fill import ellipse, fill_corners, fill_polygon, near_polygon, turned
from segnet.errors import DataError


def test_a_square_covers_the_pixels_inside():
    area = fill_polygon([(2, 1), (5, 1), (5, 3), (2, 3)], (6, 8), "a")
    expected = np.zeros((6, 8), bool)
    expected[1:3, 2:5] = True
    np.testing.assert_array_equal(area, expected)


def test_a_polygon_larger_than_the_image_covers_it():
    for far in (8, 9, 1e9, 1e300):
        assert fill_polygon([(-far, -far), (far, -far), (far, far), (-far, far)], (6, 8), "a").all()
    assert not fill_polygon([(20, 20), (30, 20), (30, 30)], (6, 8), "a").any()
    assert not fill_polygon([(1, 1), (5, 5)], (6, 8), "a").any()


@pytest.mark.parametrize("seed", range(20))
def test_a_polygon_covers_the_same_pixels_as_in_matplotlib(seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.random(9)) * 2 * np.pi
    points = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(5, 60, (9, 1)) + 25
    rows, columns = np.mgrid[:40, :50]
    centers = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], 1)
    expected = Outline(points).contains_points(centers).reshape(40, 50)
    np.testing.assert_array_equal(fill_polygon([tuple(p) for p in points.tolist()], (40, 50), "a"), expected)


def test_a_region_enclosed_twice_is_a_hole():
    ring = [(0, 0), (8, 0), (8, 6), (0, 6), (0, 0), (2, 2), (2, 4), (4, 4), (4, 2), (2, 2)]
    area = fill_polygon(ring, (6, 8), "a")
    assert not area[2:4, 2:4].any()
    assert area.sum() == 48 - 4


def test_an_outline_of_absurd_length_is_refused():
    zigzag = [(x % 8, (x % 2) * 6) for x in range(40_000)]
    with pytest.raises(DataError, match=r"a: a polygon's outline is .* pixels long, too long for its image"):
        near_polygon(zigzag, (6, 8), "a")


def test_an_ellipse_covers_the_pixels_inside():
    rows, columns = np.mgrid[:60, :80] + 0.5
    area = fill_polygon(turned(ellipse(30, 12), 0, (41, 29)), (60, 80), "a")
    inside = ((columns - 41) / 30) ** 2 + ((rows - 29) / 12) ** 2
    assert (area == (inside <= 1))[abs(inside - 1) > 0.01].all()
    assert area.any()


def test_outlines_turn_clockwise_around_their_origin():
    corners = turned([(0, 0), (4, 0), (4, 2)], 90, (10, 20))
    np.testing.assert_allclose(corners, [(10, 20), (10, 24), (8, 24)], atol=1e-12)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_fewer_than_three_corners_are_refused(number):
    with pytest.raises(DataError, match=rf"^a.json: it is a polygon of {number} points: correct or remove it$"):
        fill_corners([(1.0, 2.0)] * number, (6, 8), "a.json: it")

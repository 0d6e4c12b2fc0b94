"""Polygons and segments are clipped to a box."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from segnet.data.datasets.clipping import around, clip_polygon, clip_segment, is_inside

BOX = (0.0, 0.0, 10.0, 6.0)


def test_a_box_around_an_image():
    assert around((6, 10), 2) == (-2, -2, 12, 8)
    assert is_inside([(0, 0), (10, 6)], BOX)
    assert not is_inside([(0, 0), (10.1, 6)], BOX)


@pytest.mark.parametrize("seed", range(20))
def test_a_clipped_polygon_covers_the_same_pixels(seed):
    rng = np.random.default_rng(seed)
    polygon = [(float(x), float(y)) for x, y in rng.normal(size=(6, 2)) * 300 + 50]
    box = around((100, 100), 100)
    clipped = clip_polygon(polygon, box)
    assert is_inside(clipped, around((100, 100), 100.001))
    drawn = []
    for points in (polygon, clipped):
        canvas = Image.new("1", (100, 100))
        if len(points) > 1:
            ImageDraw.Draw(canvas).polygon(points, fill=1)
        drawn.append(np.array(canvas))
    assert (drawn[0] != drawn[1]).mean() < 0.01


def test_a_polygon_outside_or_around_the_box():
    assert clip_polygon([(20, 20), (30, 20), (30, 30)], BOX) == []
    around_all = clip_polygon([(-1e300, -1e300), (1e300, -1e300), (1e300, 1e300), (-1e300, 1e300)], BOX)
    assert {(round(x, 6), round(y, 6)) for x, y in around_all} == {(0, 0), (10, 0), (10, 6), (0, 6)}


@pytest.mark.parametrize(
    ("segment", "part"),
    [
        (((1, 1), (2, 2)), ((1, 1), (2, 2))),
        (((-5, 3), (5, 3)), ((0, 3), (5, 3))),
        (((-5, 3), (15, 3)), ((0, 3), (10, 3))),
        (((5, -6), (5, 12)), ((5, 0), (5, 6))),
        (((-5, 3), (-1, 3)), None),
        (((-5, 8), (5, 8)), None),
        (((-10, 0), (0, 10)), None),
    ],
)
def test_segments(segment, part):
    assert clip_segment(*segment, BOX) == part

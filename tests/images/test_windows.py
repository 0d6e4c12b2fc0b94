"""Where windows lie: every pixel is covered, and what blends them adds up to 1 at each."""

import numpy as np
import pytest

from segnet.images.windows import STRIP, Mosaic, Window, grid


@pytest.mark.parametrize(
    ("size", "window"), [((10, 10), (4, 3)), ((1, 1), (5, 5)), ((8, 6), (4, 3)), ((7, 20), (20, 7))]
)
def test_the_grid_covers_every_pixel_once(size, window):
    covered = np.zeros(size, int)
    for part in grid(size, window):
        assert 0 < part.height <= window[0]
        assert 0 < part.width <= window[1]
        covered[part.top : part.top + part.height, part.left : part.left + part.width] += 1
    assert (covered == 1).all()


def test_a_part_is_addressed_in_the_image_and_in_a_window_around_it():
    part, around = Window(5, 7, 2, 3), Window(4, 4, 8, 8)
    image = np.arange(400).reshape(20, 20)
    np.testing.assert_array_equal(image[part.within()], image[5:7, 7:10])
    np.testing.assert_array_equal(image[around.within()][part.within(around)], image[5:7, 7:10])


MOSAICS = [
    ((10, 10), 4, 0.25),
    ((1, 1), 5, 0.25),
    ((8, 30), 4, 0.0),  # nothing overlaps, and there are several strips
    ((5, 70), 6, 0.25),  # several strips, lower than a window
    ((23, 61), 7, 0.6),  # three windows over a pixel
    ((9, 31), 5, 0.9),
    ((64, 16), 16, 0.5),
]


@pytest.mark.parametrize(("size", "window", "overlap"), MOSAICS)
def test_weights_add_up_to_one_and_parts_cover_every_pixel_once(size, window, overlap):
    mosaic = Mosaic(size, window, overlap)
    added, complete = np.zeros(size), np.zeros(size, int)
    for place, pieces in mosaic:
        assert (place.height, place.width) == (min(window, size[0]), min(window, size[1]))
        rows, columns = mosaic.weights(place)
        weights = np.outer(rows, columns)
        for piece in pieces:
            assert not complete[piece.place.within()].any()  # a window after the part was complete came too late
            added[piece.place.within()] += weights[piece.place.within(place)]
            complete[piece.place.within()] += piece.complete
            if not piece.shared:
                assert piece.complete
                np.testing.assert_allclose(weights[piece.place.within(place)], 1, rtol=1e-6)
    assert (complete == 1).all()
    np.testing.assert_allclose(added, 1, rtol=1e-5)


def test_weights_fall_towards_the_ends_but_not_at_the_images_border():
    mosaic = Mosaic((1, 12), 8, 0.5)
    _, columns = mosaic.weights(Window(0, 0, 1, 8))
    np.testing.assert_allclose(columns[:4], 1)
    np.testing.assert_allclose(columns[4:], [0.875, 0.625, 0.375, 0.125])


@pytest.mark.parametrize("length", [50, 400, 2000])
def test_what_waits_does_not_grow_with_the_image(length):
    """Pixels of parts that are not complete: at most the overlaps of one row of a strip, and one window."""
    waiting, most = {}, 0
    for _, pieces in Mosaic((length, length), 16, 0.25):
        for piece in pieces:
            if piece.complete:
                waiting.pop(piece.place, None)
            elif piece.shared:
                waiting[piece.place] = piece.place.height * piece.place.width
        most = max(most, sum(waiting.values()))
    assert most <= STRIP * 16 * 5 + 16 * 16


def test_strips_cost_few_windows_more():
    assert len(list(Mosaic((1000, 1000), 100, 0.5))) == 19 * (19 + 3)
    assert len({window for window, _ in Mosaic((1000, 1000), 100, 0.5)}) == 19 * 19

"""Sliding windows: every pixel is covered, and blending weights sum to 1."""

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


def test_a_window_has_slices_in_the_image_and_in_another_window():
    part, around = Window(5, 7, 2, 3), Window(4, 4, 8, 8)
    image = np.arange(400).reshape(20, 20)
    np.testing.assert_array_equal(image[part.within()], image[5:7, 7:10])
    np.testing.assert_array_equal(image[around.within()][part.within(around)], image[5:7, 7:10])


MOSAICS = [
    ((10, 10), 4, 0.25),
    ((1, 1), 5, 0.25),
    ((8, 30), 4, 0.0),  # no overlap, several strips
    ((5, 70), 6, 0.25),  # several strips, height below the window
    ((23, 61), 7, 0.6),  # three windows per pixel
    ((9, 31), 5, 0.9),
    ((64, 16), 16, 0.5),
]


@pytest.mark.parametrize(("size", "window", "overlap"), MOSAICS)
def test_weights_sum_to_one_and_parts_cover_every_pixel_once(size, window, overlap):
    mosaic = Mosaic(size, window, overlap)
    added, complete = np.zeros(size), np.zeros(size, int)
    for place, pieces in mosaic:
        assert (place.height, place.width) == (min(window, size[0]), min(window, size[1]))
        rows, columns = mosaic.weights(place)
        weights = np.outer(rows, columns)
        for piece in pieces:
            assert not complete[piece.place.within()].any()  # no window may follow a completed part
            added[piece.place.within()] += weights[piece.place.within(place)]
            complete[piece.place.within()] += piece.complete
            if not piece.shared:
                assert piece.complete
                np.testing.assert_allclose(weights[piece.place.within(place)], 1, rtol=1e-6)
    assert (complete == 1).all()
    np.testing.assert_allclose(added, 1, rtol=1e-5)


def test_weights_decrease_towards_inner_ends_only():
    mosaic = Mosaic((1, 12), 8, 0.5)
    _, columns = mosaic.weights(Window(0, 0, 1, 8))
    np.testing.assert_allclose(columns[:4], 1)
    np.testing.assert_allclose(columns[4:], [0.875, 0.625, 0.375, 0.125])


@pytest.mark.parametrize("length", [50, 400, 2000])
def test_pending_memory_does_not_grow_with_the_image(length):
    """Pending pixels: at most the overlaps of one row of a strip, and one window."""
    waiting, most = {}, 0
    for _, pieces in Mosaic((length, length), 16, 0.25):
        for piece in pieces:
            if piece.complete:
                waiting.pop(piece.place, None)
            elif piece.shared:
                waiting[piece.place] = piece.place.height * piece.place.width
        most = max(most, sum(waiting.values()))
    assert most <= STRIP * 16 * 5 + 16 * 16


def test_strips_add_few_windows():
    assert len(list(Mosaic((1000, 1000), 100, 0.5))) == 19 * (19 + 3)
    assert len({window for window, _ in Mosaic((1000, 1000), 100, 0.5)}) == 19 * 19

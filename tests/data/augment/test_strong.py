"""Strong views: other colors and sharpness of the same crop, and the rectangles of CutMix."""

import numpy as np
import pytest

from segnet.data.augment.strong import StrongView, draw_box, hue_rotation
from segnet.errors import ConfigError


def crop(channels=3, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 256, (12, 10, channels)).astype(dtype)


def test_a_third_of_the_color_circle_turns_red_into_green_and_leaves_gray():
    turned = np.array([[200.0, 0, 0], [0, 200, 0], [90, 90, 90]], np.float32) @ hue_rotation(120)
    np.testing.assert_allclose(turned, [[0, 200, 0], [0, 0, 200], [90, 90, 90]], atol=1e-3)


@pytest.mark.parametrize(("channels", "dtype"), [(3, np.uint8), (1, np.uint8), (5, np.float32)])
def test_views_differ_keep_type_and_range_and_follow_their_generator(channels, dtype):
    image, strong = crop(channels, dtype), StrongView(0.5)
    views = [strong(image, np.random.default_rng(seed)) for seed in (1, 2, 1)]
    assert np.array_equal(views[0], views[2])
    assert not np.array_equal(views[0], views[1])
    for view in views:
        assert (view.dtype, view.shape) == (image.dtype, image.shape)
        assert view.min() >= 0
        assert view.max() <= 255
    assert np.array_equal(image, crop(channels, dtype))


def test_without_strength_a_view_is_a_copy():
    image = crop()
    view = StrongView(0.0)(image, np.random.default_rng(0))
    assert np.array_equal(view, image)
    assert not np.shares_memory(view, image)


def test_boxes_lie_within_the_crop_with_areas_of_2_to_40_percent():
    rng = np.random.default_rng(0)
    boxes = np.array([draw_box(rng, 60, 90, 1.0) for _ in range(300)])
    top, bottom, left, right = boxes.T
    assert (top >= 0).all()
    assert (bottom <= 60).all()
    assert (left >= 0).all()
    assert (right <= 90).all()
    areas = (bottom - top) * (right - left) / (60 * 90)
    assert 0.01 < areas.min() < 0.05
    assert 0.3 < areas.max() <= 0.4
    drawn = [draw_box(rng, 60, 90, 0.3).any() for _ in range(1000)]
    assert 0.25 < np.mean(drawn) < 0.35


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_impossible_strengths_are_refused(strength):
    with pytest.raises(ConfigError, match=r"consistency\.color_jitter=.* must be between 0 and 1"):
        StrongView(strength)

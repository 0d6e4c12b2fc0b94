"""Scaling of stored values to 0-255."""

import numpy as np
import pytest

from segnet.errors import ConfigError, DataError
from segnet.images.values import ValueRangeError, checked_value_range, clipping_warning, full_scale, scaled


@pytest.mark.parametrize(
    ("kind", "bits", "white"),
    [("u", 1, 1), ("u", 8, 255), ("u", 12, 4095), ("u", 16, 65535), ("u", 32, 65535), ("i", 8, 127), ("f", 32, 1)],
)
def test_the_value_of_white_depends_on_the_dtype(kind, bits, white):
    assert full_scale(kind, bits) == white


def test_a_value_range_maps_to_0_to_255_and_clips():
    values = np.array([[[0, 100, 150], [200, 300, 65535]]], np.uint16)
    result = scaled(values, 65535, "a", (100, 300), to_uint8=True)
    assert (result.dtype, result.ravel().tolist()) == (np.uint8, [0, 0, 64, 128, 255, 255])
    precise = scaled(values, 65535, "a", (100, 300))
    np.testing.assert_allclose(precise.ravel(), [0, 0, 63.75, 127.5, 255, 255])
    assert precise.dtype == np.float32


def test_negative_values_need_a_value_range():
    values = np.array([[[-40.0], [10.0], [60.0]]], np.float32)
    with pytest.raises(ValueRangeError, match=r"-40 to 60 are outside 0-1: set dataset\.value_range") as caught:
        scaled(values, 1, "a.tif")
    assert (caught.value.low, caught.value.high) == (-40, 60)
    assert scaled(values, 1, "a.tif", (-40, 60)).ravel().tolist() == [0, 127.5, 255]


def test_an_image_that_cannot_reach_the_value_range_is_refused():
    with pytest.raises(DataError, match="values reach 255, but"):
        scaled(np.zeros((2, 2, 3), np.uint8), 255, "a.png", (0, 4095))


@pytest.mark.parametrize("value_range", [[5], [1, 2, 3], [3, 3], [4, 1], [0, float("nan")], ["a", 2], [True, 2]])
def test_impossible_value_ranges_are_refused(value_range):
    with pytest.raises(ConfigError, match=r"dataset\.value_range"):
        checked_value_range(value_range)


def test_scaling_in_chunks_gives_equal_results():
    values = np.arange(3_000_000, dtype=np.uint16).reshape(1500, 2000, 1)
    np.testing.assert_array_equal(scaled(values, 65535, "a", to_uint8=True), np.round(values / 257))


@pytest.mark.parametrize(
    ("stored", "value_range", "warns"),
    [
        ([-3, 9.75], (2, 224), True),
        ([-9, -3], (2, 224), True),
        ([500, 900], (2, 224), True),
        ([-3, 120], (2, 224), False),
        ([2, 2], (2, 224), False),
        ([224, 224], (2, 224), False),
        ([100, 101], (2, 224), False),
        ([-3, 999], (2, 224), False),
        ([0, 0], None, False),
    ],
)
@pytest.mark.parametrize("to_uint8", [True, False])
def test_an_image_clipped_to_one_color_gives_a_warning(stored, value_range, warns, to_uint8):
    values = np.array([[stored]], np.float32)
    image = scaled(values, 1000, "a", value_range, to_uint8)
    text = clipping_warning(image.min().item(), image.max().item(), value_range, lambda: values)
    low, high = stored
    expected = f"its values {low:g} to {high:g} become one color in the model's value_range [2, 224]: is it"
    assert text.startswith(expected) if warns else text == ""

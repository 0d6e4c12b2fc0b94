"""Run lengths of brush labels: encoded as label-studio-sdk writes them, and decoded again."""

import numpy as np
import pytest
from difficult_masks import difficult_masks

from segnet.data.datasets.brush_runs import decode_brush, encode_brush


def test_encoded_pixels_are_decoded():
    for mask in difficult_masks(3):
        area = mask == 1
        np.testing.assert_array_equal(decode_brush(encode_brush(area), area.shape, ""), area)


# Output of mask2rle in label_studio_sdk/converter/brush.py 2.1.2 for these pixels.
@pytest.mark.parametrize(
    ("area", "expected"),
    [
        ([[True]], [0, 0, 0, 4, 57, 27, 252, 127, 224]),
        ([[False, True, True], [False, False, True]], [0, 0, 0, 24, 57, 27, 252, 96, 19, 255, 206, 1, 31, 248]),
    ],
)
def test_the_bytes_are_those_of_label_studio(area, expected):
    assert encode_brush(np.array(area)) == expected


def test_runs_longer_than_a_packet_are_split():
    area = np.zeros((200, 250), bool)
    area[100:, 3:] = True
    area[:80] = True
    np.testing.assert_array_equal(decode_brush(encode_brush(area), area.shape, ""), area)

"""The warning about integer images that fill little of their range."""

import numpy as np
import pytest
from PIL import Image

from segnet.images.bands import read_bands
from segnet.images.little_range import LittleRange


def write(path, dtype, top):
    values = np.linspace(0, top, 48).reshape(6, 8).astype(dtype)
    Image.fromarray(values).save(path)
    return path


def warning(path, channels=3, value_range=None):
    return LittleRange(value_range).warning(path, read_bands(path, channels, value_range))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "dtype"), [("a.png", np.uint16), ("a.tif", np.uint16), ("a.tif", np.int32)])
def test_12_bit_values_in_a_deeper_file_are_named_with_the_option(tmp_path, name, dtype, channels):
    text = warning(write(tmp_path / name, dtype, 4095), channels)
    assert "4095 of 65535" in text
    assert '"dataset.value_range=[0,4095]"' in text


@pytest.mark.parametrize(
    ("name", "dtype", "top"),
    [("a.png", np.uint16, 60000), ("a.png", np.uint8, 15), ("a.tif", np.uint8, 15), ("a.tif", np.float32, 0.1)],
)
def test_bright_8_bit_and_float_images_do_not_warn(tmp_path, name, dtype, top):
    assert warning(write(tmp_path / name, dtype, top)) == ""


def test_a_model_with_a_value_range_does_not_warn(tmp_path):
    assert warning(write(tmp_path / "a.png", np.uint16, 4095), value_range=(0, 40950)) == ""


def test_only_the_first_image_warns(tmp_path):
    path = write(tmp_path / "a.png", np.uint16, 4095)
    warnings = LittleRange(None)
    image = read_bands(path, 3)
    assert warnings.warning(path, image)
    assert not warnings.warning(path, image)

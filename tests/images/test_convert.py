"""Paths, arrays, tensors and Pillow images give equal results."""

import numpy as np
import pytest
import torch
from PIL import Image

from segnet.errors import DataError
from segnet.images.bands import read_bands
from segnet.images.convert import as_bands

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GRAY = RGB[..., 0]


def test_all_input_types_give_the_same_image(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    forms = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        Image.open(tmp_path / "a.png"),
        RGB,
        np.dstack([RGB, np.full((5, 7), 99, np.uint8)]),
        RGB.astype(np.uint16) * 257,
        RGB.astype(np.float32) / 255,
        RGB / 255,
        torch.from_numpy(RGB).permute(2, 0, 1),
        torch.from_numpy(RGB).permute(2, 0, 1) / 255,
        RGB[::-1, ::-1][::-1, ::-1],
    ]
    for form in forms:
        image = as_bands(form, 3)
        assert (image.dtype, image.shape) == (np.uint8, (5, 7, 3))
        np.testing.assert_array_equal(image, RGB)


@pytest.mark.parametrize(
    "gray",
    [GRAY, GRAY[..., None], torch.from_numpy(GRAY), torch.from_numpy(GRAY)[None], Image.fromarray(GRAY), GRAY / 255],
    ids=range(6),
)
def test_grayscale_becomes_rgb_for_rgb_models(gray):
    np.testing.assert_array_equal(as_bands(gray, 3), np.repeat(GRAY[..., None], 3, axis=2))


def test_rgb_becomes_grayscale_for_grayscale_models(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    expected = read_bands(tmp_path / "a.png", 1)
    np.testing.assert_array_equal(as_bands(RGB, 1), expected)
    np.testing.assert_array_equal(as_bands(Image.fromarray(RGB), 1), expected)


def test_other_bands_keep_their_precision():
    values = np.random.default_rng(1).integers(0, 65536, (4, 6, 5), dtype=np.uint16)
    image = as_bands(values, 5)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, values / 257, rtol=1e-6)
    np.testing.assert_allclose(as_bands(torch.from_numpy(values / 65535).permute(2, 0, 1), 5), image, rtol=1e-5)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(as_bands(Image.open(tmp_path / "a.png"), 3), np.rot90(RGB, -1))


@pytest.mark.parametrize(
    ("image", "channels", "message"),
    [
        (np.zeros((2, 3, 4, 5), np.uint8), 3, r"of shape \(2, 3, 4, 5\)"),
        (np.zeros((0, 3, 3), np.uint8), 3, r"of shape \(0, 3, 3\)"),
        (np.zeros((3, 40, 50), np.uint8), 3, r"has 50 channels \(of shape \(3, 40, 50\)\), but the model takes 3"),
        (np.zeros((4, 4, 3), np.uint8), 5, "has 3 channels"),
        (np.zeros((4, 4, 3), np.int64), 3, "of type int64"),
        (np.full((4, 4, 3), 255.0), 3, "255 to 255 are outside 0-1"),
        (np.full((4, 4, 5), 90, np.float32), 5, "90 to 90 are outside 0-1.*Predictor.segment"),
        (np.full((4, 4, 3), np.nan), 3, "outside 0-1"),
        ([[1, 2]], 3, "a list is neither"),
        (None, 3, "a NoneType is neither"),
        ("none.png", 3, r"none\.png: no such file"),
    ],
    ids=range(11),
)
def test_invalid_images_are_reported_in_one_line(image, channels, message):
    with pytest.raises(DataError, match=message) as error:
        as_bands(image, channels)
    assert "\n" not in str(error.value)


def test_a_truncated_image_is_reported(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="damaged or cut off"):
        as_bands(Image.open(tmp_path / "a.png"), 3)

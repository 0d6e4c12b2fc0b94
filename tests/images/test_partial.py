"""Parts of images and masks are those of the whole files, and unusual files are left to the readers of whole files."""

import numpy as np
import pytest
from image_files import ORIENTATION, noise, refusal, saved
from PIL import Image

from segnet.errors import DataError
from segnet.images.files import read_image
from segnet.images.masks import read_mask
from segnet.images.partial import lazy_ids, lazy_rgb

PARTS = [
    (slice(0, 60), slice(0, 80)),
    (slice(13, 41), slice(30, 67)),
    (slice(59, 60), slice(79, 80)),
    (slice(5), slice(7, None)),
]


def rotated(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.jpg", {"quality": 90}), ("a.jpg", {"subsampling": 0}), ("a.jpg", {"exif": rotated(1)}), ("a.png", {})],
    ids=["quality", "subsampling", "exif", "png"],
)
def test_parts_of_images_are_those_of_the_whole(tmp_path, name, options):
    path = saved(tmp_path / name, noise(60, 80, 3), **options)
    lazy, whole = lazy_rgb(path), read_image(path)
    assert (lazy.shape, lazy.dtype) == (whole.shape, whole.dtype)
    for part in PARTS:
        np.testing.assert_array_equal(lazy[part], whole[part])


def test_gray_jpegs_become_rgb(tmp_path):
    path = saved(tmp_path / "a.jpg", noise(60, 80))
    np.testing.assert_array_equal(lazy_rgb(path)[PARTS[1]], read_image(path)[PARTS[1]])


def test_parts_of_masks_are_those_of_the_whole(tmp_path):
    path = saved(tmp_path / "a.png", np.repeat(noise(6, 8, top=19), 10, axis=0).repeat(10, axis=1))
    lazy, whole = lazy_ids(path), read_mask(path)
    assert (lazy.shape, lazy.dtype) == (whole.shape, whole.dtype)
    for part in PARTS:
        np.testing.assert_array_equal(lazy[part], whole[part])


@pytest.mark.parametrize(
    ("name", "image", "options"),
    [
        ("a.jpg", Image.fromarray(noise(60, 80, 3)), {"exif": rotated(6)}),
        ("a.jpg", Image.fromarray(noise(60, 80, 3)), {"progressive": True}),
        ("a.jpg", Image.fromarray(noise(60, 80, 4), mode="CMYK"), {}),
        ("a.png", Image.fromarray(noise(60, 80, 3)), {"exif": rotated(6)}),
        ("a.png", Image.fromarray(noise(60, 80, dtype=np.uint16, top=65536)), {}),
        ("a.png", Image.fromarray(noise(60, 80)), {}),
        ("a.webp", Image.fromarray(noise(60, 80, 3)), {}),
        ("a.tif", Image.fromarray(noise(60, 80, 3)), {}),
    ],
    ids=["rotated", "progressive", "cmyk", "rotated-png", "deep", "gray-png", "webp", "tiff"],
)
def test_other_images_are_read_as_a_whole(tmp_path, name, image, options):
    path = saved(tmp_path / name, image, **options)
    assert lazy_rgb(path) is None
    read_image(path)


def test_cut_off_files_are_left_to_the_reader_that_refuses_them(tmp_path):
    for name in ("a.jpg", "a.png"):
        path = saved(tmp_path / name, noise(60, 80, 3))
        path.write_bytes(path.read_bytes()[:-400])
        assert lazy_rgb(path) is None
        assert "cut off" in refusal(read_image, path)


def test_missing_and_too_large_files_are_refused(tmp_path, monkeypatch):
    assert "no such file" in refusal(lazy_rgb, tmp_path / "none.jpg")
    paths = [saved(tmp_path / name, noise(60, 80, 3)) for name in ("a.jpg", "a.png")]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for path in paths:
        with pytest.raises(DataError, match="larger than"):
            lazy_rgb(path)


def test_damaged_jpegs_are_read_or_refused_as_whole_files_are(tmp_path):
    path = saved(tmp_path / "a.jpg", noise(60, 80, 3))
    data, rng = path.read_bytes(), np.random.default_rng(0)
    start, compared = data.index(b"\xff\xda") + 14, 0
    for _ in range(60):
        place, value = int(rng.integers(start, len(data))), int(rng.integers(256))
        path.write_bytes(data[:place] + bytes([value]) + data[place + 1 :])
        try:
            whole = read_image(path)
        except DataError:
            with pytest.raises(DataError):
                read_image(path) if (lazy := lazy_rgb(path)) is None else lazy[PARTS[0]]
            continue
        lazy = lazy_rgb(path)
        if lazy is not None:
            np.testing.assert_array_equal(lazy[PARTS[1]], whole[PARTS[1]])
            compared += 1
    assert compared > 20

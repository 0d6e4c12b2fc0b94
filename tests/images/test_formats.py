"""Supported formats: Pillow knows each file extension, and HEIC needs its extra."""

import importlib.util

import numpy as np
import pytest
from image_files import refusal
from PIL import Image, features

from segnet.images.files import read_image
from segnet.images.formats import EXTENSIONS, IMAGE_FORMATS, LOSSY_SUFFIXES, MASK_FORMATS, image_suffixes, is_heif
from segnet.images.header import read_header

SMOOTH = np.add.outer(np.arange(32), np.arange(48))[..., None].repeat(3, axis=2).astype(np.uint8) * 2


def test_each_format_has_its_extensions():
    assert set(EXTENSIONS) == set(IMAGE_FORMATS)
    assert all(suffix == suffix.lower() for suffix in image_suffixes())
    assert {".jfif", ".jpe", ".avif", ".tif", ".jp2"} <= image_suffixes()
    assert not LOSSY_SUFFIXES & {suffix for name in MASK_FORMATS for suffix in EXTENSIONS[name]}


@pytest.mark.parametrize("name", [name for name in IMAGE_FORMATS if name != "AVIF" or features.check("avif")])
def test_each_format_is_read_by_its_content(tmp_path, name):
    for suffix in (EXTENSIONS[name][0], ".png", ".dat"):
        path = tmp_path / f"a{suffix}"
        with open(path, "wb") as file:
            Image.fromarray(SMOOTH).save(file, name)
        assert np.abs(read_image(path).astype(int) - SMOOTH).mean() < 6
        header = read_header(path)
        assert (header.format, header.height, header.width) == (name, 32, 48)


def test_heic_without_its_decoder_names_the_extra(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    assert is_heif((tmp_path / "a.heic").read_bytes()[:12])
    message = refusal(read_image, tmp_path / "a.heic")
    if importlib.util.find_spec("pillow_heif") is None:
        assert message.endswith('is a HEIC image: pip install "segnet[heif]"')
        assert ".heic" not in image_suffixes()


def test_heic_is_read_with_its_decoder(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is an optional package, and not installed")
    pillow_heif.from_pillow(Image.fromarray(SMOOTH)).save(tmp_path / "a.heic", quality=90)
    assert np.abs(read_image(tmp_path / "a.heic").astype(int) - SMOOTH).mean() < 6
    assert read_header(tmp_path / "a.heic").format == "HEIF"
    assert ".heic" in image_suffixes()

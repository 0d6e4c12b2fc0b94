"""Headers: size and memory of an image, and limits before decoding."""

import numpy as np
import pytest
from image_files import GRAY, bmp_bytes, noise, png_bytes, refusal, saved
from PIL import Image, PngImagePlugin

from segnet.images.bands import read_bands
from segnet.images.files import read_image
from segnet.images.header import has_world_file, read_header
from segnet.images.masks import read_mask


@pytest.mark.parametrize(
    ("name", "mode", "num_bands", "num_bytes"),
    [
        ("a.png", "RGB", 3, 3 * 6 * 9),
        ("a.png", "RGBA", 4, 4 * 6 * 9),
        ("a.png", "I;16", 1, 2 * 6 * 9),
        ("a.tif", "RGB", 3, 3 * 6 * 9),
        ("a.tif", "F", 1, 4 * 6 * 9),
        ("a.bmp", "L", 1, 6 * 9),
        ("a.webp", "RGB", 3, 3 * 6 * 9),
    ],
)
def test_headers_contain_size_bands_and_bytes(tmp_path, name, mode, num_bands, num_bytes):
    header = read_header(saved(tmp_path / name, Image.new(mode, (9, 6))))
    assert (header.height, header.width, header.num_bands, header.num_bytes) == (6, 9, num_bands, num_bytes)
    assert header.num_pixels == 6 * 9
    assert header.num_pages == 1


def test_pages_and_frames_are_counted(tmp_path):
    images = [Image.fromarray(noise(8, 8) + np.uint8(number)) for number in range(3)]
    for name in ("a.tif", "a.gif", "a.png"):
        saved(tmp_path / name, images[0], save_all=True, append_images=images[1:])
        assert read_header(tmp_path / name).num_pages == 3, name


def test_the_size_of_large_float_images_is_known_before_decoding(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    values = np.zeros((3000, 4000, 3), np.float32)
    tifffile.imwrite(tmp_path / "a.tif", values, compression="zlib", photometric="rgb", tile=(256, 256))
    assert (tmp_path / "a.tif").stat().st_size < 300_000
    header = read_header(tmp_path / "a.tif")
    assert (header.num_pixels, header.num_bytes) == (12_000_000, values.nbytes)


@pytest.mark.parametrize("read", [read_image, read_mask, read_header, lambda path: read_bands(path, 5)])
@pytest.mark.parametrize("kind", ["tif", "png"])
def test_images_above_the_limit_are_refused_by_their_header(tmp_path, monkeypatch, read, kind):
    tifffile = pytest.importorskip("tifffile")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5_000)
    path = tmp_path / f"a.{kind}"
    if kind == "tif":
        tifffile.imwrite(path, np.zeros((200, 200), np.float32))
    else:
        path.write_bytes(png_bytes(200, 200, 8, GRAY, [b""]))
    assert "larger than 0 megapixels" in refusal(read, path)


@pytest.mark.parametrize("read", [read_image, read_mask, read_header, lambda path: read_bands(path, 4)])
def test_images_without_pixels_are_refused(tmp_path, read):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 6), np.uint8), metadata=None)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    for tag in (256, 257):  # width, height
        entry = tag.to_bytes(2, "little")
        place = content.index(entry, content.index(b"\0\x01", 8) - 1)
        damaged = bytearray(content)
        damaged[place + 8 : place + 12] = bytes(4)
        (tmp_path / "b.tif").write_bytes(damaged)
        assert "pixels" in refusal(read, tmp_path / "b.tif")
    for name, empty in (("c.png", png_bytes(0, 5, 8, GRAY, [b""])), ("d.bmp", bmp_bytes(np.zeros((5, 0), int), 8, []))):
        (tmp_path / name).write_bytes(empty)
        refusal(read, tmp_path / name)


def test_compressed_text_chunks_allocate_no_memory(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "a" * 50_000_000, zip=True)
    path = saved(tmp_path / "a.png", noise(8, 8), pnginfo=info)
    assert path.stat().st_size < 100_000
    assert "cannot be decoded" in refusal(read_image, path)


@pytest.mark.parametrize(("image", "world"), [("a.tif", "a.tfw"), ("a.jpg", "a.jgw"), ("a.png", "a.wld")])
def test_world_files_are_detected(tmp_path, image, world):
    assert not has_world_file(tmp_path / image)
    (tmp_path / world).write_text("1\n0\n0\n-1\n0\n0\n")
    assert has_world_file(tmp_path / image)

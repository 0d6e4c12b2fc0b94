"""Reading images as RGB: every file becomes RGB or is refused by name."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from image_files import GRAY, ORIENTATION, RGB, UPRIGHT, as_rgb, indexed, noise, png_bytes, refusal, saved
from PIL import Image

from segnet.images.files import read_image, write_image, write_mask
from segnet.images.masks import read_mask


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "a.bmp"])
def test_lossless_rgb_is_read_unchanged(tmp_path, name):
    pixels = noise(11, 7, 3)
    options = {"lossless": True} if name.endswith("webp") else {}
    np.testing.assert_array_equal(read_image(saved(tmp_path / name, pixels, **options)), pixels)


def test_jpeg_is_read_nearly_unchanged(tmp_path):
    pixels = np.full((16, 24, 3), (200, 100, 50), np.uint8)
    np.testing.assert_allclose(read_image(saved(tmp_path / "a.jpg", pixels, quality=95)).astype(int), pixels, atol=4)


def test_mpo_gives_its_first_image(tmp_path):
    first, second = Image.new("RGB", (16, 8), (200, 0, 0)), Image.new("RGB", (16, 8), (0, 0, 200))
    saved(tmp_path / "a.mpo", first, save_all=True, append_images=[second])
    (tmp_path / "a.mpo").rename(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg")[..., 0].min() > 190


def every_mode() -> dict[str, tuple[Image.Image, str]]:
    gray = Image.fromarray(noise(5, 9))
    color = Image.fromarray(noise(5, 9, 3))
    alpha = Image.fromarray(noise(5, 9) // 2)
    bilevel = Image.fromarray(noise(5, 9, top=2).astype(bool))
    palette = indexed(noise(5, 9, top=7), noise(7, 3))
    cmyk = Image.fromarray(noise(5, 9, 4), mode="CMYK")
    return {
        "gray": (gray, "png"),
        "gray with alpha": (Image.merge("LA", (gray, alpha)), "png"),
        "rgb": (color, "png"),
        "rgb with alpha": (Image.merge("RGBA", (*color.split(), alpha)), "png"),
        "bilevel": (bilevel, "png"),
        "palette": (palette, "png"),
        "palette in gif": (palette, "gif"),
        "cmyk": (cmyk, "tif"),
        "gray tiff": (gray, "tif"),
        "gray bmp": (gray, "bmp"),
    }


@pytest.mark.parametrize("kind", list(every_mode()))
def test_every_mode_becomes_contiguous_writable_rgb(tmp_path, kind):
    pillow_image, suffix = every_mode()[kind]
    image = read_image(saved(tmp_path / f"a.{suffix}", pillow_image))
    assert (image.dtype, image.shape) == (np.uint8, (5, 9, 3))
    assert image.flags.c_contiguous
    assert image.flags.writeable
    np.testing.assert_allclose(image.astype(int), as_rgb(pillow_image), atol=1 if kind == "cmyk" else 0)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_gray_is_scaled_and_not_clipped(tmp_path, suffix):
    values = np.array([[0, 128, 129, 255, 256, 32768, 65535]], np.uint16)
    image = read_image(saved(tmp_path / f"a.{suffix}", values))
    np.testing.assert_array_equal(image[0], np.repeat(np.array([0, 0, 1, 1, 1, 128, 255])[:, None], 3, axis=1))
    assert image.flags.writeable


def test_big_endian_16_bit_tiff_is_scaled(tmp_path):
    image = read_image(saved(tmp_path / "a.tif", np.array([[0, 32768, 65535]], ">u2")))
    assert image[0, :, 0].tolist() == [0, 128, 255]


def test_16_bit_rgb_is_scaled(tmp_path):
    values = np.array([[[0, 1000, 65535], [32768, 256, 60000]]], ">u2")
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(2, 1, 16, RGB, [values.tobytes()]))
    np.testing.assert_allclose(read_image(path), values / 257, atol=1)


def test_32_bit_integers_are_scaled_like_16_bit_ones(tmp_path):
    image = read_image(saved(tmp_path / "a.tif", np.array([[0, 32768, 65535]], np.int32)))
    assert image[0, :, 1].tolist() == [0, 128, 255]


def test_floats_are_scaled_from_0_to_1(tmp_path):
    image = read_image(saved(tmp_path / "a.tif", np.array([[0, 0.5, 1]], np.float32)))
    assert image[0, :, 2].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.array([[0, 300]], np.float32), "0 to 300 are outside 0-1:"),
        (np.array([[-0.1, 1]], np.float32), "-0.1 to 1 are outside 0-1:"),
        (np.array([[0, np.nan]], np.float32), "contains NaN or infinity (1 pixels)"),
        (np.array([[0, np.inf]], np.float32), "contains NaN or infinity (1 pixels)"),
        (np.array([[0, 65536]], np.int32), "0 to 65536 are outside 0-65535:"),
        (np.array([[-1, 5]], np.int32), "-1 to 5 are outside 0-65535:"),
    ],
)
def test_values_out_of_range_are_refused(tmp_path, values, reason):
    assert reason in refusal(read_image, saved(tmp_path / "a.tif", values))


@pytest.mark.parametrize("orientation", list(UPRIGHT))
@pytest.mark.parametrize("mode", ["rgb", "16-bit gray"])
def test_exif_orientation_is_applied(tmp_path, orientation, mode):
    stored = noise(4, 6, 3) if mode == "rgb" else noise(4, 6, top=65536, dtype=np.uint16)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = read_image(saved(tmp_path / "a.png", stored, exif=exif))
    eight_bits = stored if mode == "rgb" else np.repeat(np.round(stored / 257).astype(np.uint8)[..., None], 3, axis=2)
    np.testing.assert_array_equal(image, UPRIGHT[orientation](eight_bits))


def test_exif_orientation_of_jpeg_is_applied(tmp_path):
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:, 16:] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image = read_image(saved(tmp_path / "a.jpg", stored, exif=exif))
    assert image.shape == (32, 16, 3)
    assert image[:14].max() < 20
    assert image[18:].min() > 235


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 20])
def test_damaged_exif_is_ignored(tmp_path, exif):
    image = read_image(saved(tmp_path / "a.jpg", np.full((8, 8, 3), 128, np.uint8), exif=exif))
    assert abs(image.astype(int) - 128).max() <= 2


def test_gif_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "lime", "blue")]
    path = saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    with Image.open(path) as pillow_image:
        assert pillow_image.n_frames == 3
    np.testing.assert_array_equal(read_image(path), np.broadcast_to((255, 0, 0), (4, 6, 3)))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.bmp", "a.webp"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.95])
def test_truncated_files_are_refused(tmp_path, name, kept):
    path = saved(tmp_path / name, noise(40, 40, 3))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    refusal(read_image, path)


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_damaged_png_is_refused(tmp_path, read):
    path = saved(tmp_path / "a.png", noise(40, 40))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert "damaged" in refusal(read, path)


@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty (0 bytes)"),
        (b"not an image\n" * 20, "is not an image in one of these formats"),
        (None, "no such file"),
    ],
)
def test_other_files_are_refused(tmp_path, read, content, reason):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    assert reason in refusal(read, path)


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_folder_is_refused(tmp_path, read):
    (tmp_path / "a.png").mkdir()
    assert "is a folder" in refusal(read, tmp_path / "a.png")


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_a_decompression_bomb_is_refused_from_its_header(tmp_path, read):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_bytes(100_000, 100_000, 8, GRAY, [b""]))
    assert "megapixels" in refusal(read, path)


def test_formats_that_are_not_listed_are_not_opened(tmp_path):
    saved(tmp_path / "a.pcx", noise(4, 4, 3))
    (tmp_path / "a.pcx").rename(tmp_path / "a.png")
    assert "is not an image in one of these formats" in refusal(read_image, tmp_path / "a.png")


@pytest.mark.parametrize("name", [b"a b.png", b"a\nb.png", "ä漢字🙂.png".encode(), b"caf\xe9.png"])
def test_any_file_name_works(tmp_path, name):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    pixels = noise(4, 5, 3)
    write_image(path, pixels)
    np.testing.assert_array_equal(read_image(path), pixels)
    write_mask(path, pixels[..., 0] % 3, [(1, 2, 3)] * 3)
    np.testing.assert_array_equal(read_mask(path), pixels[..., 0] % 3)
    assert [os.fsencode(file) for file in os.listdir(tmp_path)] == [name]


def test_png_can_be_read_in_a_fresh_process(tmp_path):
    """Pillow loads its plugins lazily: a fresh process knows fewer formats."""
    for suffix in ("png", "tif", "webp", "gif"):
        path = saved(tmp_path / f"a.{suffix}", noise(4, 5))
        command = "import sys; from segnet.images.files import read_image; print(read_image(sys.argv[1]).shape)"
        result = subprocess.run(
            [sys.executable, "-c", command, str(path)], capture_output=True, text=True, cwd=Path(__file__).parents[2]
        )
        assert result.stdout == "(4, 5, 3)\n", result.stderr

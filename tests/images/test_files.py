"""Reading and writing pictures: every kind of file ends as RGB or as ids, or is refused with its name."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.errors import DataError, MachineError
from segnet.images.files import read_image, read_mask, read_mask_colors, write_image, write_mask
from segnet.system.files import replacing

RNG_SEED = 7
GRAY, RGB, PALETTE, GRAY_ALPHA = 0, 2, 3, 4  # PNG's color types
ORIENTATION = 0x0112  # EXIF tag


def noise(*shape: int, top: int = 256, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(RNG_SEED).integers(0, top, shape).astype(dtype)


def png_bytes(width: int, height: int, depth: int, color_type: int, rows: list[bytes], palette: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    colors = chunk(b"PLTE", palette) if palette else b""
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + colors + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def packed(row: np.ndarray, depth: int) -> bytes:
    """Ids as PNG stores them: `depth` bits each, from the left, the last byte filled up."""
    bits = np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
    return np.packbits(bits.ravel()).tobytes()


def saved(path: Path, pixels: np.ndarray | Image.Image, **options: object) -> Path:
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(path, **options)
    return path


def indexed(ids: np.ndarray, colors: np.ndarray) -> Image.Image:
    picture = Image.fromarray(ids)
    picture.putpalette(colors.ravel().tolist())
    return picture


def refusal(read: object, path: Path | str) -> str:
    """The message of the DataError with which `read` refuses `path`; checks what all of them have in common."""
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# Images


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "a.bmp"])
def test_lossless_rgb_comes_back_unchanged(tmp_path, name):
    pixels = noise(11, 7, 3)
    options = {"lossless": True} if name.endswith("webp") else {}
    np.testing.assert_array_equal(read_image(saved(tmp_path / name, pixels, **options)), pixels)


def test_jpeg_comes_back_nearly_unchanged(tmp_path):
    pixels = np.full((16, 24, 3), (200, 100, 50), np.uint8)
    np.testing.assert_allclose(read_image(saved(tmp_path / "a.jpg", pixels, quality=95)).astype(int), pixels, atol=4)


def test_mpo_of_stereo_cameras_gives_its_first_picture(tmp_path):
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


def as_rgb(picture: Image.Image) -> np.ndarray:
    """What RGB means for each mode, by numpy."""
    values = np.asarray(picture)
    if picture.mode == "1":
        return np.repeat(255 * values.astype(np.uint8)[..., None], 3, axis=2)
    if picture.mode == "L":
        return np.repeat(values[..., None], 3, axis=2)
    if picture.mode == "LA":
        return np.repeat(values[..., :1], 3, axis=2)
    if picture.mode == "P":
        return np.array(picture.getpalette(), np.uint8).reshape(-1, 3)[values]
    if picture.mode == "CMYK":
        ink = values.astype(float) / 255
        return np.round(255 * (1 - ink[..., :3]) * (1 - ink[..., 3:])).astype(np.uint8)
    return values[..., :3]


@pytest.mark.parametrize("kind", list(every_mode()))
def test_every_mode_becomes_contiguous_writable_rgb(tmp_path, kind):
    picture, suffix = every_mode()[kind]
    image = read_image(saved(tmp_path / f"a.{suffix}", picture))
    assert (image.dtype, image.shape) == (np.uint8, (5, 9, 3))
    assert image.flags.c_contiguous
    assert image.flags.writeable
    np.testing.assert_allclose(image.astype(int), as_rgb(picture), atol=1 if kind == "cmyk" else 0)


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
    ("values", "rule"),
    [
        (np.array([[0, 300]], np.float32), "0-1"),
        (np.array([[-0.1, 1]], np.float32), "0-1"),
        (np.array([[0, np.nan]], np.float32), "0-1"),
        (np.array([[0, np.inf]], np.float32), "0-1"),
        (np.array([[0, 65536]], np.int32), "0-65535"),
        (np.array([[-1, 5]], np.int32), "0-65535"),
    ],
)
def test_values_without_a_rule_are_refused(tmp_path, values, rule):
    message = refusal(read_image, saved(tmp_path / "a.tif", values))
    assert f"outside {rule}:" in message


UPRIGHT = {  # EXIF orientation -> how stored pixels become the displayed ones
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", list(UPRIGHT))
@pytest.mark.parametrize("mode", ["rgb", "16-bit gray"])
def test_exif_orientation_gives_the_upright_picture(tmp_path, orientation, mode):
    stored = noise(4, 6, 3) if mode == "rgb" else noise(4, 6, top=65536, dtype=np.uint16)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = read_image(saved(tmp_path / "a.png", stored, exif=exif))
    eight_bits = stored if mode == "rgb" else np.repeat(np.round(stored / 257).astype(np.uint8)[..., None], 3, axis=2)
    np.testing.assert_array_equal(image, UPRIGHT[orientation](eight_bits))


@pytest.mark.parametrize("orientation", list(UPRIGHT))
def test_mask_is_turned_like_its_image(tmp_path, orientation):
    stored = noise(4, 6, top=5)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    np.testing.assert_array_equal(read_mask(saved(tmp_path / "a.png", stored, exif=exif)), UPRIGHT[orientation](stored))


def test_exif_orientation_of_jpeg_counts(tmp_path):
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:, 16:] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image = read_image(saved(tmp_path / "a.jpg", stored, exif=exif))
    assert image.shape == (32, 16, 3)
    assert image[:14].max() < 20
    assert image[18:].min() > 235


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 20])
def test_damaged_exif_does_not_keep_a_picture_from_being_read(tmp_path, exif):
    image = read_image(saved(tmp_path / "a.jpg", np.full((8, 8, 3), 128, np.uint8), exif=exif))
    assert abs(image.astype(int) - 128).max() <= 2


def test_gif_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "lime", "blue")]
    path = saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    with Image.open(path) as picture:
        assert picture.n_frames == 3
    np.testing.assert_array_equal(read_image(path), np.broadcast_to((255, 0, 0), (4, 6, 3)))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.bmp", "a.webp"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.95])
def test_cut_off_files_are_refused(tmp_path, name, kept):
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
    [(b"", "is empty (0 bytes)"), (b"not a picture\n" * 20, "is not a picture in one of"), (None, "no such file")],
)
def test_what_is_no_picture_is_refused(tmp_path, read, content, reason):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    assert reason in refusal(read, path)


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_folder_is_refused(tmp_path, read):
    (tmp_path / "a.png").mkdir()
    assert "is a folder" in refusal(read, tmp_path / "a.png")


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_decompression_bomb_is_refused_by_its_header(tmp_path, read):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_bytes(100_000, 100_000, 8, GRAY, [b""]))
    assert "megapixels" in refusal(read, path)


def test_formats_that_are_not_listed_are_not_opened(tmp_path):
    saved(tmp_path / "a.ppm", noise(4, 4, 3))
    (tmp_path / "a.ppm").rename(tmp_path / "a.png")
    assert "is not a picture in one of" in refusal(read_image, tmp_path / "a.png")


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
    """Pillow loads its plugins one after the other: a process that has opened nothing yet knows fewer formats."""
    for suffix in ("png", "tif", "webp", "gif"):
        path = saved(tmp_path / f"a.{suffix}", noise(4, 5))
        command = "import sys; from segnet.images.files import read_image; print(read_image(sys.argv[1]).shape)"
        result = subprocess.run(
            [sys.executable, "-c", command, str(path)], capture_output=True, text=True, cwd=Path(__file__).parents[2]
        )
        assert result.stdout == "(4, 5, 3)\n", result.stderr


# Masks


@pytest.mark.parametrize(
    ("name", "dtype", "top"),
    [
        ("a.png", np.uint8, 256),
        ("a.bmp", np.uint8, 256),
        ("a.tif", np.uint8, 256),
        ("a.png", np.uint16, 65536),
        ("a.tif", np.uint16, 65536),
        ("a.tif", np.int32, 70000),
    ],
)
def test_gray_ids_come_back_as_they_are(tmp_path, name, dtype, top):
    ids = noise(9, 13, top=top, dtype=dtype)
    ids.flat[:2] = 0, top - 1
    mask = read_mask(saved(tmp_path / name, ids))
    assert mask.dtype == dtype
    np.testing.assert_array_equal(mask, ids)


@pytest.mark.parametrize("width", [8, 5, 1])
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("color_type", [GRAY, PALETTE])
def test_png_of_few_bits_a_pixel_gives_its_ids(tmp_path, color_type, depth, width):
    ids = noise(6, width, top=2**depth)
    ids[:2, 0] = 0, 2**depth - 1
    colors = noise(2**depth, 3).tobytes() if color_type == PALETTE else b""
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(width, 6, depth, color_type, [packed(row, depth) for row in ids], colors))
    mask = read_mask(path)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, ids)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_palette_gives_indices_and_not_colors(tmp_path, suffix):
    ids = noise(6, 7, top=40)
    path = saved(tmp_path / f"a.{suffix}", indexed(ids, noise(40, 3)))
    np.testing.assert_array_equal(read_mask(path), ids)


def test_ids_of_any_type_are_writable(tmp_path):
    for name, ids in (("l.png", noise(3, 4)), ("p.png", indexed(noise(3, 4, top=3), noise(3, 3)))):
        assert read_mask(saved(tmp_path / name, ids)).flags.writeable


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_gray_saved_as_colors_gives_its_ids(tmp_path, mode):
    ids = noise(6, 7, top=12)
    path = saved(tmp_path / "a.png", Image.fromarray(ids).convert(mode))
    np.testing.assert_array_equal(read_mask(path), ids)


def test_color_coded_mask_is_refused_with_its_colors(tmp_path):
    colors = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)]
    path = saved(tmp_path / "a.png", np.array([colors], np.uint8))
    message = refusal(read_mask, path)
    assert "(0, 0, 0), (0, 0, 128), (0, 128, 0), (0, 128, 128), (128, 0, 0) " in message
    assert "and 2 more" in message


@pytest.mark.parametrize(("color_type", "channels"), [(RGB, 3), (6, 4), (GRAY_ALPHA, 2)])
def test_16_bit_colors_are_refused_because_their_ids_would_be_lost(tmp_path, color_type, channels):
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(2, 1, 16, color_type, [np.full(2 * channels, 3, ">u2").tobytes()]))
    assert "16-bit colors" in refusal(read_mask, path)


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "gif", "webp"])
def test_formats_that_change_labels_are_refused(tmp_path, suffix):
    path = saved(tmp_path / f"a.{suffix}", noise(8, 8, top=3))
    assert "does not keep label values" in refusal(read_mask, path)


@pytest.mark.parametrize("read", [read_mask, read_mask_colors])
def test_jpeg_inside_tiff_is_refused_as_mask(tmp_path, read):
    path = saved(tmp_path / "a.tif", noise(16, 16, 3), compression="jpeg")
    assert "JPEG compression inside" in refusal(read, path)
    assert read_image(path).shape == (16, 16, 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "1"])
def test_colors_of_a_mask_are_those_it_shows(tmp_path, mode):
    picture = {
        "RGB": Image.fromarray(noise(5, 6, 3)),
        "RGBA": Image.fromarray(noise(5, 6, 4)),
        "P": indexed(noise(5, 6, top=9), noise(9, 3)),
        "L": Image.fromarray(noise(5, 6)),
        "1": Image.fromarray(noise(5, 6, top=2).astype(bool)),
    }[mode]
    colors = read_mask_colors(saved(tmp_path / "a.png", picture))
    assert colors.dtype == np.uint8
    np.testing.assert_array_equal(colors, as_rgb(picture))


def test_colors_of_more_than_8_bits_are_refused(tmp_path):
    assert "holds no colors of 8 bits" in refusal(
        read_mask_colors, saved(tmp_path / "a.png", noise(3, 3, dtype=np.uint16))
    )


def test_colors_are_turned_as_exif_says(tmp_path):
    stored = noise(4, 6, 3)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = saved(tmp_path / "a.png", stored, exif=exif)
    np.testing.assert_array_equal(read_mask_colors(path), UPRIGHT[6](stored))


def test_jpeg_named_png_is_refused_as_mask(tmp_path):
    saved(tmp_path / "a.jpg", noise(8, 8, top=3)).rename(tmp_path / "a.png")
    assert "is not a picture in one of: PNG, TIFF, BMP" in refusal(read_mask, tmp_path / "a.png")


@pytest.mark.parametrize(("pixels", "mode"), [(np.zeros((3, 3), np.float32), "F"), (noise(3, 3, 4), "CMYK")])
def test_modes_without_ids_are_refused(tmp_path, pixels, mode):
    path = saved(tmp_path / "a.tif", Image.fromarray(pixels, mode=mode))
    assert f"mode {mode}" in refusal(read_mask, path)


# Writing


def test_mask_is_written_as_indexed_png_in_the_palette(tmp_path):
    palette = [(10, 20, 30), (40, 50, 60), (70, 80, 90)]
    ids = noise(6, 7, top=3)
    write_mask(tmp_path / "new" / "folder" / "a.png", ids, palette)
    with Image.open(tmp_path / "new" / "folder" / "a.png") as picture:
        assert (picture.format, picture.mode) == ("PNG", "P")
        assert picture.getpalette()[:9] == [10, 20, 30, 40, 50, 60, 70, 80, 90]
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), np.array(palette, np.uint8)[ids])
    np.testing.assert_array_equal(read_mask(tmp_path / "new" / "folder" / "a.png"), ids)


@pytest.mark.parametrize("num_classes", [1, 2, 3, 4, 5, 16, 17, 255, 256])
@pytest.mark.parametrize("top", ["last class", 255])
def test_written_ids_come_back_for_any_number_of_classes(tmp_path, num_classes, top):
    ids = noise(5, 7, top=num_classes)
    ids[0, 0] = num_classes - 1 if top == "last class" else 255
    write_mask(tmp_path / "a.png", ids, noise(num_classes, 3).tolist())
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), ids)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_more_than_256_classes_give_16_bits(tmp_path, dtype):
    ids = noise(5, 7, top=300, dtype=dtype)
    ids[0, 0] = 299
    write_mask(tmp_path / "a.png", ids, noise(300, 3).tolist())
    mask = read_mask(tmp_path / "a.png")
    assert mask.dtype == np.uint16
    np.testing.assert_array_equal(mask, ids)


def test_existing_file_is_replaced(tmp_path):
    for value in (1, 2):
        write_image(tmp_path / "a.png", np.full((3, 3, 3), value, np.uint8))
    assert read_image(tmp_path / "a.png").max() == 2
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("bug"), KeyboardInterrupt()])
def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "a.png"
    target.write_bytes(b"old")

    def write() -> None:
        with replacing(target) as temporary:
            temporary.write_bytes(b"half of the new")
            assert target.read_bytes() == b"old"
            raise error

    disk = isinstance(error, OSError)
    with pytest.raises(MachineError if disk else type(error)) as caught:
        write()
    assert not disk or str(caught.value) == f"{target}: cannot be written (No space left on device)"
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


def test_picture_that_cannot_be_saved_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    with pytest.raises(MachineError, match="cannot write mode F"):
        write_image(target, np.zeros((2, 2), np.float32))
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


def test_folder_below_a_file_is_a_machine_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MachineError, match="cannot be written") as caught:
        write_mask(tmp_path / "file" / "a.png", noise(3, 3, top=2), [(0, 0, 0)] * 2)
    assert str(tmp_path / "file" / "a.png") in str(caught.value)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_mask(tmp_path / "a.png", noise(3, 3, top=2), [(0, 0, 0)] * 2)
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o666 & ~umask

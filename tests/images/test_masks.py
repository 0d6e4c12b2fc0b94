"""Reading masks: ids are the stored values in every format and layout."""

import numpy as np
import pytest
from image_files import (
    GRAY,
    GRAY_ALPHA,
    ORIENTATION,
    PALETTE,
    RGB,
    UPRIGHT,
    as_rgb,
    bmp_bytes,
    indexed,
    noise,
    packed,
    png_bytes,
    refusal,
    saved,
)
from PIL import Image

from segnet.images.files import read_image
from segnet.images.masks import (
    code_to_rgb,
    distinct_colors,
    read_label_values,
    read_mask,
    read_mask_colors,
    rgb_to_code,
)


@pytest.mark.parametrize("orientation", list(UPRIGHT))
def test_masks_are_rotated_like_their_image(tmp_path, orientation):
    stored = noise(4, 6, top=5)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    np.testing.assert_array_equal(read_mask(saved(tmp_path / "a.png", stored, exif=exif)), UPRIGHT[orientation](stored))


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
def test_grayscale_ids_are_read_unchanged(tmp_path, name, dtype, top):
    ids = noise(9, 13, top=top, dtype=dtype)
    ids.flat[:2] = 0, top - 1
    mask = read_mask(saved(tmp_path / name, ids))
    assert mask.dtype == dtype
    np.testing.assert_array_equal(mask, ids)


@pytest.mark.parametrize("width", [8, 5, 1])
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("color_type", [GRAY, PALETTE])
def test_png_with_few_bits_per_pixel_gives_its_ids(tmp_path, color_type, depth, width):
    ids = noise(6, width, top=2**depth)
    ids[:2, 0] = 0, 2**depth - 1
    colors = noise(2**depth, 3).tobytes() if color_type == PALETTE else b""
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(width, 6, depth, color_type, [packed(row, depth) for row in ids], colors))
    mask = read_mask(path)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, ids)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_palette_masks_give_indices(tmp_path, suffix):
    ids = noise(6, 7, top=40)
    path = saved(tmp_path / f"a.{suffix}", indexed(ids, noise(40, 3)))
    np.testing.assert_array_equal(read_mask(path), ids)


def test_ids_of_any_type_are_writable(tmp_path):
    for name, ids in (("l.png", noise(3, 4)), ("p.png", indexed(noise(3, 4, top=3), noise(3, 3)))):
        assert read_mask(saved(tmp_path / name, ids)).flags.writeable


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_grayscale_saved_as_rgb_gives_its_ids(tmp_path, mode):
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
def test_16_bit_grayscale_saved_as_rgb_gives_its_ids(tmp_path, color_type, channels):
    ids = np.array([[3, 700]])
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(2, 1, 16, color_type, [np.repeat(ids, channels).astype(">u2").tobytes()]))
    np.testing.assert_array_equal(read_mask(path), ids)


def test_colors_of_16_bits_are_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(2, 1, 16, RGB, [np.arange(6, dtype=">u2").tobytes()]))
    assert "uint16 colors are not class ids" in refusal(read_mask, path)


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "gif", "webp"])
def test_lossy_formats_are_refused(tmp_path, suffix):
    path = saved(tmp_path / f"a.{suffix}", noise(8, 8, top=3))
    assert "does not keep label values" in refusal(read_mask, path)


@pytest.mark.parametrize("read", [read_mask, read_mask_colors])
def test_jpeg_inside_tiff_is_refused_as_mask(tmp_path, read):
    path = saved(tmp_path / "a.tif", noise(16, 16, 3), compression="jpeg")
    assert "JPEG compression inside" in refusal(read, path)
    assert read_image(path).shape == (16, 16, 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "1"])
def test_colors_of_a_mask_are_the_displayed_ones(tmp_path, mode):
    pillow_image = {
        "RGB": Image.fromarray(noise(5, 6, 3)),
        "RGBA": Image.fromarray(noise(5, 6, 4)),
        "P": indexed(noise(5, 6, top=9), noise(9, 3)),
        "L": Image.fromarray(noise(5, 6)),
        "1": Image.fromarray(noise(5, 6, top=2).astype(bool)),
    }[mode]
    colors = read_mask_colors(saved(tmp_path / "a.png", pillow_image))
    assert colors.dtype == np.uint8
    np.testing.assert_array_equal(colors, as_rgb(pillow_image))


def test_colors_of_more_than_8_bits_are_refused(tmp_path):
    assert "has no 8-bit colors" in refusal(read_mask_colors, saved(tmp_path / "a.png", noise(3, 3, dtype=np.uint16)))


def test_exif_orientation_applies_to_colors(tmp_path):
    stored = noise(4, 6, 3)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = saved(tmp_path / "a.png", stored, exif=exif)
    np.testing.assert_array_equal(read_mask_colors(path), UPRIGHT[6](stored))


def test_jpeg_named_png_is_refused_as_mask(tmp_path):
    saved(tmp_path / "a.jpg", noise(8, 8, top=3)).rename(tmp_path / "a.png")
    assert "is not an image in one of these formats: PNG, TIFF, BMP" in refusal(read_mask, tmp_path / "a.png")


def test_cmyk_is_refused(tmp_path):
    path = saved(tmp_path / "a.tif", Image.fromarray(noise(3, 3, 4), mode="CMYK"))
    assert "CMYK mask has no class ids" in refusal(read_mask, path)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int16, np.uint32, np.int64])
def test_whole_numbers_of_any_type_are_ids(tmp_path, dtype):
    tifffile = pytest.importorskip("tifffile")
    ids = noise(6, 7, top=100)
    tifffile.imwrite(tmp_path / "a.tif", ids.astype(dtype))
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), ids)


def test_fractions_are_refused_and_counted(tmp_path):
    ids = np.zeros((4, 5), np.float32)
    ids[0, :2], ids[3, 3] = 0.5, 1.25
    message = refusal(read_mask, saved(tmp_path / "a.tif", ids))
    assert "label 0.5 (2 pixels), 1.25 (1 pixels) is not a whole number" in message


def test_infinity_is_refused_as_label(tmp_path):
    assert "label inf (4 pixels)" in refusal(read_mask, saved(tmp_path / "a.tif", np.full((2, 2), np.inf, np.float32)))


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("float32", "nan"), ("float32", "-9999"), ("int16", "-9999"), ("uint8", "0"), ("float64", "0")],
)
def test_pixels_without_data_are_reported(tmp_path, dtype, nodata):
    tifffile = pytest.importorskip("tifffile")
    stored = noise(6, 7, top=3).astype(dtype) + 1
    stored = stored.astype(dtype)
    stored[2, 1:4] = float(nodata)
    tag = (42113, "s", 0, nodata, True)  # GDAL_NODATA
    tifffile.imwrite(tmp_path / "a.tif", stored, extratags=[tag])
    found = read_label_values(tmp_path / "a.tif")
    assert np.argwhere(found.no_data).tolist() == [[2, 1], [2, 2], [2, 3]]
    assert "3 pixels have no data" in refusal(read_mask, tmp_path / "a.tif")
    if nodata == "0":  # the user declares it a label
        assert read_label_values(tmp_path / "a.tif", kept={0}).no_data is None


def test_a_nodata_value_outside_of_the_dtype_is_ignored(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    ids = noise(6, 7, top=256)
    tifffile.imwrite(tmp_path / "a.tif", ids, extratags=[(42113, "s", 0, "-9999", True)])
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), ids)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_min_is_white_tiffs_give_stored_ids(tmp_path, dtype):
    tifffile = pytest.importorskip("tifffile")
    ids = noise(6, 7, top=3).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", ids, photometric="miniswhite")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), ids)
    if dtype == "uint8":
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 0], 255 - ids)
        np.testing.assert_array_equal(read_mask_colors(tmp_path / "a.tif")[..., 1], 255 - ids)


@pytest.mark.parametrize("compression", ["raw", "group4", "tiff_lzw", "packbits", "tiff_adobe_deflate"])
@pytest.mark.parametrize("photometric", [0, 1])
def test_bilevel_tiffs_give_stored_bits(tmp_path, compression, photometric):
    shown = noise(9, 13, top=2).astype(bool)
    options = {} if compression == "raw" else {"compression": compression}
    path = saved(tmp_path / "a.tif", Image.fromarray(shown), tiffinfo={262: photometric}, **options)
    with Image.open(path) as image:
        stored = np.asarray(image) if image.tag_v2[262] == 1 else ~np.asarray(image)
    np.testing.assert_array_equal(read_mask(path), stored)


@pytest.mark.parametrize(
    "colors", [[(0, 0, 0), (255, 255, 255)], [(255, 255, 255), (0, 0, 0)], [(9, 9, 9), (200, 0, 0)]]
)
@pytest.mark.parametrize("depth", [1, 4, 8])
def test_bmp_with_a_palette_of_two_gives_its_indices(tmp_path, depth, colors):
    ids = noise(5, 9, top=2)
    path = tmp_path / "a.bmp"
    path.write_bytes(bmp_bytes(ids, depth, colors))
    np.testing.assert_array_equal(read_mask(path), ids)
    expected = np.array(colors, np.uint8)[ids]
    np.testing.assert_array_equal(read_image(path), expected)
    np.testing.assert_array_equal(read_mask_colors(path), expected)


def test_a_palette_with_transparency_gives_its_indices(tmp_path):
    ids = noise(5, 9, top=4)
    path = saved(tmp_path / "a.png", indexed(ids, noise(4, 3)), transparency=0)
    np.testing.assert_array_equal(read_mask(path), ids)


def test_several_pages_are_refused_as_mask_and_counted(tmp_path):
    pages = [Image.fromarray(noise(4, 4, top=3)) for _ in range(3)]
    path = saved(tmp_path / "a.tif", pages[0], save_all=True, append_images=pages[1:])
    assert "has 3 pages" in refusal(read_mask, path)
    path = saved(tmp_path / "a.png", pages[0], save_all=True, append_images=pages[1:2])
    assert "frames" in refusal(read_mask, path)


def test_distinct_colors_of_a_large_mask_are_found_fast():
    colors = noise(1000, 3)
    image = colors[np.random.default_rng(0).integers(0, 1000, (1024, 512))]
    codes = distinct_colors(image)
    assert codes.tolist() == sorted({int(code) for code in rgb_to_code(colors)})
    assert [code_to_rgb(code) for code in codes[:2]] == [
        tuple(map(int, color)) for color in np.unique(colors, axis=0)[:2]
    ]

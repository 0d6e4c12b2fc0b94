"""Images without three channels: values are scaled by dtype."""

import importlib.util
import struct

import numpy as np
import pytest
from PIL import Image

from segnet.errors import DataError
from segnet.images.bands import displayable, nodata_pixels, read_bands
from segnet.images.files import read_image


def noise(*shape: int, dtype: type = np.uint8, top: float = 256) -> np.ndarray:
    return (np.random.default_rng(5).random(shape) * top).astype(dtype)


def test_three_channels_match_read_image(tmp_path):
    Image.fromarray(noise(5, 7)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_bands(tmp_path / "a.png", 3), read_image(tmp_path / "a.png"))


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "P"])
def test_any_image_can_be_read_as_grayscale(tmp_path, mode):
    pillow_image = Image.fromarray(noise(5, 7)).convert(mode)
    pillow_image.save(tmp_path / "a.png")
    image = read_bands(tmp_path / "a.png", 1)
    assert (image.shape, image.dtype) == ((5, 7, 1), np.uint8)
    np.testing.assert_array_equal(image[..., 0], np.asarray(pillow_image.convert("L")))


def test_16_bit_grayscale_keeps_its_precision(tmp_path):
    values = noise(5, 7, dtype=np.uint16, top=65536)
    Image.fromarray(values).save(tmp_path / "a.png")
    image = read_bands(tmp_path / "a.png", 1)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image[..., 0], values / 257, rtol=1e-6)


def test_exif_orientation_applies_to_grayscale_and_alpha(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode, channels in (("L", 1), ("RGBA", 4), ("I;16", 1)):
        values = noise(4, 6, dtype=np.uint16) if mode == "I;16" else noise(4, 6, 4)
        pillow_image = Image.fromarray(values) if mode != "L" else Image.fromarray(values[..., 0])
        pillow_image.save(tmp_path / "a.png", exif=exif)
        assert read_bands(tmp_path / "a.png", channels).shape == (6, 4, channels)


def test_alpha_is_a_fourth_channel(tmp_path):
    values = noise(5, 7, 4)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_bands(tmp_path / "a.png", 4), values)


@pytest.mark.parametrize("channels", [2, 4, 8])
def test_channel_mismatch_names_both_numbers(tmp_path, channels):
    Image.fromarray(noise(5, 7, 3)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=f"has 3 channels, but {channels} are expected") as caught:
        read_bands(tmp_path / "a.png", channels)
    assert str(tmp_path / "a.png") in str(caught.value)


def test_multi_band_images_are_shown_by_three_stretched_bands():
    image = np.stack([np.linspace(0, scale, 400).reshape(20, 20) for scale in (1, 255, 0.01, 7)], axis=-1)
    shown = displayable(image.astype(np.float32))
    assert (shown.shape, shown.dtype) == ((20, 20, 3), np.uint8)
    for band in range(3):
        assert (shown[0, 0, band], shown[-1, -1, band]) == (0, 255)
    gray = displayable(noise(6, 6, 1))
    assert gray.shape == (6, 6, 3)
    rgb = noise(6, 6, 3)
    assert displayable(rgb) is rgb


class TestWithTifffile:
    @pytest.fixture
    def tifffile(self):
        return pytest.importorskip("tifffile", reason="tifffile is an optional package, and not installed")

    @pytest.mark.parametrize("bands", [2, 4, 8, 13])
    @pytest.mark.parametrize("planar", ["contig", "separate"])
    @pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 256), (np.uint16, 65536), (np.float32, 1.5)])
    def test_bands_keep_their_order_and_are_scaled_by_dtype(self, tmp_path, tifffile, bands, planar, dtype, top):
        values = noise(9, 11, bands, dtype=dtype, top=top)
        stored = values if planar == "contig" else values.transpose(2, 0, 1)
        tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", planarconfig=planar)
        image = read_bands(tmp_path / "a.tif", bands)
        full = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]
        assert image.dtype == (np.uint8 if dtype is np.uint8 else np.float32)
        np.testing.assert_allclose(image, values.astype(float) * 255 / full, rtol=1e-6)

    def test_compressed_tiles_are_read(self, tmp_path, tifffile):
        values = noise(40, 50, 4, dtype=np.uint16, top=3000)
        tifffile.imwrite(
            tmp_path / "a.tif",
            values,
            photometric="minisblack",
            planarconfig="contig",
            tile=(16, 16),
            compression="zlib",
        )
        np.testing.assert_allclose(read_bands(tmp_path / "a.tif", 4) * 257, values, atol=0.01)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (np.zeros((5, 6, 5), np.uint16), "has 5 bands, but 4 are expected"),
            (np.full((5, 6, 4), -3, np.int16), "int16 values -3 to -3 are outside 0-65535"),
            (np.full((5, 6, 4), np.nan, np.float32), "contains NaN or infinity"),
        ],
    )
    def test_unsuitable_images_are_refused(self, tmp_path, tifffile, values, message):
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", planarconfig="contig")
        with pytest.raises(DataError, match=message):
            read_bands(tmp_path / "a.tif", 4)

    @pytest.mark.parametrize("planarconfig", ["contig", "separate"])
    @pytest.mark.parametrize(
        ("dtype", "top", "factor"),
        [(np.float32, 1, 255), (np.float64, 1, 255), (np.uint16, 65535, 1 / 257), (np.uint8, 255, 1)],
    )
    def test_rgb_tiffs_of_any_dtype_become_uint8_rgb(self, tmp_path, tifffile, planarconfig, dtype, top, factor):
        values = noise(5, 7, 3, dtype=dtype, top=top)
        stored = values if planarconfig == "contig" else np.moveaxis(values, -1, 0)
        tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planarconfig, compression="zlib")
        image = read_bands(tmp_path / "a.tif", 3)
        assert image.dtype == np.uint8
        assert np.abs(image - values * factor).max() <= 1  # Pillow truncates 16 bits, segnet rounds

    @pytest.mark.parametrize("wrong", [-0.1, 1.5])
    def test_float_colors_outside_of_0_to_1_are_refused(self, tmp_path, tifffile, wrong):
        values = noise(5, 7, 3, dtype=np.float32, top=1)
        values[2, 3, 1] = wrong
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
        with pytest.raises(DataError, match="are outside 0-1"):
            read_bands(tmp_path / "a.tif", 3)

    def test_a_text_file_named_tif_is_refused(self, tmp_path):
        (tmp_path / "a.tif").write_text("hello")
        with pytest.raises(DataError, match="is not an image in one of these formats"):
            read_bands(tmp_path / "a.tif", 3)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_multi_band_tiff_is_not_reduced_to_its_first_band(self, tmp_path, tifffile, channels):
        values = noise(4, 9, 11, dtype=np.uint16)
        tifffile.imwrite(
            tmp_path / "a.tif", values, photometric="minisblack", planarconfig="separate", compression="zlib"
        )
        with Image.open(tmp_path / "a.tif") as pillow_image:
            assert len(pillow_image.getbands()) == 1  # Pillow would
        with pytest.raises(DataError, match=r"has 4 bands, .*: set dataset\.channels=4 and backbone\.in_channels=4"):
            read_bands(tmp_path / "a.tif", channels)

    def test_damaged_and_missing_files_are_named(self, tmp_path, tifffile):
        with pytest.raises(DataError, match="no such file"):
            read_bands(tmp_path / "a.tif", 4)
        (tmp_path / "a.tif").write_bytes(b"II*\0nonsense")
        with pytest.raises(DataError, match="cannot be decoded"):
            read_bands(tmp_path / "a.tif", 4)
        values = noise(64, 64, 4)
        tifffile.imwrite(
            tmp_path / "a.tif", values, photometric="minisblack", planarconfig="contig", compression="zlib"
        )
        whole = (tmp_path / "a.tif").read_bytes()
        (tmp_path / "a.tif").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match="cannot be decoded"):
            read_bands(tmp_path / "a.tif", 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("compression", "name"), [(34712, "JPEG 2000"), (34887, "LERC"), (50001, "WebP"), (65000, "65000")]
)
def test_rare_compressions_name_the_required_extra(tmp_path, monkeypatch, capfd, dtype, compression, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    path = tmp_path / "a.tif"
    Image.fromarray(np.zeros((4, 5), dtype)).save(path)
    entry = struct.pack("<HHI", 259, 3, 1)  # the tag Compression: one SHORT
    content = path.read_bytes()
    place = content.index(entry) + len(entry)
    path.write_bytes(content[:place] + struct.pack("<H", compression) + content[place + 2 :])
    with pytest.raises(DataError, match=rf'TIFF compression {name} with .* needs pip install "segnet\[multiband\]"'):
        read_bands(path, 1)
    assert capfd.readouterr().err == ""  # no output of libtiff


def test_complex_numbers_are_refused(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", np.ones((4, 5), np.complex64))
    for read in (read_image, lambda path: read_bands(path, 1)):
        with pytest.raises(DataError, match=r"a\.tif: holds complex numbers: save their magnitude"):
            read(tmp_path / "a.tif")


LOWEST = float(np.finfo(np.float32).min)


@pytest.mark.parametrize(
    ("pixels", "text", "expected"),
    [
        (np.float32([[LOWEST, 1.0]]), "-3.40282346638529e+38", [[True, False]]),  # as GDAL writes it: rounded
        (np.float32([[-9999, 1.0]]), "-9999", [[True, False]]),
        (np.uint16([[0, 7]]), "-9999", None),
        (np.uint16([[0, 7]]), "7", [[False, True]]),
        (np.uint16([[[0, 7, 1], [7, 7, 7], [1, 1, 1]]]), "7", [[True, True, False]]),
        (np.uint8([[[0, 7, 1], [7, 7, 7], [1, 1, 1]]]), "7", [[False, True, False]]),
        (np.uint8([[[7, 7, 7, 255], [1, 1, 1, 7]]]), "7", [[True, False]]),
        (np.uint16([[0, 7]]), "no number", None),
    ],
)
def test_pixels_of_the_declared_nodata_value_are_found(tmp_path, pixels, text, expected):
    tifffile = pytest.importorskip("tifffile")
    more = {"extrasamples": ["unassalpha"]} if pixels.shape[2:] == (4,) else {}
    kind = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=kind, extratags=[(42113, "s", 0, text, True)], **more)
    found = nodata_pixels(tmp_path / "a.tif", 3)
    assert (found if found is None else found.tolist()) == expected


def test_formats_other_than_tiff_declare_no_nodata(tmp_path):
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / "a.png")
    assert nodata_pixels(tmp_path / "a.png", 3) is None

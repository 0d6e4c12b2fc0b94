"""Scenes are read in windows, and masks keep the georeference."""

import sys

import numpy as np
import pytest

from segnet.classes import Classes
from segnet.errors import DataError, MachineError
from segnet.images.geotiff import opened, segment_scene
from segnet.images.little_range import LittleRange
from segnet.images.windows import Window, grid

CLASSES = Classes.create(["water", "wood", "field"], [[0, 0, 200], [0, 120, 0], [200, 200, 0]])
PLACE = (0.5, 0, 399960, 0, -0.5, 5700000)  # affine transform with pixels of 0.5 m


def write(path, values: np.ndarray, **options):
    """Write (bands, H, W) as a tiled GeoTIFF in UTM zone 32."""
    rasterio = pytest.importorskip("rasterio", reason="rasterio is an optional package, and not installed")
    profile = {"count": values.shape[0], "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
    profile |= {"driver": "GTiff", "crs": "EPSG:32632", "transform": rasterio.Affine(*PLACE), "tiled": True}
    with rasterio.open(path, "w", **profile | {"blockxsize": 16, "blockysize": 16} | options) as file:
        file.write(values)
    return path


def by_parts(window, predict=lambda image: np.digitize(image[..., 0], [60, 170])):
    """A segmentation function that predicts tile by tile."""

    def segment(size, read, write):
        for part in grid(size, (window, window)):
            write(part, predict(read(part)))

    return segment, predict


def test_missing_rasterio_is_reported_with_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(MachineError, match=r'pip install "segnet\[geo\]"'), opened(tmp_path / "a.tif"):
        pass


class TestWithRasterio:
    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("rasterio", reason="rasterio is an optional package, and not installed")

    @pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
    def test_windows_are_scaled_by_dtype(self, tmp_path, dtype, full):
        values = (np.random.default_rng(0).random((4, 40, 50)) * full).astype(dtype)
        path = write(tmp_path / "a.tif", values)
        with opened(path) as scene:
            image, valid = scene.read(Window(7, 21, 13, 29), 4)
        expected = values[:, 7:20, 21:50].transpose(1, 2, 0).astype(float) * 255 / full
        np.testing.assert_allclose(image, expected, rtol=1e-6)
        assert valid.all()

    def test_complex_numbers_are_refused(self, tmp_path):
        path = write(tmp_path / "a.tif", np.ones((1, 16, 16), np.complex64))
        with opened(path) as scene, pytest.raises(DataError, match=r"a\.tif: holds complex numbers: save their"):
            scene.read(Window(0, 16, 0, 16), 3)

    def test_three_bands_become_uint8_rgb(self, tmp_path):
        values = (np.random.default_rng(0).random((3, 20, 20)) * 65535).astype(np.uint16)
        path = write(tmp_path / "a.tif", values)
        with opened(path) as scene:
            image, _ = scene.read(Window(0, 0, 20, 20), 3)
        assert image.dtype == np.uint8
        np.testing.assert_allclose(image, values.transpose(1, 2, 0) / 257, atol=0.5001)

    def test_colors_out_of_range_are_refused(self, tmp_path):
        path = write(tmp_path / "a.tif", np.full((3, 20, 20), 1.2, np.float32))
        with opened(path) as scene, pytest.raises(DataError, match="outside 0-1"):
            scene.read(Window(0, 0, 20, 20), 3)

    @pytest.mark.parametrize(("dtype", "nodata"), [(np.uint16, 0), (np.float32, np.nan)])
    def test_pixels_without_data_are_reported(self, tmp_path, dtype, nodata):
        values = np.full((2, 20, 20), 0.5 if dtype is np.float32 else 9, dtype)
        values[:, 3, 4] = nodata
        path = write(tmp_path / "a.tif", values, nodata=nodata)
        with opened(path) as scene:
            image, valid = scene.read(Window(2, 2, 10, 10), 2)
        assert np.argwhere(~valid).tolist() == [[1, 2]]
        assert np.isfinite(image).all()

    def test_alpha_is_the_data_mask_unless_read_as_a_band(self, tmp_path):
        values = np.random.default_rng(0).integers(1, 256, (4, 20, 20)).astype(np.uint8)
        values[3, 2, 5] = 0
        path = write(tmp_path / "a.tif", values)  # GDAL interprets the last of four bands as alpha
        with opened(path) as scene:
            image, valid = scene.read(Window(0, 0, 20, 20), 3)
            all_bands, all_valid = scene.read(Window(0, 0, 20, 20), 4)
        assert np.argwhere(~valid).tolist() == [[2, 5]]
        np.testing.assert_array_equal(image, values[:3].transpose(1, 2, 0))
        assert all_valid.all()
        np.testing.assert_array_equal(all_bands, values.transpose(1, 2, 0))

    def test_errors_name_the_file(self, tmp_path):
        with pytest.raises(DataError, match="no such file"), opened(tmp_path / "a.tif"):
            pass
        (tmp_path / "a.tif").write_bytes(b"II*\0nonsense")
        with pytest.raises(DataError, match="cannot be decoded: damaged"), opened(tmp_path / "a.tif"):
            pass
        path = write(tmp_path / "b.tif", np.zeros((5, 20, 20), np.uint8))
        with opened(path) as scene, pytest.raises(DataError, match="has 5 bands, but 4 are expected"):
            scene.read(Window(0, 0, 5, 5), 4)

    @pytest.mark.parametrize("window", [16, 37, 500])
    def test_the_mask_of_a_scene_has_its_georeference(self, tmp_path, window):
        import rasterio

        segment, predict = by_parts(window)
        values = np.random.default_rng(3).integers(0, 256, (1, 90, 70)).astype(np.uint8)
        values = np.maximum(values, 1)
        values[0, :6, 60:] = 0
        source = write(tmp_path / "scene.tif", values, nodata=0)
        segment_scene(segment, source, tmp_path / "mask.tif", CLASSES, 1)
        expected = predict(values[0, :, :, None])
        assert len(np.unique(expected)) == 3
        expected[:6, 60:] = 255
        with rasterio.open(tmp_path / "mask.tif") as mask, rasterio.open(source) as scene:
            np.testing.assert_array_equal(mask.read(1), expected)
            assert (mask.crs, mask.transform, mask.nodata) == (scene.crs, scene.transform, 255)
            assert mask.dtypes == ("uint8",)
            assert mask.colormap(1)[1] == (0, 120, 0, 255)

    @pytest.mark.parametrize(("top", "warns"), [(9.75, True), (120, False)])
    def test_a_scene_clipped_to_one_color_gives_a_warning(self, tmp_path, top, warns):
        values = np.random.default_rng(3).uniform(-3, top, (1, 40, 30)).astype(np.float32)
        values[0, 0, :3] = -3, top, -9999
        source = write(tmp_path / "scene.tif", values, nodata=-9999)
        segment, _ = by_parts(16, lambda image: np.zeros(image.shape[:2], np.uint8))
        text = segment_scene(segment, source, tmp_path / "mask.tif", CLASSES, 1, (2, 224))
        expected = (
            "its values -3 to 9.75 become one color in the model's value_range [2, 224]: is it another kind of image?"
        )
        assert text == (expected if warns else "")

    @pytest.mark.parametrize(("top", "value_range", "warns"), [(4095, None, 1), (60000, None, 0), (4095, (0, 4095), 0)])
    def test_a_scene_that_is_almost_black_gives_one_warning(self, tmp_path, top, value_range, warns):
        values = np.random.default_rng(3).integers(0, top + 1, (1, 40, 30)).astype(np.uint16)
        values[0, 0, :2] = top, 65535
        source = write(tmp_path / "scene.tif", values, nodata=65535)
        segment, _ = by_parts(16, lambda image: np.zeros(image.shape[:2], np.uint8))
        little = LittleRange(value_range)
        texts = [
            segment_scene(segment, source, tmp_path / "mask.tif", CLASSES, 1, value_range, little_range=little)
            for _ in range(2)
        ]
        assert texts[1] == ""
        assert texts[0].startswith("its largest value is 4095 of 65535") if warns else texts[0] == ""

    def test_more_than_256_classes_give_16_bits(self, tmp_path):
        import rasterio

        classes = Classes.create([f"c{index}" for index in range(300)], ignore_index=65535)
        source = write(tmp_path / "scene.tif", np.ones((1, 20, 20), np.uint8))
        segment, _ = by_parts(16, lambda image: np.full(image.shape[:2], 299))
        segment_scene(segment, source, tmp_path / "m.tif", classes, 1)
        with rasterio.open(tmp_path / "m.tif") as mask:
            assert (mask.dtypes[0], mask.read(1).max()) == ("uint16", 299)

    def test_a_failed_prediction_leaves_no_file(self, tmp_path):
        source = write(tmp_path / "scene.tif", np.ones((2, 20, 20), np.uint8))
        with pytest.raises(DataError, match="has 2 bands, but the model takes RGB"):
            segment_scene(by_parts(16)[0], source, tmp_path / "mask.tif", CLASSES, 3)
        assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]

"""The offset between a mask and its scene, in pixels of the scene."""

import numpy as np
import pytest

from segnet.images.placement import georeference, offset

rasterio = pytest.importorskip("rasterio", reason="rasterio is an optional package, and not installed")
from rasterio import Affine  # noqa: E402
from rasterio.control import GroundControlPoint  # noqa: E402

UTM = Affine(0.5, 0, 400000, 0, -0.5, 5700000)
DEGREES = Affine(4.5e-7, 0, 13, 0, -4.5e-7, 52)
ROTATED = Affine.translation(400000, 5700000) @ Affine.rotation(30) @ Affine.scale(2, -2)
POINTS = [GroundControlPoint(*corner) for corner in ((0, 0, 10, 50), (0, 50, 10.1, 50), (40, 0, 10, 49.9))]


@pytest.fixture
def opened(tmp_path):
    """A function that writes a raster of 40 x 50 pixels and opens it."""
    files = []

    def write(**options):
        path = tmp_path / f"{len(files)}.tif"
        with rasterio.open(path, "w", "GTiff", 50, 40, 1, dtype="uint8", **options) as file:
            file.write(np.zeros((1, 40, 50), np.uint8))
        files.append(rasterio.open(path))
        return files[-1]

    yield write
    for file in files:
        file.close()


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:4326", None])
@pytest.mark.parametrize("transform", [UTM, DEGREES, ROTATED, Affine(0.5, 0, 400000, 0, 0.5, 5700000)])
@pytest.mark.parametrize("shift", [0, 1e-4, 0.5, 2])
def test_the_offset_is_in_pixels_of_the_scene(opened, crs, transform, shift):
    place = {"crs": crs} if crs else {}
    scene = opened(transform=transform, **place)
    mask = opened(transform=transform @ Affine.translation(shift, 0), **place)
    assert offset(scene, mask) == pytest.approx(shift, abs=1e-3)


def test_a_bottom_up_grid_differs_from_a_top_down_grid(opened):
    flipped = Affine(0.5, 0, 400000, 0, 0.5, 5700000 - 20)
    assert offset(opened(transform=UTM), opened(transform=flipped)) == pytest.approx(40)


def test_another_pixel_size_is_an_offset(opened):
    assert offset(opened(transform=UTM), opened(transform=UTM @ Affine.scale(2))) == pytest.approx(50)


def test_equivalent_coordinate_systems_match(opened):
    scene = opened(transform=DEGREES, crs="EPSG:4326")
    assert offset(scene, opened(transform=DEGREES, crs="OGC:CRS84")) == pytest.approx(0, abs=1e-3)
    assert offset(scene, opened(transform=DEGREES, crs="EPSG:32632")) > 1000


def test_pixel_is_point_follows_gdal(opened, tmp_path):
    with rasterio.open(tmp_path / "p.tif", "w", "GTiff", 50, 40, 1, dtype="uint8", transform=UTM) as file:
        file.update_tags(AREA_OR_POINT="Point")
    with rasterio.open(tmp_path / "p.tif") as points:
        assert points.tags()["AREA_OR_POINT"] == "Point"
        assert offset(points, opened(transform=points.transform)) == pytest.approx(0, abs=1e-6)
        assert offset(points, opened(transform=points.transform @ Affine.translation(0.5, 0.5))) == pytest.approx(0.5)


def test_ground_control_points_are_compared(opened):
    scene = opened(gcps=POINTS, crs="EPSG:4326")
    moved = [GroundControlPoint(point.row, point.col, point.x + 0.004, point.y) for point in POINTS]
    assert offset(scene, opened(gcps=POINTS, crs="EPSG:4326")) == pytest.approx(0, abs=1e-6)
    assert offset(scene, opened(gcps=moved, crs="EPSG:4326")) == pytest.approx(2, abs=1e-6)


def test_rasters_without_georeference_cannot_be_compared(opened):
    assert offset(opened(transform=UTM), opened()) is None
    assert offset(opened(), opened()) is None
    assert offset(opened(gcps=POINTS, crs="EPSG:4326"), opened(transform=UTM)) is None
    assert offset(opened(transform=Affine(0, 0, 5, 0, 0, 5)), opened(transform=UTM)) is None


def test_a_georeference_can_be_written_to_a_new_file(opened):
    for options in (
        {"transform": UTM, "crs": "EPSG:32632"},
        {"gcps": POINTS, "crs": "EPSG:4326"},
        {"transform": ROTATED},
    ):
        place = georeference(opened(**options))
        assert set(place) == set(options)
        again = georeference(opened(**place))
        assert {key: str(value) for key, value in again.items()} == {key: str(value) for key, value in place.items()}

"""Scenes with masks as a dataset of windows."""

import numpy as np
import pytest

from segnet.data.datasets.geotiff import geotiff
from segnet.errors import ConfigError, DataError

rasterio = pytest.importorskip("rasterio", reason="rasterio is an optional package, and not installed")
NAMES = ["water", "wood", "field"]


def write(path, values: np.ndarray, left: float = 400000, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"count": values.shape[0], "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
    profile |= {"driver": "GTiff", "crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, left, 0, -10, 5700000)}
    with rasterio.open(path, "w", **profile | options) as file:
        file.write(values)


def write_scene(root, name: str, size: tuple[int, int] = (50, 70), bands: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(len(name))
    values = rng.integers(1, 3000, (bands, *size)).astype(np.uint16)
    mask = rng.integers(0, 3, (1, *size)).astype(np.uint8)
    write(root / "images" / f"{name}.tif", values, nodata=0)
    write(root / "masks" / f"{name}.tif", mask)
    return values, mask[0]


def test_windows_cover_the_scene_exactly(tmp_path):
    values, labels = write_scene(tmp_path, "train/a")
    dataset = geotiff(split="train", root=str(tmp_path), class_names=NAMES, channels=4, window=[32, 24])
    assert dataset.channels == 4
    assert len(dataset) == 6
    image, mask = np.zeros((50, 70, 4)), np.full((50, 70), 99)
    for index in range(len(dataset)):
        sample = dataset.load(index)
        top, left = (int(word) for word in (sample.name.split()[-3].rstrip(","), sample.name.split()[-1]))
        height, width = sample.mask.shape
        assert sample.image.shape == (height, width, 4)
        image[top : top + height, left : left + width] = sample.image
        mask[top : top + height, left : left + width] = sample.mask
    np.testing.assert_allclose(image, values.transpose(1, 2, 0) / 257, rtol=1e-6)
    np.testing.assert_array_equal(mask, labels)


def test_cache_keys_of_windows_differ_within_a_scene(tmp_path):
    write_scene(tmp_path, "train/a")
    dataset = geotiff(split="train", root=str(tmp_path), class_names=NAMES, channels=4, window=[32, 24])
    files = [tuple(dataset.files(index)) for index in range(len(dataset))]
    assert len(set(files)) == 6
    assert {file[:2] for file in files} == {tuple(tmp_path / kind / "train" / "a.tif" for kind in ("images", "masks"))}


def test_nodata_pixels_are_ignored_and_ids_are_mapped(tmp_path):
    values, labels = write_scene(tmp_path, "train/a", size=(20, 20))
    values[:, 5, 6] = 0
    write(tmp_path / "images" / "train" / "a.tif", values, nodata=0)
    options = {"channels": 4, "id_map": {0: 2, 1: "ignore", 2: "water"}}
    mask = geotiff(split="train", root=str(tmp_path), class_names=NAMES, **options).load(0).mask
    expected = np.array([2, 255, 0])[labels]
    expected[5, 6] = 255
    np.testing.assert_array_equal(mask, expected)


def test_splits_divide_scenes_not_windows(tmp_path):
    for name in ("a", "bb", "ccc", "dddd"):
        write_scene(tmp_path, name)
    train, val = (
        geotiff(split=s, root=str(tmp_path), class_names=NAMES, channels=4, window=[25, 35]) for s in ("train", "val")
    )
    assert (len(train), len(val)) == (12, 4)
    scenes = [{data.load(index).name.split(" at ")[0] for index in range(len(data))} for data in (train, val)]
    assert not scenes[0] & scenes[1]


def test_faults_are_named(tmp_path):
    write_scene(tmp_path, "train/a")
    path = tmp_path / "masks" / "train" / "a.tif"
    for mask, options, message in (
        (np.zeros((1, 50, 71), np.uint8), {}, "71 x 50 pixels, but its scene"),
        (np.zeros((2, 50, 70), np.uint8), {}, "has 2 bands: save class ids as a single band"),
        (np.zeros((1, 50, 70), np.uint8), {"left": 400010}, "its grid is offset from its scene"),
        (np.zeros((1, 50, 70), np.uint8), {"crs": "EPSG:32633"}, "its grid is offset from its scene"),
    ):
        write(path, mask, **options)
        with pytest.raises(DataError, match=message) as caught:
            geotiff(split="train", root=str(tmp_path), class_names=NAMES, channels=4)
        assert str(caught.value).startswith(str(path))
    write(path, np.full((1, 50, 70), 7, np.uint8))
    with pytest.raises(DataError, match=r"label 7 \(3,500 pixels\)"):
        geotiff(split="train", root=str(tmp_path), class_names=NAMES, channels=4).load(0)
    with pytest.raises(ConfigError, match=r"dataset\.window=\[0, 5\]"):
        geotiff(split="train", root=str(tmp_path), class_names=NAMES, channels=4, window=[0, 5])

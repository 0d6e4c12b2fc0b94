"""Band statistics, and the suggested value range for images that fill little of their range."""

import numpy as np
import pytest
from PIL import Image

from segnet.config import DataConfig
from segnet.data.datasets.folder import Folder
from segnet.data.scan.band_values import fill_little, measured, pooled, value_range_option
from segnet.errors import ConfigError
from segnet.verb_config import InspectConfig
from segnet.workflows.inspect import inspect


def write(root, top, dtype=np.uint16):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for number in range(2):
            for kind, values in (("images", rng.integers(0, top, (40, 50))), ("masks", rng.integers(0, 2, (40, 50)))):
                path = root / kind / split / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values.astype(dtype if kind == "images" else np.uint8)).save(path)
    return {"name": "folder", "root": str(root), "class_names": ["bg", "a"]}


def test_mean_and_standard_deviation_cover_all_pixels():
    images = [np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8) for seed in range(3)]
    values = pooled([measured(image) for image in images])
    every = np.stack(images).reshape(-1, 3) / 255
    np.testing.assert_allclose(values.mean, every.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(values.std, every.std(axis=0), rtol=1e-3)
    assert not values.is_little


def test_single_hot_pixels_do_not_extend_the_range():
    image = np.full((100, 100, 1), 3, np.uint8)
    image[0, 0] = 255
    assert pooled([measured(image)]).spread == 0
    assert fill_little(measured(image))


@pytest.mark.parametrize("alpha", [0, 200, 255])
def test_a_constant_band_is_divided_by_one(alpha):
    """A training refuses a standard deviation of 0, and that of rounded statistics would scale noise."""
    noise = np.random.default_rng(0).integers(100, 103, (30, 40, 1), np.uint8)
    values = pooled([measured(np.dstack([noise, np.full_like(noise, alpha)]))])
    assert values.divisors == [values.std[0], 1.0]
    assert 0.002 < values.std[0] < 0.005


@pytest.mark.parametrize("value", [0, 255])
def test_images_of_one_value_get_no_range_but_a_warning(tmp_path, value):
    spec = write(tmp_path, 2, np.uint8)
    for path in (tmp_path / "images").rglob("*.png"):
        Image.fromarray(np.full((40, 50), value, np.uint8)).save(path)
    warnings = inspect(InspectConfig(dataset=spec, num_images=0), tmp_path / "a").warnings
    expected = f"train: almost all pixels of all images have one value, {value / 255:g} of 1: check the files"
    assert [text for text in warnings if "fill little" in text or "one value" in text] == [expected]


def test_the_suggested_range_covers_all_images():
    assert value_range_option([[3.4, 99.2, 65535], [2.0, 80.0, 65535], []]) == '"dataset.value_range=[2,100]"'
    assert value_range_option([[-0.25, 0.125, 1]]) == '"dataset.value_range=[-0.25,0.125]"'
    assert value_range_option([]) == ""


def test_almost_black_16_bit_images_get_a_value_range_that_stretches_them(tmp_path):
    spec = write(tmp_path, 235)
    config = InspectConfig(dataset=spec, data=DataConfig(crop_size=[32, 32]), num_images=0)
    [warning] = [text for text in inspect(config, tmp_path / "a").warnings if "fill little" in text]
    assert 'set "dataset.value_range=[0,234]"' in warning
    config.dataset = {**spec, "value_range": [0, 234]}
    report = inspect(config, tmp_path / "b")
    assert not [text for text in report.warnings if "fill little" in text]
    assert max(report.splits[0].values.high) > 0.98


@pytest.mark.parametrize(("top", "dtype"), [(65536, np.uint16), (256, np.uint8)])
def test_full_ranges_get_no_suggestion(tmp_path, top, dtype):
    config = InspectConfig(dataset=write(tmp_path, top, dtype), data=DataConfig(crop_size=[32, 32]), num_images=0)
    assert not [text for text in inspect(config, tmp_path / "a").warnings if "fill little" in text]


def test_a_dataset_adopts_only_the_model_s_value_range(tmp_path):
    options = {key: value for key, value in write(tmp_path, 235).items() if key != "name"}
    dataset = Folder("val", **options)
    dataset.take_value_range((0.0, 234.0), "best.ckpt")
    assert dataset.load(0).image.max() >= 254
    with pytest.raises(ConfigError, match=r"dataset\.value_range=\[0\.0, 9\.0\], but best\.ckpt was trained with"):
        Folder("val", **options, value_range=[0, 9]).take_value_range((0.0, 234.0), "best.ckpt")


def test_images_of_a_small_range_are_hashed_and_measured_as_stored(tmp_path):
    spec = write(tmp_path, 235)
    config = InspectConfig(dataset=spec, data=DataConfig(crop_size=[32, 32]), num_images=0)
    report = inspect(config, tmp_path / "a")
    assert report.duplicates == []  # rounded to 0-255 they would be the same black
    train = report.splits[0]
    every = np.stack([np.array(Image.open(path)) for path in sorted((tmp_path / "images/train").iterdir())])
    np.testing.assert_allclose(train.values.mean, every.mean() / 65535, rtol=1e-4)
    np.testing.assert_allclose(train.values_in_range.mean, every.mean() / 234, rtol=1e-4)
    np.testing.assert_allclose(train.values_in_range.std, every.std() / 234, rtol=1e-3)
    config.dataset = {**spec, "value_range": [0, 234]}
    stretched = inspect(config, tmp_path / "b").splits[0]
    np.testing.assert_allclose(stretched.values.mean, train.values_in_range.mean, atol=2e-3)
    assert stretched.values_in_range is None

"""Presets and lists of transforms on samples: aligned, seeded, and for images of any channels."""

import numpy as np
import pytest
from augmented import digest, sample, transform

from segnet.config import DataConfig
from segnet.data.augment.listed import checked_augment
from segnet.data.augment.presets import PRESETS
from segnet.errors import ConfigError

STILL = {"scale_range": (1, 1), "flip": 0, "color_jitter": 0}
STRONG = [
    {"name": "Affine", "rotate": [-60, 60], "scale": [0.5, 1.5], "p": 1.0},
    {"name": "OneOf", "transforms": ["GaussNoise", {"name": "GaussianBlur"}], "p": 1.0},
]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(("channels", "dtype"), [(3, np.uint8), (1, np.uint8), (4, np.float32), (12, np.float32)])
def test_presets_work_for_images_of_any_channels(name, channels, dtype):
    augment = transform(augment=name, fill=[100] * channels, ignore_index=9)
    augment.try_listed(num_classes=4)
    mask = sample()[1].astype(np.int32)
    image = np.repeat(sample()[0].mean(axis=2, keepdims=True), channels, axis=2).astype(dtype)
    changed = 0
    for index in range(12):
        out, ids = augment(image, mask, epoch=0, index=index)
        assert (out.dtype, out.shape, ids.shape) == (dtype, (40, 48, channels), (40, 48))
        assert np.isfinite(out).all()
        assert 0 <= out.min() <= out.max() <= 255
        assert out.max() > 60  # not scaled to 0-1
        assert set(np.unique(ids)) <= {0, 1, 2, 3, 9}
        changed += len(np.unique(out)) > 40
    assert changed


@pytest.mark.parametrize("augment", [*PRESETS, STRONG], ids=[*PRESETS, "list"])
def test_draws_depend_on_seed_epoch_and_index_alone(augment):
    keys = [(epoch, index) for epoch in range(2) for index in range(5)]
    one, other = transform(augment=augment), transform(augment=augment)
    forwards = {key: digest(one, *key) for key in keys}
    np.random.seed(1)  # noqa: NPY002
    assert {key: digest(other, *key) for key in reversed(keys)} == forwards
    assert len(set(forwards.values())) == len(keys)


def test_a_list_is_applied_after_the_same_crop():
    plain, listed = transform(**STILL), transform(**STILL, augment=[{"name": "InvertImg", "p": 1.0}])
    for index in range(5):
        image, mask = plain(*sample(), epoch=0, index=index)
        out, ids = listed(*sample(), epoch=0, index=index)
        np.testing.assert_array_equal(out, 255 - image)
        np.testing.assert_array_equal(ids, mask)


@pytest.mark.parametrize("augment", [STRONG[:1], ["SquareSymmetry"], ["RandomRotate90", "Transpose"]])
def test_geometry_keeps_image_and_mask_aligned_and_ignores_borders(augment):
    """The image's values encode the mask's class, except at seams, where interpolation mixes them."""
    augment = transform(crop_size=(40, 48), color_jitter=0, augment=augment, fill=[0] * 3)
    ids = sample()[1]
    image = np.repeat(50 + 50 * ids[..., None], 3, axis=2)
    wrong = []
    for index in range(60):
        out, found = augment(image, ids, epoch=0, index=index)
        assert out.shape == (40, 48, 3)
        expected = np.where(found == 255, 0, 50 + 50 * found.astype(int))
        wrong.append((np.abs(out[..., 0] - expected) > 25).mean())
    assert np.mean(wrong) < 0.1


def test_crops_that_are_not_square_are_turned():
    augment = transform(crop_size=(20, 60), scale_range=(1, 1), color_jitter=0, augment="aerial")
    mask = np.repeat(np.arange(90, dtype=np.uint8)[None], 90, axis=0)  # increases along rows only
    image = np.repeat(mask[..., None], 3, axis=2)
    directions = set()
    for index in range(40):
        _, ids = augment(image, mask, epoch=0, index=index)
        assert ids.shape == (20, 60)
        assert (ids != 255).all()
        steps = int(ids[0, 1]) - int(ids[0, 0]), int(ids[1, 0]) - int(ids[0, 0])
        directions.add(steps)
    assert directions == {(1, 0), (-1, 0), (0, 1), (0, -1)}


def test_a_transform_that_changes_the_size_now_and_then_ends_the_run():
    augment = transform(augment=[{"name": "RandomScale", "p": 0.5}])
    with pytest.raises(ConfigError, match=r"data\.augment: RandomScale: a crop of 48 x 40 became one of"):
        [augment(*sample(), epoch=0, index=index) for index in range(20)]
    with pytest.raises(ConfigError, match="RandomScale makes a crop of"):
        augment.try_listed(num_classes=4)


def test_names_are_checked_before_data_is_read():
    with pytest.raises(ConfigError, match=r"data\.augment\[1\]\.name=Nois"):
        checked_augment(DataConfig(augment=["aerial", {"name": "Nois"}]))
    assert checked_augment(DataConfig(augment="aerial")).flip == 0

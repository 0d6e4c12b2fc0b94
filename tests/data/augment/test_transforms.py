"""Augmentation: image and mask stay aligned, padding is ignored, and only (seed, epoch, index) determine it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from augmented import COLORS, FILL, digest, sample, transform

from segnet.errors import ConfigError


@pytest.mark.parametrize("category_max_ratio", [1.0, 0.4])
def test_1000_draws_have_crop_size_known_ids_and_marked_padding(category_max_ratio):
    augment = transform(color_jitter=0, category_max_ratio=category_max_ratio)
    image, mask = sample()
    padded_shares = []
    for index in range(1000):
        out, ids = augment(image, mask, epoch=0, index=index)
        assert (out.dtype, out.shape, ids.dtype, ids.shape) == (np.uint8, (40, 48, 3), np.uint8, (40, 48))
        assert set(np.unique(ids)) <= {0, 1, 2, 3, 255}
        padded = ids == 255
        np.testing.assert_array_equal(padded, (out == FILL).all(axis=2))
        padded_shares.append(padded.mean())
    assert max(padded_shares) > 0.5  # at scale 0.5 most of the crop
    assert min(padded_shares) == 0


@pytest.mark.parametrize(
    ("channels", "dtype", "ids", "ignore_index"),
    [
        (3, np.uint8, [0, 1, 7], 255),
        (1, np.uint8, [0, 1, 7], 9),
        (4, np.float32, [1, 3], 0),
        (8, np.float32, [0, 300], 65535),
    ],
)
def test_1000_draws_ignore_all_padding_and_invent_no_class(channels, dtype, ids, ignore_index):
    """Padded pixels, the only ones of 0 in every channel, are `ignore_index`, for all images, channels and ids."""
    augment = transform(color_jitter=0, fill=[0] * channels, ignore_index=ignore_index)
    rng = np.random.default_rng(channels)
    for index in range(1000):
        size = rng.integers(1, 90, 2)
        mask = rng.choice(ids, size).astype(np.uint8 if max(*ids, ignore_index) < 256 else np.int32)
        image = rng.integers(1, 256, (*size, channels)).astype(dtype)
        out, drawn = augment(image, mask, epoch=0, index=index)
        assert (out.dtype, out.shape, drawn.dtype) == (dtype, (40, 48, channels), mask.dtype)
        padded = (out == 0).all(axis=2)
        np.testing.assert_array_equal(drawn == ignore_index, padded)
        assert set(np.unique(drawn)) <= {*np.unique(mask), ignore_index}


def test_padding_surrounds_a_single_rectangle():
    augment = transform(scale_range=(0.3, 0.6), color_jitter=0)
    places = set()
    for index in range(50):
        _, ids = augment(*sample(), epoch=0, index=index)
        rows, columns = np.nonzero(ids != 255)
        assert (ids[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] != 255).all()
        places.add((rows.min(), columns.min()))
    assert len(places) > 25  # not always centered


def test_image_and_mask_stay_aligned():
    """The image's color encodes the mask's class, except at seams, where interpolation mixes colors."""
    augment = transform(color_jitter=0)
    wrong = []
    for index in range(300):
        out, ids = augment(*sample(), epoch=0, index=index)
        distances = np.abs(out[:, :, None].astype(int) - COLORS).sum(axis=3)
        inside = ids != 255
        wrong.append((distances.argmin(axis=2) != ids)[inside].mean())
    assert np.mean(wrong) < 0.02  # half a pixel's shift gives 0.05


def test_color_jitter_changes_colors_only_if_enabled():
    image, mask = np.full((40, 48, 3), (200, 100, 50), np.uint8), np.zeros((40, 48), np.uint8)
    still = {"scale_range": (1, 1), "flip": 0}
    out = [transform(**still, color_jitter=0)(image, mask, epoch=0, index=index)[0] for index in range(20)]
    assert all((result == image).all() for result in out)
    out = [transform(**still, color_jitter=0.4)(image, mask, epoch=0, index=index)[0] for index in range(20)]
    assert len({tuple(result[0, 0]) for result in out}) == 20


def test_stronger_color_jitter_changes_colors_more():
    image, mask = sample(40, 48)

    def change(strength: float) -> float:
        augment = transform(scale_range=(1, 1), flip=0, color_jitter=strength)
        out = [augment(image, mask, epoch=0, index=index)[0] for index in range(30)]
        return float(np.mean([np.abs(result.astype(int) - image).mean() for result in out]))

    assert 0 < change(0.05) < change(0.3) < change(0.9)


@pytest.mark.parametrize(("flip", "flipped"), [(0, 0), (1, 40), (0.5, range(10, 31))])
def test_flip_mirrors_with_its_probability(flip, flipped):
    image, mask = sample(40, 48)
    augment = transform(scale_range=(1, 1), flip=flip, color_jitter=0)
    count = 0
    for index in range(40):
        out, ids = augment(image, mask, epoch=0, index=index)
        mirrored = not (out == image).all()
        np.testing.assert_array_equal(out, image[:, ::-1] if mirrored else image)
        np.testing.assert_array_equal(ids, mask[:, ::-1] if mirrored else mask)
        count += mirrored
    assert count in (flipped if isinstance(flipped, range) else [flipped])


@pytest.mark.parametrize("scale_range", [(0.5, 2.0), (1, 1), (0.25, 0.5), (1.5, 1.5)])
def test_scales_cover_exactly_their_range(scale_range):
    augment = transform(crop_size=(80, 80), scale_range=scale_range, color_jitter=0)
    image, mask = np.zeros((40, 20, 3), np.uint8), np.zeros((40, 20), np.uint8)
    heights = []
    for index in range(200):
        _, ids = augment(image, mask, epoch=0, index=index)
        heights.append(int((ids == 0).any(axis=1).sum()))
        assert abs(heights[-1] - 2 * (ids == 0).any(axis=0).sum()) <= 1  # the shape is kept
    low, high = (40 * scale for scale in scale_range)
    assert low <= min(heights) <= low + 0.05 * (high - low) + 1
    assert high - 0.05 * (high - low) - 1 <= max(heights) <= high


def test_crops_cover_the_whole_image():
    mask = np.arange(100 * 100).reshape(100, 100).astype(np.int32)
    image = np.zeros((100, 100, 3), np.uint8)
    augment = transform(crop_size=(10, 10), scale_range=(1, 1), flip=0, ignore_index=65535)
    corners = np.array([divmod(int(augment(image, mask, epoch=0, index=i)[1][0, 0]), 100) for i in range(200)])
    assert (corners.min(axis=0) < 5).all()
    assert (corners.max(axis=0) > 85).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 1), (1, 200), (49, 1), (7, 5), (41, 47), (97, 31)])
@pytest.mark.parametrize(("dtype", "ignore_index", "label"), [(np.uint8, 255, 3), (np.int32, 65535, 300)])
def test_images_of_any_size_work(size, dtype, ignore_index, label):
    augment = transform(ignore_index=ignore_index)
    image, mask = np.full((*size, 3), 99, np.uint8), np.full(size, label, dtype)
    for index in range(30):
        out, ids = augment(image, mask, epoch=0, index=index)
        assert (out.dtype, out.shape, ids.dtype, ids.shape) == (np.uint8, (40, 48, 3), dtype, (40, 48))
        assert label in ids
        assert set(np.unique(ids)) <= {label, ignore_index}


def test_inputs_are_not_modified():
    image, mask = sample()
    for index in range(10):
        transform()(image, mask, epoch=0, index=index)
    np.testing.assert_array_equal(image, sample()[0])
    np.testing.assert_array_equal(mask, sample()[1])


def test_augmentation_does_not_depend_on_earlier_samples():
    keys = [(epoch, index) for epoch in range(3) for index in range(5)]
    one, other = transform(), transform()
    forwards = {key: digest(one, *key) for key in keys}
    backwards = {key: digest(other, *key) for key in reversed(keys)}
    assert forwards == backwards
    assert digest(one, *keys[7]) == forwards[keys[7]]


def test_draws_do_not_depend_on_global_random_state():
    np.random.seed(1)  # noqa: NPY002
    first = digest(transform(), 0, 0)
    np.random.seed(2)  # noqa: NPY002
    assert digest(transform(), 0, 0) == first


def test_draws_differ_between_seeds_epochs_and_indices():
    augments = [transform(seed=seed) for seed in range(3)]
    digests = [digest(augment, epoch, index) for augment in augments for epoch in range(3) for index in range(5)]
    assert len(set(digests)) == 3 * 3 * 5


def test_draws_are_the_same_in_a_fresh_process():
    command = "import augmented as again; print(again.digest(again.transform(), 2, 3))"
    tests = Path(__file__).parents[2]
    path = os.pathsep.join([str(tests), str(tests.parent)])
    result = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert result.stdout.strip() == digest(transform(), 2, 3), result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_size": (40,)}, r"data\.crop_size=\[40\]"),
        ({"crop_size": (0, 40)}, r"data\.crop_size=\[0, 40\]"),
        ({"scale_range": (0, 1)}, r"data\.scale_range=\[0, 1\]"),
        ({"scale_range": (2, 1)}, r"data\.scale_range=\[2, 1\]"),
        ({"scale_range": (1,)}, r"data\.scale_range=\[1\]"),
        ({"scale_range": (float("nan"), 1)}, r"data\.scale_range=\[nan, 1\]"),
        ({"flip": 1.5}, r"data\.flip=1\.5"),
        ({"flip": -0.1}, r"data\.flip=-0\.1"),
        ({"color_jitter": 1.1}, r"data\.color_jitter=1\.1"),
        ({"color_jitter": -1}, r"data\.color_jitter=-1"),
        ({"category_max_ratio": 0}, r"data\.category_max_ratio=0 must"),
        ({"category_max_ratio": 1.1}, r"data\.category_max_ratio=1\.1"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        transform(**options)


# Other than three channels


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 4, 5, 8])
def test_images_of_any_channels_keep_to_their_mask_and_are_padded_per_channel(channels, dtype):
    fill = [10 * channel + 3 for channel in range(channels)]
    augment = transform(color_jitter=0, fill=fill)
    mask = np.random.default_rng(0).integers(0, 4, (45, 54)).astype(np.uint8)
    image = np.full((45, 54, channels), 200, dtype) - np.arange(channels).astype(dtype)  # each channel its own value
    padded = 0
    for index in range(40):
        out, ids = augment(image, mask, epoch=0, index=index)
        assert (out.dtype, out.shape) == (dtype, (40, 48, channels))
        padding = ids == 255
        padded += padding.sum()
        np.testing.assert_allclose(out[padding], np.broadcast_to(fill, out[padding].shape), atol=1e-3)
        np.testing.assert_allclose(out[~padding], np.broadcast_to(image[0, 0], out[~padding].shape), atol=1e-3)
    assert padded


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 4, 12])
def test_color_jitter_changes_brightness_and_contrast_of_any_channels(channels, dtype):
    image, mask = np.repeat(sample(40, 48)[0][..., :1] // 2 + 60, channels, axis=2).astype(dtype), sample(40, 48)[1]
    augment = transform(scale_range=(1, 1), flip=0, fill=[0] * channels, color_jitter=0.3)
    results = [augment(image, mask, epoch=0, index=index)[0] for index in range(30)]
    assert all((out.dtype, out.shape) == (dtype, image.shape) for out in results)
    brightness = [out.mean() / image.mean() for out in results]
    contrast = [out.std() / out.mean() / (image.std() / image.mean()) for out in results]
    for factors in (brightness, contrast):
        assert 0.69 < min(factors) < 0.8
        assert 1.2 < max(factors) < 1.31
    for out in results:  # the same factors for all bands
        np.testing.assert_array_equal(out, np.repeat(out[..., :1], channels, axis=2))


def test_crops_of_one_class_are_drawn_again_above_category_max_ratio():
    mask = np.zeros((120, 480), np.uint8)
    mask[:, 400:] = 1
    image = np.zeros((120, 480, 3), np.uint8)

    def both(ratio: float) -> float:
        augment = transform(category_max_ratio=ratio)
        return np.mean([len(np.unique(augment(image, mask, epoch=0, index=i)[1])) > 1 for i in range(100)])

    assert both(0.75) > 1.5 * both(1.0)

"""Crops equal those of the whole resized image, with the same distribution of scales and positions."""

import warnings

import cv2
import numpy as np
import pytest

from segnet.data.augment import transforms
from segnet.data.augment.crops import NUM_REDRAWS, Crop, Span, cut_at_random, draw_crop, is_one_class

A = transforms.A
LINEAR, NEAREST = cv2.INTER_LINEAR, cv2.INTER_NEAREST_EXACT


def noise(size: tuple[int, int], blur: float = 0.0, channels: int = 3) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 256, (*size, channels), np.uint8)
    return cv2.GaussianBlur(values, (0, 0), blur) if blur else values


# One crop


@pytest.mark.parametrize(("scale", "source"), [(2, 10), (0.5, 40), (0.25, 80), (1, 20)])
def test_a_crop_equals_that_of_the_whole_resized_image(scale, source):
    """Equal to the bit for whole source pixels, except at the border, where the part has no neighbors."""
    image, mask = noise((120, 160)), noise((120, 160), channels=1)[..., 0]
    crop = Crop(Span(40, source, 0, 20), Span(80, source, 0, 20))
    size = int(160 * scale), int(120 * scale)
    top, left, rim = int(40 * scale), int(80 * scale), int(np.ceil(scale))
    whole = cv2.resize(image, size, interpolation=LINEAR)[top : top + 20, left : left + 20]
    inner = slice(rim, 20 - rim)
    difference = np.abs(crop.cut(image, (20, 20), (0, 0, 0), LINEAR).astype(int) - whole)
    assert difference[inner, inner].max() <= 1  # OpenCV rounds its weights
    ids = cv2.resize(mask, size, interpolation=NEAREST)[top : top + 20, left : left + 20]
    np.testing.assert_array_equal(crop.cut(mask, (20, 20), 255, NEAREST), ids)


@pytest.mark.parametrize("size", [(300, 400), (37, 53), (100, 30)])
def test_drawn_crops_differ_from_the_whole_resized_image_by_at_most_a_pixel(size):
    """Compared on a smooth image, at the position where the part begins."""
    image = noise(size, blur=6)
    steepest = max(np.abs(np.diff(image.astype(int), axis=axis)).max() for axis in (0, 1))
    rng = np.random.default_rng(1)
    for _ in range(60):
        scale = rng.uniform(0.5, 2)
        crop = draw_crop(rng, size, (60, 80), scale)
        shape = [max(1, int(length * scale)) for length in size]
        whole = cv2.resize(image, shape[::-1], interpolation=LINEAR)
        starts = [
            min(round(span.source * scale), length - span.target_length)
            for span, length in zip((crop.rows, crop.columns), shape, strict=True)
        ]
        expected = whole[starts[0] :, starts[1] :][: crop.rows.target_length, : crop.columns.target_length]
        out = crop.cut(image, (60, 80), (0, 0, 0), LINEAR)[crop.rows.given(), crop.columns.given()]
        assert out.shape == expected.shape
        assert np.abs(out.astype(int) - expected).max() <= 2 * steepest  # a pixel of the source in each direction
        assert np.abs(out.astype(int) - expected).mean() <= 0.5 * steepest


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7])
def test_a_crop_is_a_copy(scale):
    image, mask = noise((50, 60)), noise((50, 60), channels=1)[..., 0]
    out = cut_at_random(
        np.random.default_rng(0), image, mask, crop_size=(20, 30), scale=scale, fill=(0, 0, 0), ignore_index=255
    )
    for values, source in zip(out, (image, mask), strict=True):
        assert not np.shares_memory(values, source)
        values[...] = 7  # must be writable


def test_read_only_images_are_accepted():
    image, mask = noise((50, 60)), np.zeros((50, 60), np.uint8)
    image.flags.writeable = mask.flags.writeable = False
    for index, scale in enumerate((0.4, 1.0, 1.9)):
        rng = np.random.default_rng(index)
        cut_at_random(rng, image, mask, crop_size=(32, 32), scale=scale, fill=(1, 2, 3), ignore_index=255)


# The distribution


def plain_draws(size: tuple[int, int], crop_size: tuple[int, int], count: int) -> np.ndarray:
    """Reference: albumentations resizes the whole image, pads and crops; rows as in `measured`."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        pipeline = A.Compose(
            [
                A.RandomScale((-0.5, 1.0), interpolation=LINEAR, p=1),
                A.PadIfNeeded(*crop_size, position="random", border_mode=cv2.BORDER_CONSTANT, fill=-1000, p=1),
                A.RandomCrop(*crop_size, p=1),
            ],
            seed=0,
        )
    ramp = coordinates(size)
    return np.array([measured(pipeline(image=ramp)["image"], ramp) for _ in range(count)])


def own_draws(size: tuple[int, int], crop_size: tuple[int, int], count: int) -> np.ndarray:
    ramp, rng = coordinates(size), np.random.default_rng(0)
    draws = []
    for _ in range(count):
        crop = draw_crop(rng, size, crop_size, rng.uniform(0.5, 2.0))
        draws.append(measured(crop.cut(ramp, crop_size, (-1000, -1000), LINEAR), ramp))
    return np.array(draws)


def coordinates(size: tuple[int, int]) -> np.ndarray:
    """Return an image of two channels that contain each pixel's row and column."""
    return np.stack(np.mgrid[: size[0], : size[1]], axis=2).astype(np.float32)


def measured(crop: np.ndarray, ramp: np.ndarray) -> list[float]:
    """Scale of rows and columns, row and column of the crop's center in the image (0-1), share and place of padding."""
    shown = crop[..., 0] > -500
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    inside = crop[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    middle = inside[len(inside) // 4 : 3 * len(inside) // 4 + 1, inside.shape[1] // 4 : 3 * inside.shape[1] // 4 + 1]
    steps = np.diff(middle[..., 0], axis=0).mean(), np.diff(middle[..., 1], axis=1).mean()
    center = (inside.reshape(-1, 2).mean(axis=0) + 0.5) / ramp.shape[:2]
    return [1 / steps[0], 1 / steps[1], *center, 1 - shown.mean(), rows[0], columns[0]]


@pytest.mark.parametrize(
    ("size", "crop_size"),
    [((90, 180), (45, 90)), ((90, 120), (64, 80)), ((50, 37), (64, 40))],
    ids=["Cityscapes", "CamVid", "small images"],
)
def test_scales_positions_and_padding_are_distributed_as_in_albumentations(size, crop_size):
    plain, own = plain_draws(size, crop_size, 3000), own_draws(size, crop_size, 3000)
    for name, one, other in zip(
        ["row scale", "column scale", "row", "column", "padded share", "padding above", "padding left"],
        plain.T,
        own.T,
        strict=True,
    ):
        if one.std() < 1e-6:
            assert other.std() < 1e-6, name
            continue
        # The largest distance of the two cumulative distributions (Kolmogorov-Smirnov): 0.042 at a chance of 1 %; whole
        # pixels of the source and of the crop are other steps, which adds some.
        values = np.sort(np.concatenate([one, other]))
        gap = np.abs(
            np.searchsorted(np.sort(one), values + 0.01 * one.std(), side="right")
            - np.searchsorted(np.sort(other), values + 0.01 * one.std(), side="right")
        ).max() / len(one)
        assert gap < 0.06, f"{name}: {gap:.3f}"
        assert abs(one.mean() - other.mean()) < 0.1 * one.std(), name
        assert 0.85 < other.std() / one.std() < 1.15, name  # some are mostly 0 with a long tail


# Crops of one class


@pytest.mark.parametrize(
    ("counts", "max_ratio", "refused"),
    [
        ({0: 74, 1: 26}, 0.75, False),
        ({0: 75, 1: 25}, 0.75, True),
        ({0: 30, 1: 10, 255: 60}, 0.75, True),  # 75 % of the labeled pixels
        ({0: 29, 1: 11, 255: 60}, 0.75, False),
        ({3: 100}, 0.99, True),
        ({255: 100}, 0.99, True),  # as in mmsegmentation: nothing to learn from
        ({0: 98, 1: 2}, 0.99, False),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_is_one_class_counts_labeled_pixels_only(counts, max_ratio, refused, dtype):
    mask = np.repeat(list(counts), list(counts.values())).reshape(10, 10).astype(dtype)
    assert is_one_class(mask, max_ratio, 255) is refused
    # code of mmsegmentation's RandomCrop
    labels, pixels = np.unique(mask, return_counts=True)
    pixels = pixels[labels != 255]
    assert (len(pixels) > 1 and np.max(pixels) / np.sum(pixels) < max_ratio) is not refused


def halves() -> tuple[np.ndarray, np.ndarray]:
    """Return an image with one class in the left nine tenths, and another class in the rest."""
    mask = np.zeros((100, 400), np.uint8)
    mask[:, 360:] = 1
    return np.repeat(100 * mask[..., None], 3, axis=2), mask


def crops(count: int, ratio: float, scale: float = 1.0) -> list[tuple[np.ndarray, np.ndarray]]:
    options = {"crop_size": (80, 80), "fill": (0, 0, 0), "ignore_index": 255, "category_max_ratio": ratio}
    return [cut_at_random(np.random.default_rng(i), *halves(), scale=scale, **options) for i in range(count)]


def test_crops_of_one_class_are_drawn_again():
    def one_class(ratio: float) -> float:
        return float(np.mean([is_one_class(mask, 0.75, 255) for _, mask in crops(200, ratio)]))

    single = one_class(1.0)
    assert 0.7 < single < 0.95
    assert abs(one_class(0.75) - single ** (NUM_REDRAWS + 1)) < 0.12  # the last crop is always used


def test_a_redrawn_crop_keeps_image_and_mask_aligned():
    for image, mask in crops(30, 0.75):
        np.testing.assert_array_equal(image[..., 0], 100 * mask)


def test_a_crop_that_shows_the_whole_image_is_drawn_once():
    image, mask = halves()
    options = {"crop_size": (200, 800), "scale": 1.0, "fill": (0, 0, 0), "ignore_index": 255}
    once, again = (
        cut_at_random(np.random.default_rng(3), image, mask, **options, category_max_ratio=ratio) for ratio in (1, 0.5)
    )
    np.testing.assert_array_equal(once[1], again[1])

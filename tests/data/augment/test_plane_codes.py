"""Planes survive every augmentation exactly: each plane alone gives the same result as all planes together."""

import numpy as np
import pytest

from segnet.data.augment.mixing import CutMix
from segnet.data.augment.plane_codes import to_codes, to_planes
from segnet.data.augment.transforms import TrainTransform
from segnet.data.dataset import Sample

IGNORED = 255
OPTIONS = {"flip": 0.5, "color_jitter": 0.0, "fill": [10, 20, 30], "ignore_index": IGNORED, "seed": 4}
GEOMETRY = [
    {"name": "D4"},
    {"name": "Rotate", "limit": 40, "p": 1.0},
    {"name": "CoarseDropout", "p": 1.0, "fill_mask": 0},
]


def drawn(num_classes: int, size: tuple[int, int] = (37, 52), seed: int = 0) -> np.ndarray:
    """Planes of overlapping rectangles, with ignored ones."""
    rng = np.random.default_rng(seed)
    planes = np.zeros((num_classes, *size), np.uint8)
    for plane in planes:
        for value in (1, 1, IGNORED):
            top, left = rng.integers(0, size[0] - 12), rng.integers(0, size[1] - 12)
            plane[top : top + 11, left : left + 12] = value
    return planes


@pytest.mark.parametrize("num_classes", [1, 2, 7, 40])
def test_codes_are_exact(num_classes):
    planes = drawn(num_classes)
    codes, table = to_codes(planes)
    assert codes.shape == planes.shape[1:]
    np.testing.assert_array_equal(to_planes(codes, table), planes)
    assert (codes[(planes == 0).all(axis=0)] == 0).all()
    assert (table[0] == 0).all()
    assert (table[IGNORED] == IGNORED).all()


def test_more_than_255_combinations_keep_the_ignored_value():
    values = np.arange(3**6).reshape(27, 27)
    planes = np.stack([values // 3**place % 3 for place in range(6)]).astype(np.uint8)
    planes[planes == 2] = IGNORED
    codes, table = to_codes(planes)
    assert codes.dtype == np.int32
    assert len(np.unique(codes)) == 3**6
    np.testing.assert_array_equal(to_planes(codes, table), planes)
    assert (planes[:, codes == IGNORED] == IGNORED).all()
    np.testing.assert_array_equal(to_codes(planes[:, :5, :5])[0].dtype, np.uint8)


@pytest.mark.parametrize("num_classes", [2, 7])
@pytest.mark.parametrize("crop_size", [(32, 32), (64, 80)])  # cut from the image, and padded
def test_all_planes_get_the_geometry_of_one(crop_size, num_classes):
    planes = drawn(num_classes)
    image = np.random.default_rng(1).integers(0, 256, (*planes.shape[1:], 3)).astype(np.uint8)
    transform = TrainTransform(crop_size=crop_size, scale_range=(0.7, 1.6), augment=GEOMETRY, **OPTIONS)
    for index in range(6):
        _, together = transform(image, planes, epoch=1, index=index)
        assert together.shape == (num_classes, *crop_size)
        assert together.dtype == np.uint8
        for plane, found in zip(planes, together, strict=True):
            _, alone = transform(image, plane, epoch=1, index=index)  # as a mask of the class ids 0 and 1
            np.testing.assert_array_equal(found, alone)


def test_crops_of_one_combination_are_drawn_again():
    planes = np.zeros((2, 64, 64), np.uint8)
    planes[0, :, 30:34] = 1
    image = np.zeros((64, 64, 3), np.uint8)
    options = {**OPTIONS, "crop_size": (16, 16), "scale_range": (1.0, 1.0)}
    hits = [
        sum(
            TrainTransform(category_max_ratio=ratio, **options)(image, planes, epoch=0, index=i)[1].any()
            for i in range(30)
        )
        for ratio in (1.0, 0.99)
    ]
    assert hits[1] > hits[0]


def test_cutmix_moves_the_rectangle_of_all_planes():
    first, second = (Sample(np.full((20, 30, 3), v, np.uint8), np.full((3, 20, 30), v, np.uint8), "") for v in (0, 1))
    for sample in CutMix(1.0, seed=0)([first, second], [(0, 0), (0, 1)]):
        assert len(np.unique(sample.mask)) == 2
        for plane in sample.mask:
            np.testing.assert_array_equal(plane, sample.image[:, :, 0])
    assert not first.mask.any()

"""The built-in dataset: generated only from (seed, split, index), and learnable."""

import hashlib

import numpy as np
import pytest

from segnet.data.datasets.shapes import CLASSES, Shapes
from segnet.errors import ConfigError


def digest(dataset: Shapes, index: int) -> str:
    sample = dataset.load(index)
    return hashlib.sha256(sample.image.tobytes() + sample.mask.tobytes()).hexdigest()


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_same_seed_and_index_give_the_same_image(split):
    one, other = Shapes(split, seed=3), Shapes(split, seed=3)
    forwards = [digest(one, index) for index in range(6)]
    backwards = [digest(other, index) for index in reversed(range(6))]
    assert forwards == backwards[::-1]


def test_images_differ_between_seeds_splits_and_indices():
    digests = [
        digest(Shapes(split, seed=seed), index)
        for seed in range(3)
        for split in ("train", "val", "test")
        for index in range(20)
    ]
    assert len(set(digests)) == 3 * 3 * 20


def test_images_do_not_depend_on_their_number():
    assert digest(Shapes("train", num_train=5), 2) == digest(Shapes("train", num_train=500), 2)


def test_splits_have_their_configured_lengths():
    options = {"num_train": 7, "num_val": 3, "num_test": 2}
    assert [len(Shapes(split, **options)) for split in ("train", "val", "test")] == [7, 3, 2]


def test_every_class_has_a_reasonable_fraction():
    dataset = Shapes("train")
    masks = np.stack([dataset.load(index).mask for index in range(50)])
    shares = np.bincount(masks.ravel(), minlength=6) / masks.size
    assert len(shares) == len(CLASSES.names) == 6
    assert 0.3 < shares[0] < 0.8
    assert (shares[1:] > 0.02).all()
    assert (shares[1:] < 0.3).all()


@pytest.mark.parametrize("size", [(16, 16), (16, 90), (90, 16), (33, 47), (100, 64)])
def test_any_size_gives_rgb_and_known_ids(size):
    dataset = Shapes("val", size=size)
    for index in range(10):
        sample = dataset.load(index)
        assert (sample.image.dtype, sample.image.shape) == (np.uint8, (*size, 3))
        assert (sample.mask.dtype, sample.mask.shape) == (np.uint8, size)
        assert set(np.unique(sample.mask)) <= set(range(6))
        assert sample.name == f"shapes/val/{index}"
        assert sample.image.std() > 3  # not a blank sheet


def test_shapes_contrast_with_their_surroundings():
    """The image changes most along the outlines of shapes, so image and mask are aligned."""
    dataset = Shapes("train")
    on_outlines, elsewhere = [], []
    for index in range(20):
        sample = dataset.load(index)
        change = np.abs(np.diff(sample.image.astype(float), axis=1)).sum(axis=2)
        outline = np.diff(sample.mask.astype(int), axis=1) != 0
        on_outlines.append(change[outline].mean())
        elsewhere.append(change[~outline].mean())
    assert np.mean(on_outlines) > 2 * np.mean(elsewhere)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "all"}, "split=all is unknown: choose from train, val, test"),
        ({"num_train": 0}, r"dataset\.num_train=0"),
        ({"split": "val", "num_val": -1}, r"dataset\.num_val=-1"),
        ({"size": (15, 64)}, r"dataset\.size=\[15, 64\]"),
        ({"size": (64, 8)}, r"dataset\.size=\[64, 8\]"),
        ({"size": (64,)}, r"dataset\.size=\[64\]"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Shapes(**{"split": "train", **options})


def test_translucent_shapes_overlap():
    samples = Shapes("train", num_train=20, task="multilabel")
    assert samples.classes.is_multilabel
    both = 0
    for index in range(20):
        sample = samples.load(index)
        assert sample.mask.shape == (2, *sample.image.shape[:2])
        assert set(np.unique(sample.mask)) <= {0, 1}
        both += int(sample.mask.all(axis=0).sum())
    assert both > 1000
    assert digest(samples, 3) == digest(Shapes("train", task="multilabel"), 3)
    with pytest.raises(ConfigError, match=r"dataset\.task=both is unknown"):
        Shapes("train", task="both")

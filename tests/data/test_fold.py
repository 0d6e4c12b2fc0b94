"""A fold: the held-out samples of another dataset, or the others."""

import numpy as np
import pytest
from tiny import SHAPES

from segnet.data import build_dataset, build_splits
from segnet.data.cache.fingerprints import dataset_digest
from segnet.data.datasets.notes import Notes
from segnet.errors import DataError

HELD_OUT = [1, 4, 17]


@pytest.fixture
def spec():
    return {"name": "fold", "of": SHAPES, "held_out": HELD_OUT, "splits": ["train", "val"]}


def test_val_has_the_held_out_samples_and_train_the_others(spec):
    whole = [build_dataset(SHAPES, split) for split in ("train", "val")]
    samples = [part.load(index) for part in whole for index in range(len(part))]
    fold = build_splits(spec, ["train", "val"])
    rest = [index for index in range(len(samples)) if index not in HELD_OUT]
    for split, indices in (("train", rest), ("val", HELD_OUT)):
        assert len(fold[split]) == len(indices)
        for sample, index in zip(fold[split].load_many(range(len(indices))), indices, strict=True):
            np.testing.assert_array_equal(sample.image, samples[index].image)
            np.testing.assert_array_equal(sample.mask, samples[index].mask)


def test_test_is_the_dataset_s_own(spec):
    own, fold = build_dataset(SHAPES, "test"), build_dataset(spec, "test")
    assert len(fold) == len(own)
    np.testing.assert_array_equal(fold.load(1).image, own.load(1).image)


def test_a_fold_of_more_images_is_refused(spec):
    with pytest.raises(DataError, match="holds out image 31, but the dataset has 21 images: files are missing"):
        build_dataset({**spec, "held_out": [30]}, "train")


def test_folds_share_the_caches_of_their_dataset(spec):
    classes = build_dataset(SHAPES, "train").classes
    assert dataset_digest(spec, classes) == dataset_digest({**spec, "held_out": [2]}, classes)
    assert dataset_digest(spec, classes) == dataset_digest(SHAPES, classes)
    assert dataset_digest(spec, classes) != dataset_digest({**spec, "of": {**SHAPES, "size": [8, 8]}}, classes)


def test_notes_of_both_splits_are_kept_once():
    notes, other = Notes(), Notes()
    notes.add("a", "image", "left out")
    other.add("a", "image", "left out")
    other.add("b", "image", "left out")
    notes.include(other)
    assert notes.lines() == ["a: 1 image left out", "b: 1 image left out"]


def test_samples_are_opened_in_order_from_both_splits(spec):
    fold = build_splits(spec, ["train", "val"])
    for split in ("train", "val"):
        indices = [2, 0, 1]
        for opened, index in zip(fold[split].open_many(indices), indices, strict=True):
            np.testing.assert_array_equal(opened.image, fold[split].load(index).image)
    assert list(fold["val"].open_many([])) == []

"""Folds: each sample is held out once, groups stay together, sizes and classes are balanced."""

from collections import Counter

import pytest

from segnet.data.datasets.shapes import Shapes
from segnet.data.folds import draw_folds, source_name
from segnet.errors import ConfigError


@pytest.mark.parametrize(("folds", "samples"), [(2, 2), (3, 10), (5, 5), (5, 23)])
def test_each_sample_is_held_out_once_in_folds_of_equal_size(folds, samples):
    found = draw_folds(folds, samples, seed=3)
    assert sorted(index for fold in found for index in fold) == list(range(samples))
    assert max(map(len, found)) - min(map(len, found)) <= 1
    assert all(fold == sorted(fold) for fold in found)


def test_the_seed_decides():
    assert draw_folds(3, 30, seed=1) == draw_folds(3, 30, seed=1)
    assert draw_folds(3, 30, seed=1) != draw_folds(3, 30, seed=2)


def test_groups_stay_together():
    groups = [f"video{index % 7}" for index in range(40)]
    found = draw_folds(3, 40, groups)
    for name in set(groups):
        assert sum(any(groups[index] == name for index in fold) for fold in found) == 1
    assert sorted(map(len, found)) == [12, 12, 16]  # of five groups of 6 and two of 5


@pytest.mark.parametrize("seed", range(5))
def test_rare_classes_come_in_every_fold(seed):
    """Class 1 is in 4 of 40 images, class 2 in 8: a random draw misses them in most folds."""
    present = [{0} | ({1} if index < 4 else set()) | ({2} if 2 <= index < 10 else set()) for index in range(40)]
    for fold in draw_folds(4, 40, present=present, seed=seed):
        counts = Counter(label for index in fold for label in present[index])
        assert (counts[1], counts[2]) == (1, 2)


@pytest.mark.parametrize(
    ("folds", "groups", "message"),
    [
        (1, None, "folds=1: a cross-validation needs 2 or more folds"),
        (7, None, "folds=7: the dataset has only 6 images: lower folds"),
        (3, list("aabbbb"), r"folds=3: the dataset has only 2 groups \(a, b\): lower folds"),
    ],
)
def test_impossible_folds_are_refused(folds, groups, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        draw_folds(folds, 6, groups)


def test_a_sample_without_a_file_is_named_by_its_number():
    assert source_name(Shapes("train", num_train=3), 2) == "000002"

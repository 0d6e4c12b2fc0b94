"""Planted label errors, and cleanlab's formula."""

import numpy as np
import pytest
from label_errors import KINDS, plant, precision, softmin_score

from segnet.class_sets import CAMVID_CLASSES


def masks(count: int = 24) -> list[np.ndarray]:
    """Road with a car."""
    mask = np.full((60, 90), CAMVID_CLASSES.names.index("road"), np.uint8)
    mask[20:34, 30:50] = CAMVID_CLASSES.names.index("car")
    return [mask] * count


def test_errors_of_each_kind_are_planted():
    changed, planted = plant(masks(), CAMVID_CLASSES, seed=1)
    assert len(planted) == 20
    assert set(planted.values()) == set(KINDS)
    car = CAMVID_CLASSES.names.index("car")
    for index, (mask, before) in enumerate(zip(changed, masks(), strict=True)):
        assert (mask != before).any() == (index in planted)
        if planted.get(index) == "dropped":
            assert car not in mask
        if planted.get(index) == "shifted":
            assert (mask == car).sum() == (before == car).sum()


def test_the_softmin_is_that_of_the_paper():
    mask = np.array([[0, 1, CAMVID_CLASSES.ignore_index]])
    probabilities = np.zeros((11, 1, 3))
    probabilities[0, 0, 0], probabilities[1, 0, 1] = 0.9, 0.4
    weights = np.exp(np.array([1 - 0.9, 1 - 0.4]) / 0.1)
    expected = (np.array([0.9, 0.4]) * weights).sum() / weights.sum()
    assert softmin_score(probabilities, mask, CAMVID_CLASSES) == pytest.approx(expected)


def test_precision_counts_the_first_images():
    at, mean = precision([3.0, 1.0, 2.0, 0.0], {0: "dropped", 1: "swapped"})
    assert at == 0.5
    assert mean == pytest.approx((1 + 2 / 3) / 2)

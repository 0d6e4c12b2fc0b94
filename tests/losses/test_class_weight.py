"""Class weights by frequency: both rules by hand, and their place in a configuration."""

import math

import numpy as np
import pytest

from segnet.errors import ConfigError
from segnet.losses.class_weight import (
    LabelCounts,
    inverse_log,
    median_frequency,
    with_class_weights,
    without_class_weights,
)

NAMES = ("road", "tree", "sky")
# Two images: road 60 and tree 40 pixels; road 90 and sky 10.
COUNTS = LabelCounts(np.array([150.0, 40, 10]), np.array([200.0, 100, 100]))


def test_median_frequency_weights_match_the_definition():
    # frequencies 0.75, 0.4, 0.1; their median is 0.4
    np.testing.assert_allclose(median_frequency(COUNTS), [0.4 / 0.75, 1, 4])


def test_a_class_without_pixels_has_weight_zero_and_does_not_affect_the_median():
    counts = LabelCounts(np.array([150.0, 0, 40, 10]), np.array([200.0, 0, 100, 100]))
    np.testing.assert_allclose(median_frequency(counts), [0.4 / 0.75, 0, 1, 4])
    assert np.isfinite(inverse_log(counts)).all()


def test_inverse_log_weights_match_the_definition():
    expected = [1 / math.log(1.02 + share) for share in (0.75, 0.2, 0.05)]
    np.testing.assert_allclose(inverse_log(COUNTS), expected)


@pytest.mark.parametrize(
    ("rule", "weights"),
    [
        ("auto", [0.5333, 1.0, 4.0]),
        ("median_frequency", [0.5333, 1.0, 4.0]),
        ("inverse_log", [1.752, 5.03, 14.78]),
    ],
)
def test_a_rule_is_replaced_by_numbers_and_logged(rule, weights, caplog):
    caplog.set_level("INFO", "segnet")
    spec = {"name": "cross_entropy", "class_weight": rule}
    resolved = with_class_weights(spec, NAMES, lambda: COUNTS)
    assert resolved["class_weight"] == pytest.approx(weights, rel=1e-3)
    assert all(type(weight) is float for weight in resolved["class_weight"])
    assert spec["class_weight"] == rule
    assert f"loss.class_weight={rule}" in caplog.text
    assert f"sky {resolved['class_weight'][2]:g}" in caplog.text


def test_terms_of_a_sum_have_their_own_rules():
    terms = {"cross_entropy": {"weight": 1.0, "class_weight": "auto"}, "dice": {"weight": 0.5}, "lovasz": None}
    resolved = with_class_weights({"name": "sum", "terms": terms}, NAMES, lambda: COUNTS)
    assert resolved["terms"]["cross_entropy"] == {"weight": 1.0, "class_weight": [0.5333, 1.0, 4.0]}
    assert resolved["terms"]["dice"] == {"weight": 0.5}
    assert resolved["terms"]["lovasz"] is None


def test_class_weights_are_removed_from_every_term():
    terms = {"cross_entropy": {"weight": 1.0, "class_weight": "auto"}, "lovasz": None}
    assert without_class_weights({"name": "sum", "terms": terms}) == {
        "name": "sum",
        "terms": {"cross_entropy": {"weight": 1.0}, "lovasz": None},
    }
    assert without_class_weights({"name": "ohem", "class_weight": [1, 2, 3]}) == {"name": "ohem"}


@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 3.0]])
def test_masks_are_not_counted_without_a_rule(weight):
    spec = {"name": "focal", "class_weight": weight}
    assert with_class_weights(spec, NAMES, lambda: pytest.fail("counted")) == spec


def test_a_misspelled_rule_is_refused_with_a_suggestion():
    spec = {"name": "sum", "terms": {"focal": {"class_weight": "median_frequenzy"}}}
    with pytest.raises(ConfigError, match=r"loss\.terms\.focal\.class_weight=.*Did you mean 'median_frequency'"):
        with_class_weights(spec, NAMES, lambda: COUNTS)

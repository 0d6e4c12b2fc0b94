"""Probabilities become a mask by thresholds, refusal and smallest regions, as a slow reference does it."""

import numpy as np
import pytest
import torch

from segnet.classes import Classes
from segnet.errors import ConfigError
from segnet.inference.refinement import Refinement
from segnet.inference.refining import Refiner
from segnet.models.temperature import UNCALIBRATED, Temperature

NAMES = ["road", "tree", "sky", "car"]
CLASSES = Classes.create(NAMES)
IGNORED = CLASSES.ignore_index


def refined(probabilities, classes=CLASSES, **options):
    return Refiner(Refinement.read(**options), classes).mask(torch.tensor(probabilities, dtype=torch.float32))


def of_pixel(probabilities, thresholds, refuse):
    """The definition, for one pixel."""
    if max(probabilities) < refuse:
        return IGNORED
    reached = {c: probabilities[c] / t for c, t in thresholds.items() if probabilities[c] >= t}
    if reached:
        return min(reached, key=lambda c: (-reached[c], c))
    others = [c for c in range(len(probabilities)) if c not in thresholds]
    return min(others, key=lambda c: (-probabilities[c], c)) if others else IGNORED


@pytest.mark.parametrize(
    "thresholds", [{}, {3: 0.2}, {3: 0.2, 0: 0.7}, {1: 0.3, 2: 0.3}, {0: 0.4, 1: 0.5, 2: 1, 3: 0.6}]
)
@pytest.mark.parametrize("refuse", [0.0, 0.5])
@pytest.mark.parametrize("channels_last", [False, True])
def test_masks_equal_the_definition(thresholds, refuse, channels_last):
    eighths = np.random.default_rng(0).multinomial(8, [0.25] * 4, (24, 31)).transpose(2, 0, 1)  # many ties
    scores = torch.tensor(eighths / 8, dtype=torch.float32)
    if channels_last:
        scores = scores.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    before = scores.clone()
    options = {"threshold": {NAMES[index]: value for index, value in thresholds.items()}, "refuse": refuse}
    mask = Refiner(Refinement.read(**options), CLASSES).mask(scores)
    limits = {index: float(np.float32(value)) for index, value in thresholds.items()}
    expected = [[of_pixel(eighths[:, y, x] / 8, limits, refuse) for x in range(31)] for y in range(24)]
    np.testing.assert_array_equal(mask, expected)
    assert mask.dtype == np.uint8
    torch.testing.assert_close(scores, before, rtol=0, atol=0)  # they are used afterwards


def test_by_hand():
    #                         tree 0.35 is enough; car 0.3 beats it by ratio; too unsure; sure
    probabilities = np.array(
        [[[0.6, 0.3, 0.4, 0.9]], [[0.35, 0.35, 0.3, 0.1]], [[0, 0.05, 0, 0]], [[0.05, 0.3, 0.3, 0]]]
    )
    found = refined(probabilities, threshold="tree=0.35,car=0.25", refuse=0.5)
    np.testing.assert_array_equal(found, [[1, IGNORED, IGNORED, 0]])
    found = refined(probabilities, threshold="tree=0.35,car=0.25")
    np.testing.assert_array_equal(found, [[1, 3, 3, 0]])


def test_two_classes_have_an_operating_point():
    crack = np.array([[0.1, 0.29, 0.3, 0.5, 0.9]], np.float32)
    classes = Classes.create(["sound", "crack"])
    found = refined(np.stack((1 - crack, crack)), classes, threshold={"crack": 0.3})
    np.testing.assert_array_equal(found, [[0, 0, 1, 1, 1]])
    found = refined(np.stack((1 - crack, crack)), classes, threshold={"crack": 0.8})
    np.testing.assert_array_equal(found, [[0, 0, 0, 0, 1]])


def test_not_a_number_is_refused():
    probabilities = np.full((4, 1, 2), 0.25)
    probabilities[1, 0] = [0.9, np.nan]
    np.testing.assert_array_equal(refined(probabilities, refuse=0.1), [[1, IGNORED]])


def test_small_regions_are_filled_after_refusal_and_refused_regions_are_not():
    probabilities = np.zeros((4, 3, 5))
    probabilities[0] = 1
    probabilities[:2, 1, 1] = [0.1, 0.9]  # a speck of tree
    probabilities[:, 1, 3] = 0.25  # an unsure pixel
    found = refined(probabilities, refuse=0.5, min_area=2)
    expected = np.zeros((3, 5))
    expected[1, 3] = IGNORED
    np.testing.assert_array_equal(found, expected)
    found = refined(probabilities, refuse=0.5, min_area="2,tree=1")
    expected[1, 1] = 1
    np.testing.assert_array_equal(found, expected)


def test_masks_are_16_bit_if_they_hold_an_ignored_label_above_255():
    classes = Classes.create(NAMES, None, 65535)
    probabilities = np.full((4, 1, 1), 0.25)
    assert refined(probabilities, classes, refuse=0.5).tolist() == [[65535]]
    assert refined(probabilities, classes, threshold="car=0.2").dtype == np.uint8
    every = dict.fromkeys(NAMES, 0.9)
    assert refined(probabilities, classes, threshold=every).tolist() == [[65535]]


@pytest.mark.parametrize("option", ["threshold", "min_area"])
def test_an_unknown_class_gets_a_suggestion(option):
    with pytest.raises(ConfigError, match=f"^{option}: 'cat' is no class of this model. Did you mean 'car'"):
        Refiner(Refinement.read(**{option: "cat=1"}), CLASSES)


def test_refusal_goes_by_the_calibrated_probabilities():
    """sqrt(0.9) / (sqrt(0.9) + sqrt(0.1)) = 0.75, and 0.98 becomes 0.875."""
    scores = torch.tensor([[[0.9, 0.98]], [[0.1, 0.02]], [[0.0, 0.0]], [[0.0, 0.0]]])
    refiner = Refiner(Refinement.read(refuse=0.8), CLASSES)
    mask, kept = refiner.finish(scores.clone(), Temperature((2.0,)), keep=True)
    assert mask.tolist() == [[CLASSES.ignore_index, 0]]
    np.testing.assert_allclose(kept[0], [[0.75, 0.875]], atol=1e-3)
    assert refiner.finish(scores.clone(), UNCALIBRATED)[0].tolist() == [[0, 0]]


def test_without_refinement_a_temperature_leaves_the_mask_and_logits_as_they_are():
    scores = torch.randn(4, 40, 50, generator=torch.Generator().manual_seed(0))
    mask, kept = Refiner(Refinement(), CLASSES).finish(scores.clone(), Temperature((9.0,)))
    assert kept is None
    np.testing.assert_array_equal(mask, scores.argmax(0))


def test_a_threshold_replaces_that_of_an_overlapping_class():
    classes = Classes.create(["disk", "ring"], task="multilabel", thresholds=[0.25, 0.75])
    probabilities = [[[0.3, 0.2, 0.8]], [[0.3, 0.76, 0.7]]]
    assert refined(probabilities, classes).tolist() == [[[1, 0, 1]], [[0, 1, 0]]]
    assert refined(probabilities, classes, threshold="ring=0.3").tolist() == [[[1, 0, 1]], [[1, 1, 1]]]
    both = Refiner(Refinement.read(threshold="disk=0.3,ring=0.3"), classes)
    assert both.needs_probabilities
    assert not both.may_refuse
    for options in ({"refuse": 0.5}, {"min_area": 5}, {"min_area": "disk=5"}):
        with pytest.raises(ConfigError, match=rf"{next(iter(options))} needs one class per pixel"):
            refined(probabilities, classes, **options)

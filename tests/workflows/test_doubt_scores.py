"""Doubt about labels: wrong labels have higher scores than systematic confusions."""

import numpy as np
import pytest

from segnet.classes import Classes
from segnet.workflows.doubt_scores import doubts, evidence_of

CLASSES = Classes.create(["road", "car", "tree"])
SIZE = (24, 32)


def scene(seed):
    """A mask of road with a car and a tree, and probabilities of a model that sees half of each tree as road."""
    random = np.random.default_rng(seed)
    mask = np.zeros(SIZE, np.uint8)
    top, left = random.integers(0, 14, 2)
    mask[top : top + 10, left : left + 6] = 1
    mask[:, 24:] = 2
    seen = mask.copy()
    seen[:12, 24:] = 0
    probabilities = np.full((3, *SIZE), 0.1)
    np.put_along_axis(probabilities, seen[None].astype(int), 0.8, axis=0)
    return mask, probabilities


@pytest.fixture
def scenes():
    return [scene(seed) for seed in range(12)]


def scored(scenes):
    return doubts([evidence_of(probabilities, mask, CLASSES) for mask, probabilities in scenes])


def test_a_dropped_and_a_swapped_object_come_first(scenes):
    clean = scored(scenes)
    mask, probabilities = scenes[3]
    scenes[3] = np.where(mask == 1, 0, mask), probabilities
    mask, probabilities = scenes[7]
    scenes[7] = np.where(mask == 1, 2, mask), probabilities
    found = scored(scenes)
    order = np.argsort([-doubt.score for doubt in found])
    assert set(order[:2]) == {3, 7}
    assert found[order[1]].score > 3 * found[order[2]].score
    assert max(doubt.score for doubt in clean) < found[order[1]].score / 3
    assert np.nanargmax(found[3].by_class) == 0  # the road's labels
    assert np.nanargmax(found[7].by_class) == 2
    assert np.isnan(found[3].by_class[1])
    region = found[7].regions[0]
    assert (region.label, region.predicted, region.pixels) == (2, 1, 60)
    top, left = np.argwhere(mask == 1).min(axis=0)
    assert region.box == (left, top, 6, 10)
    assert (region.label_probability, region.predicted_probability) == pytest.approx((0.1, 0.8))


def test_what_the_model_confuses_everywhere_is_no_doubt(scenes):
    """Half of each tree is predicted as road; such regions come after those of wrong labels."""
    found = scored(scenes)
    assert max(doubt.score for doubt in found) < 0.5
    assert all(region.score < 0.5 for doubt in found for region in doubt.regions)


def test_shifted_labels_are_doubtful(scenes):
    mask, probabilities = scenes[5]
    scenes[5] = np.roll(mask, 4, axis=1), probabilities
    assert np.argmax([doubt.score for doubt in scored(scenes)]) == 5


def test_ignored_pixels_count_for_nothing(scenes):
    mask, probabilities = scenes[2]
    hidden = np.full_like(mask, 255)
    scenes[2] = hidden, probabilities
    found = scored(scenes)
    assert found[2].score == 0
    assert found[2].regions == []
    assert np.isnan(found[2].by_class).all()


def test_one_image_alone_has_a_finite_score(scenes):
    [found] = scored(scenes[:1])
    assert np.isfinite(found.score)

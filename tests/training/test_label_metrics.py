"""Metrics of overlapping classes against counts of every pixel in numpy."""

import numpy as np
import pytest
import torch

from segnet.classes import Classes
from segnet.training.label_metrics import (
    NUM_CELLS,
    ProbabilityHistogram,
    count_planes,
    metric_of,
    scores_at_half,
    scores_of_planes,
)
from segnet.training.metrics import ConfusionMatrix

IGNORED, K = 255, 3


def classes(*thresholds: float) -> Classes:
    return Classes.create(["a", "b", "c"], task="multilabel", thresholds=thresholds)


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    truth = (rng.random((2, K, 20, 24)) < [[[[0.3]], [[0.1]], [[0.0]]]]).astype(np.uint8)
    probabilities = np.clip(0.35 * truth + rng.random(truth.shape) * 0.6, 0, 1).astype(np.float32)
    truth[rng.random(truth.shape) < 0.1] = IGNORED
    probabilities[0, 0, 0, :4] = [0.0, 0.5, 1.0, np.nextafter(np.float32(0.5), np.float32(0))]
    return torch.from_numpy(probabilities), torch.from_numpy(truth)


def counted(batches, label: int, threshold: float) -> tuple[int, int, int]:
    """Correct, true and predicted pixels of a class."""
    found = [(p[:, label].numpy(), t[:, label].numpy()) for p, t in batches]
    p = np.concatenate([a[b != IGNORED] for a, b in found])
    t = np.concatenate([b[b != IGNORED] for _, b in found])
    predicted = p >= threshold
    return int((predicted & (t == 1)).sum()), int((t == 1).sum()), int(predicted.sum())


def test_counts_at_thresholds_are_exact():
    batches = [batch(seed) for seed in range(3)]
    thresholds = (0.5, 300 / NUM_CELLS, 1.0)
    metric = ProbabilityHistogram(classes(*thresholds))
    for probabilities, truth in batches:
        metric.update(probabilities, truth)
    counts = metric.compute()
    expected = np.array([counted(batches, label, t) for label, t in enumerate(thresholds)]).T
    np.testing.assert_array_equal(metric.by_class(counts).numpy(), expected)
    scores = metric.scores(counts)
    for label in range(2):
        correct, true, predicted = counted(batches, label, thresholds[label])
        assert scores.iou[label] == pytest.approx(correct / (true + predicted - correct))
        assert scores.dice[label] == pytest.approx(2 * correct / (true + predicted))
        assert scores.precision[label] == pytest.approx(correct / predicted)
        assert scores.accuracy[label] == pytest.approx(correct / true)
    half = np.array([counted(batches, label, 0.5) for label in range(K)]).T
    np.testing.assert_array_equal(metric.by_class(counts, [0.5] * K).numpy(), half)
    assert scores_at_half(metric).iou[1] == metric.scores(counts, [0.5] * K).iou[1]


def test_pixel_accuracy_counts_every_class_of_every_pixel():
    probabilities, truth = batch(0)
    metric = ProbabilityHistogram(classes())
    metric.update(probabilities, truth)
    labeled = truth != IGNORED
    right = ((probabilities >= 0.5) == (truth == 1))[labeled].double().mean().item()
    assert metric.scores(metric.compute()).pixel_accuracy == pytest.approx(right)


def test_a_window_counts_like_its_image_and_nan_is_no_class():
    probabilities, truth = batch(1)
    one, other = ProbabilityHistogram(classes()), ProbabilityHistogram(classes())
    one.update(probabilities, truth)
    for p, t in zip(probabilities, truth, strict=True):
        other.update(p[:, :, :7], t[:, :, :7])
        other.update(p[:, :, 7:], t[:, :, 7:])
    torch.testing.assert_close(one.compute(), other.compute())
    other.reset()
    other.update(torch.full((K, 2, 2), float("nan")), torch.ones(K, 2, 2, dtype=torch.uint8))
    assert other.by_class(other.compute())[2].tolist() == [0, 0, 0]


def test_best_thresholds_have_the_highest_iou_of_all():
    batches = [batch(seed) for seed in range(3)]
    metric = ProbabilityHistogram(classes())
    for probabilities, truth in batches:
        metric.update(probabilities, truth)
    best = metric.best_thresholds(metric.compute())
    assert best[2] == 0.5  # no true pixel

    def iou(label: int, threshold: float) -> float:
        correct, true, predicted = counted(batches, label, threshold)
        return correct / (true + predicted - correct)

    for label in range(2):
        every = [iou(label, step / NUM_CELLS) for step in range(1, NUM_CELLS)]
        assert iou(label, best[label]) == max(every)
        assert (best[label] * NUM_CELLS).is_integer()
        assert best[label] != 0.5


def test_equal_thresholds_are_close_to_a_half():
    metric = ProbabilityHistogram(classes())
    truth = torch.zeros(K, 2, 2, dtype=torch.uint8)
    truth[:, 0] = 1
    metric.update(torch.where(truth == 1, 0.9, 0.1), truth)
    assert metric.best_thresholds(metric.compute()) == [0.5] * K
    metric.reset()
    metric.update(torch.where(truth == 1, 0.9, 0.7), truth)
    assert metric.best_thresholds(metric.compute()) == [717 / NUM_CELLS] * K  # the first one above 0.7


def test_the_metric_follows_the_task():
    assert isinstance(metric_of(classes()), ProbabilityHistogram)
    exclusive = metric_of(Classes.create(["a", "b"]))
    assert isinstance(exclusive, ConfusionMatrix)
    assert scores_at_half(exclusive) is None


def test_counts_of_planes_are_those_of_the_histogram():
    probabilities, truth = batch(1)
    metric = ProbabilityHistogram(classes())
    metric.update(probabilities, truth)
    found = [
        count_planes((planes >= 0.5).numpy(), true.numpy()) for planes, true in zip(probabilities, truth, strict=True)
    ]
    np.testing.assert_array_equal(np.sum(found, axis=0)[:3], metric.by_class(metric.compute()).numpy())
    assert str(scores_of_planes(np.sum(found, axis=0))) == str(scores_at_half(metric))  # NaN is no NaN
    ignored = count_planes(np.ones((1, 2, 2), int), np.full((1, 2, 2), IGNORED))
    assert ignored.tolist() == [[0], [0], [0], [0]]
    assert np.isnan(scores_of_planes(ignored).miou)

"""ECE, risk at coverage and AURC equal their definitions, counted pixel by pixel in float64."""

import math

import numpy as np
import pytest
import torch

from segnet.inference.tta import argmax_classes
from segnet.models.temperature import Temperature
from segnet.training.confidence_metrics import (
    CELLS_PER_BIN,
    COVERAGES,
    NUM_BINS,
    ConfidenceCounts,
    top_confidence,
)


def pixels(count=40_000, seed=0):
    """Confidences as of an overconfident model, most of them near 1; whether each pixel is right, and counted."""
    generator = np.random.default_rng(seed)
    confidence = (1 - 0.9 * 10.0 ** -generator.gamma(2.0, 0.8, count)).astype(np.float32)
    correct = generator.random(count) < confidence**2
    return confidence, correct, generator.random(count) < 0.9


def counted(*parts):
    counts = ConfidenceCounts()
    for part in parts:
        counts.update(*map(torch.tensor, part))
    return counts


def reference_ece(confidence, correct):
    """Guo et al. 2017, equation 3, with bins (k / 15, (k + 1) / 15]."""
    total = 0.0
    for index in range(NUM_BINS):
        inside = (confidence > index / NUM_BINS) & (confidence <= (index + 1) / NUM_BINS)
        if inside.any():
            total += abs(correct[inside].mean() - confidence[inside].astype(np.float64).mean()) * inside.sum()
    return total / len(confidence)


def reference_risks(confidence, correct):
    """The error rates of the first n pixels by decreasing confidence, for all n."""
    order = np.argsort(-confidence, kind="stable")
    return np.cumsum(~correct[order]) / np.arange(1, len(order) + 1)


def test_ece_and_means_equal_a_count_by_pixel():
    confidence, correct, is_counted = pixels()
    scores = counted((confidence, correct, is_counted)).scores()
    confidence, correct = confidence[is_counted], correct[is_counted]
    assert scores.ece == pytest.approx(reference_ece(confidence, correct), abs=1e-7)
    assert scores.ece > 0.02
    assert scores.mean_confidence == pytest.approx(confidence.astype(np.float64).mean(), abs=1e-7)
    assert sum(scores.pixels) == len(confidence)
    last = confidence > 14 / 15
    assert scores.pixels[-1] == last.sum()
    assert scores.accuracy[-1] == pytest.approx(correct[last].mean())
    assert scores.confidence[-1] == pytest.approx(confidence[last].astype(np.float64).mean(), abs=1e-7)
    assert math.isnan(scores.accuracy[0])


def test_risks_equal_those_of_sorted_pixels():
    confidence, correct, is_counted = pixels()
    scores = counted((confidence, correct, is_counted)).scores()
    risks = reference_risks(confidence[is_counted], correct[is_counted])
    expected = [risks[round(coverage * len(risks)) - 1] for coverage in COVERAGES]
    assert scores.risks == pytest.approx(expected, abs=3e-4)
    assert scores.risks[-1] == pytest.approx(1 - correct[is_counted].mean(), abs=1e-12)
    assert scores.risk(0.8) == scores.risks[1]
    assert scores.aurc == pytest.approx(risks.mean(), abs=3e-4)


def test_risks_by_hand():
    """Four groups of equally confident pixels; within one, the errors rise linearly."""
    confidence = np.repeat(np.float32([0.99, 0.9, 0.6, 0.5]), 10)
    correct = np.concatenate([np.arange(10) >= wrong for wrong in (0, 1, 2, 5)])
    scores = counted((confidence, correct, np.ones(40, bool))).scores()
    by_hand = [1 / 20, (3 + 2 * 0.5) / 32, (3 + 6 * 0.5) / 36, (3 + 8 * 0.5) / 38, 8 / 40]
    assert scores.risks == pytest.approx(by_hand)
    n = np.linspace(0, 40, 400_001)[1:]
    errors = np.interp(n, [0, 10, 20, 30, 40], [0, 0, 1, 3, 8])
    assert scores.aurc == pytest.approx((errors / n).mean(), abs=1e-5)


def test_any_division_of_the_pixels_gives_the_same_counts():
    whole = pixels()
    parts = [[values[start::7] for values in whole] for start in range(7)]
    one, many = counted(whole), counted(*reversed(parts))
    assert torch.equal(one.cells, many.cells)
    assert torch.equal(one.sums, many.sums)
    assert (one.scores().ece, one.scores().aurc) == (many.scores().ece, many.scores().aurc)


def test_each_confidence_has_a_cell():
    ones = np.float32([1.0, np.nextafter(np.float32(1), np.float32(0)), 1 / 15, 1e-6, 0.0, np.nan])
    counts = counted((ones, np.ones(6, bool), np.ones(6, bool)))
    assert counts.cells.shape == (NUM_BINS, CELLS_PER_BIN, 2)
    assert counts.cells.sum() == 6
    assert counts.cells[-1, 0, 1] + counts.cells[-1, 1, 1] == 2
    counts.reset()
    assert counts.cells.sum() == 0


def test_without_a_labeled_pixel_the_scores_are_undefined():
    scores = counted((np.float32([0.5]), np.array([True]), np.array([False]))).scores()
    assert all(math.isnan(value) for value in (scores.ece, scores.aurc, *scores.risks))
    record = scores.to_dict(Temperature())
    assert record["ece"] is None
    assert record["risk_at_coverage"] == dict.fromkeys(("0.5", "0.8", "0.9", "0.95", "1"))


@pytest.mark.parametrize("temperature", [Temperature(), Temperature((1.7,)), Temperature((0.5, 1.0, 2.0, 3.0, 4.0))])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_confidence_is_the_softmax_of_the_predicted_class(temperature, layout):
    logits = (4 * torch.randn(2, 5, 300, 200, generator=torch.Generator().manual_seed(0))).to(memory_format=layout)
    predicted = argmax_classes(logits)
    divisor = temperature.of_pixels(predicted)
    divided = logits.double() / (divisor[:, None].double() if isinstance(divisor, torch.Tensor) else divisor)
    expected = divided.softmax(1).gather(1, predicted[:, None])[:, 0]
    torch.testing.assert_close(top_confidence(logits, predicted, temperature).double(), expected, atol=1e-6, rtol=0)

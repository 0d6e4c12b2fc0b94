"""The fit recovers a known temperature; the sample is uniform and bounded."""

import pytest
import torch

from segnet.models.temperature import HIGHEST, LOWEST, UNCALIBRATED, Temperature
from segnet.training import calibration
from segnet.training.calibration import (
    ConfidenceMetrics,
    LogitSample,
    fit_temperature,
    scores_of_pixels,
)


def drawn(true_temperature, count=30_000, num_classes=4):
    """Logits, and labels drawn with the probabilities softmax(logits / true_temperature)."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(count, num_classes, generator=generator)
    divisor = true_temperature if isinstance(true_temperature, float) else true_temperature[logits.argmax(1)][:, None]
    labels = torch.multinomial((logits / divisor).softmax(1), 1, generator=generator)[:, 0]
    return logits, labels


def likelihood(logits, labels, temperature):
    return -(logits.double() / temperature).log_softmax(1).gather(1, labels[:, None]).mean().item()


@pytest.mark.parametrize("true", [0.6, 1.0, 2.5])
def test_the_fit_finds_the_temperature_that_labels_were_drawn_with(true):
    logits, labels = drawn(true)
    [found] = fit_temperature(logits, labels, by_class=False).values
    assert found == pytest.approx(true, rel=0.03)
    best = likelihood(logits, labels, found)
    assert best <= min(likelihood(logits, labels, found * factor) for factor in (0.999, 1.001))
    after = scores_of_pixels(logits, labels, Temperature((found,)))
    assert after.ece < 0.01
    if true != 1.0:
        assert after.ece < scores_of_pixels(logits, labels, UNCALIBRATED).ece / 4


def test_each_predicted_class_has_its_own_temperature():
    true = torch.tensor([0.7, 1.0, 2.0, 4.0])
    logits, labels = drawn(true, 60_000)
    assert fit_temperature(logits, labels, by_class=True).values == pytest.approx(true.tolist(), rel=0.08)
    logits[:, 3] -= 100  # never predicted: it gets the temperature of all pixels
    labels = labels.clamp_max(2)
    found = fit_temperature(logits, labels, by_class=True)
    assert found.values[3] == fit_temperature(logits, labels, by_class=False).values[0]


def test_a_fit_stays_within_its_limits():
    logits, _ = drawn(1.0, 2000)
    assert fit_temperature(logits, logits.argmax(1), by_class=False).values[0] == pytest.approx(LOWEST, rel=1e-3)
    assert fit_temperature(logits, logits.argmin(1), by_class=False).values[0] == pytest.approx(HIGHEST, rel=1e-3)


def test_the_sample_keeps_all_labeled_pixels_as_long_as_they_are_few():
    sample = LogitSample(3, ignore_index=255)
    logits, truth = torch.randn(2, 3, 5, 6), torch.randint(0, 3, (2, 5, 6))
    truth[0, :2] = 255
    for _ in range(2):
        sample.update(logits, truth)
    values, labels = sample.pixels()
    assert torch.equal(labels, truth[truth != 255].repeat(2))
    assert torch.equal(values, logits.movedim(1, -1)[truth != 255].repeat(2, 1))


def test_a_large_split_is_sampled_uniformly_in_bounded_memory(monkeypatch):
    monkeypatch.setattr(calibration, "MOST_PIXELS", 1000)
    sample = LogitSample(2, ignore_index=255)
    for image in range(40):
        number = torch.full((1, 1, 50, 20), float(image))
        sample.update(torch.cat([number, -number], dim=1), torch.full((1, 50, 20), image % 2))
    values, labels = sample.pixels()
    assert 500 <= len(values) <= 1000
    assert torch.equal(labels, values[:, 0].long() % 2)
    per_image = values[:, 0].long().bincount(minlength=40)
    assert per_image.min() / per_image.float().mean() > 0.5
    assert per_image.max() / per_image.float().mean() < 2
    before = values.clone()
    sample.reset()
    assert not len(sample.pixels()[0])
    for image in range(40):
        number = torch.full((1, 1, 50, 20), float(image))
        sample.update(torch.cat([number, -number], dim=1), torch.full((1, 50, 20), image % 2))
    assert torch.equal(sample.pixels()[0], before)


def test_too_few_labeled_pixels_give_no_temperature():
    metrics = ConfidenceMetrics(3, 255, UNCALIBRATED, "global")
    assert metrics.fitted() is None
    logits = torch.randn(1, 3, 4, 4)
    metrics.update(logits, logits.argmax(1), torch.full((1, 4, 4), 255))
    assert metrics.fitted() is None
    assert sum(metrics.counts.scores().pixels) == 0
    metrics.update(torch.full((1, 3, 40, 40), torch.nan), torch.zeros(1, 40, 40), torch.ones(1, 40, 40))  # diverged
    assert metrics.fitted() is None
    assert metrics.counts.scores().ece == 0

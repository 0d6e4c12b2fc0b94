"""Fit the temperature of a model's probabilities to a bounded sample of an evaluation's pixels.

The fit minimizes the negative log-likelihood (Guo et al. 2017, arXiv 1706.04599, section 4.2). It is convex in the
reciprocal of the temperature, and is solved by Newton's method in float64. The sample is uniform over the labeled
pixels of all images, whatever their number; its seed is fixed.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from segnet.data.datamodule import SegmentationDataModule
from segnet.errors import SegnetError
from segnet.inference.refining import Refiner
from segnet.inference.tta import argmax_classes, calibrated
from segnet.models.temperature import HIGHEST, LOWEST, Temperature
from segnet.training.confidence_metrics import ConfidenceCounts, ConfidenceScores, top_confidence

MOST_PIXELS, MOST_LOGITS = 2**17, 2**23  # of the sample: 32 MiB
FEWEST_PIXELS = 100  # labeled pixels in the sample, for a temperature; of a class, for its own one 10 times as many
MOST_STEPS, NEWTON_TOLERANCE = 50, 1e-10  # of Newton's method


@dataclass(frozen=True, slots=True)
class FittedTemperature:
    """A temperature fitted to a split.

    Attributes:
        temperature: the temperature.
        num_pixels: pixels in the sample.
        before, after: scores of the sample with temperature 1, and with the fitted one. The fit has seen these pixels:
            `after` is slightly too good.
    """

    temperature: Temperature
    num_pixels: int
    before: ConfidenceScores
    after: ConfidenceScores

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-compatible builtins, for results.json and the checkpoint."""
        return {
            "values": list(self.temperature.values),
            "num_pixels": self.num_pixels,
            "ece_before": self.before.ece,
            "ece_after": self.after.ece,
        }


class LogitSample:
    """A uniform sample of labeled pixels with all their logits, in bounded memory.

    Each pixel draws a number; those below a threshold stay. If they become too many, the threshold is halved.

    Args:
        num_classes: number of classes.
        ignore_index: truth pixels of this value are not sampled.
    """

    def __init__(self, num_classes: int, ignore_index: int) -> None:
        self._most = min(MOST_PIXELS, MOST_LOGITS // num_classes)
        self._ignore_index = ignore_index
        self.reset()

    def reset(self) -> None:
        """Drop all pixels."""
        self._generator = torch.Generator().manual_seed(0)
        self._threshold = 1.0
        self._parts: list[tuple[Tensor, Tensor, Tensor]] = []  # drawn numbers, logits, class ids

    def update(self, logits: Tensor, truth: Tensor) -> None:
        """Sample pixels of logits (B, classes, H, W), with the truth (B, H, W)."""
        drawn = torch.rand(truth.shape, generator=self._generator)
        drawn[(truth == self._ignore_index).cpu()] = 1.0  # never below the threshold
        while sum(len(part[0]) for part in self._parts) + int((drawn < self._threshold).sum()) > self._most:
            self._threshold /= 2
            self._parts = [_chosen(part, part[0] < self._threshold) for part in self._parts]
        image, row, column = (drawn < self._threshold).nonzero(as_tuple=True)
        near, far = ([index.to(of.device) for index in (image, row, column)] for of in (logits, truth))
        values = logits[near[0], :, near[1], near[2]].float().cpu()
        self._parts.append((drawn[image, row, column], values, truth[far[0], far[1], far[2]].cpu().long()))

    def pixels(self) -> tuple[Tensor, Tensor]:
        """The sample: logits (pixels, classes), float32, and class ids (pixels), int64."""
        if not self._parts:
            return torch.empty(0, 1), torch.empty(0, dtype=torch.int64)
        _, logits, labels = (torch.cat(column) for column in zip(*self._parts, strict=True))
        return logits, labels


def _chosen(part: tuple[Tensor, Tensor, Tensor], rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return part[0][rows], part[1][rows], part[2][rows]


class ConfidenceMetrics:
    """What an evaluation counts about confidence: histograms, and on request a sample to fit a temperature to.

    Args:
        num_classes: number of classes.
        ignore_index: truth pixels of this value are not counted.
        temperature: that of the probabilities.
        fit: "global" or "class" keeps a sample to fit that kind of temperature; None: no sample.
    """

    def __init__(self, num_classes: int, ignore_index: int, temperature: Temperature, fit: str | None = None) -> None:
        self._ignore_index = ignore_index
        self._kind = fit
        self.temperature = temperature
        self.counts = ConfidenceCounts()
        self._sample = LogitSample(num_classes, ignore_index) if fit else None

    def reset(self) -> None:
        """Set all counts to 0."""
        self.counts.reset()
        if self._sample is not None:
            self._sample.reset()

    def update(self, logits: Tensor, predicted: Tensor, truth: Tensor) -> None:
        """Count pixels.

        Args:
            logits: logits before calibration, or logarithms of averaged probabilities, (B, classes, H, W).
            predicted: their argmax (B, H, W).
            truth: class ids or the ignore index (B, H, W).
        """
        self.counts.to(logits.device)
        confidence = top_confidence(logits, predicted, self.temperature)
        self.counts.update(confidence, predicted == truth, truth != self._ignore_index)
        if self._sample is not None:
            self._sample.update(logits, truth)

    def fitted(self) -> FittedTemperature | None:
        """Fit the temperature to the sample; None without a sample, or with too few labeled pixels."""
        if self._sample is None or self._kind is None:
            return None
        logits, labels = self._sample.pixels()
        finite = logits.isfinite().all(1)  # not those of a model that diverged
        logits, labels = logits[finite], labels[finite]
        if len(labels) < FEWEST_PIXELS:
            return None
        temperature = fit_temperature(logits, labels, by_class=self._kind == "class")
        before, after = (scores_of_pixels(logits, labels, one) for one in (Temperature(), temperature))
        return FittedTemperature(temperature, len(labels), before, after)


def label_and_count(
    scores: Tensor, logits: Tensor, truth: Tensor, refiner: Refiner, metrics: ConfidenceMetrics | None
) -> Tensor:
    """Give each pixel its class, as a prediction does, and count the confidence in the most probable classes.

    Args:
        scores: probabilities (B, classes, H, W), which are overwritten; logits are enough unless the refinement needs
            probabilities.
        logits: as `ConfidenceMetrics.update` takes them.
        truth: class ids or the ignore index (B, H, W).
        refiner: labels the pixels by calibrated probabilities.
        metrics: what to count, and the temperature; None: nothing, and 1.

    Returns:
        Class ids (B, H, W), and the ignored label for refused pixels; without metrics, what `Refiner.counted` gives.
    """
    decides = refiner.refinement.needs_probabilities
    if metrics is None:
        return refiner.counted(scores)
    likeliest = argmax_classes(scores) if decides else refiner.label(scores)
    metrics.update(logits, likeliest, truth)
    return refiner.label(calibrated(scores, metrics.temperature)) if decides else likeliest


def num_trained_images(datamodule: SegmentationDataModule, split: str) -> int:
    """Count the images of a split that are in the train split too; 0 if there is no train split to compare with.

    A model is too confident on images that it was trained on, and so would be the temperature.
    """
    try:
        train = datamodule.split("train")
    except SegnetError:  # a machine with the val images alone
        return 0
    evaluated = datamodule.split(split)
    trained = {tuple(train.files(index)) for index in range(len(train))} - {()}
    return sum(tuple(evaluated.files(index)) in trained for index in range(len(evaluated)))


def fit_temperature(logits: Tensor, labels: Tensor, *, by_class: bool) -> Temperature:
    """Fit the temperature of the lowest negative log-likelihood, within LOWEST and HIGHEST.

    Args:
        logits: (pixels, classes).
        labels: class ids (pixels), without ignored ones.
        by_class: fit one per predicted class; classes that are predicted in few pixels get the one of all pixels.
    """
    overall = _fit(logits, labels)
    if not by_class:
        return Temperature((overall,))
    predicted = logits.argmax(1)
    values = []
    for label in range(logits.shape[1]):
        chosen = predicted == label
        enough = int(chosen.sum()) >= 10 * FEWEST_PIXELS
        values.append(_fit(logits[chosen], labels[chosen]) if enough else overall)
    return Temperature(tuple(values))


def scores_of_pixels(logits: Tensor, labels: Tensor, temperature: Temperature) -> ConfidenceScores:
    """Score the confidence in pixels: logits (pixels, classes), class ids (pixels), all counted."""
    counts = ConfidenceCounts()
    predicted = logits.argmax(1)
    confidence = top_confidence(logits.T[None, :, None], predicted[None, None], temperature).flatten()
    counts.update(confidence, predicted == labels, torch.ones_like(labels, dtype=torch.bool))
    return counts.scores()


def _fit(logits: Tensor, labels: Tensor) -> float:
    """Minimize mean(logsumexp(b z) - b z_label) over b = 1 / temperature: its slope rises with b."""
    scores = logits.double()
    scores = scores - scores.gather(1, labels[:, None])
    low, high = 1 / HIGHEST, 1 / LOWEST
    factor = 1.0
    for _ in range(MOST_STEPS):
        probabilities = (scores * factor).softmax(1)
        means = (probabilities * scores).sum(1)
        slope = means.mean().item()
        curvature = ((probabilities * scores * scores).sum(1) - means * means).mean().item()
        low, high = (low, factor) if slope > 0 else (factor, high)
        following = factor - slope / curvature if curvature > 0 else (low + high) / 2
        if not low <= following <= high:
            following = (low + high) / 2
        if abs(following - factor) <= NEWTON_TOLERANCE * factor:
            break
        factor = following
    return 1 / factor

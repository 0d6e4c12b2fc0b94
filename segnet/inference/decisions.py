"""From logits to probabilities to masks: the one place that knows what the classes of a pixel mean.

A pixel has exactly one class (softmax, the most probable class), or any number of classes (a sigmoid and a threshold of
each class). Everything else of an inference is the same: windows, test-time augmentation, ensembles, runtimes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from segnet.classes import Classes
from segnet.inference.tta import Inference, argmax_classes, as_logits


class Decision(Protocol):
    """The decision about the classes of pixels.

    Attributes:
        needs_probabilities: whether masks depend on more than the order of the logits.
    """

    needs_probabilities: bool

    def fitted(self, inference: Inference) -> Inference:
        """Return an inference with the probabilities of this decision."""
        ...

    def scores(self, logits: Tensor) -> Tensor:
        """Return what `counted` and `masks` take, for logits that are still needed: logits or probabilities."""
        ...

    def masks(self, scores: Tensor) -> Tensor:
        """Return the mask of scores (..., classes, H, W): class ids (..., H, W), or planes of 0 and 1."""
        ...

    def counted(self, scores: Tensor) -> Tensor:
        """Return what the metrics of the task take (`segnet.training.label_metrics.metric_of`), from scores."""
        ...

    def as_logits(self, probabilities: Tensor) -> Tensor:
        """Return logits that have these probabilities, for a loss."""
        ...


class OneClass:
    """Each pixel has its most probable class."""

    needs_probabilities = False

    def fitted(self, inference: Inference) -> Inference:
        return inference

    def scores(self, logits: Tensor) -> Tensor:
        return logits

    def masks(self, scores: Tensor) -> Tensor:
        return argmax_classes(scores)

    def counted(self, scores: Tensor) -> Tensor:
        return argmax_classes(scores)

    def as_logits(self, probabilities: Tensor) -> Tensor:
        return as_logits(probabilities)


class AnyClasses:
    """Each pixel has every class whose probability reaches the class's threshold.

    Args:
        thresholds: one per class, 0-1.
    """

    needs_probabilities = True

    def __init__(self, thresholds: Sequence[float]) -> None:
        self._thresholds = torch.tensor(list(thresholds), dtype=torch.float32)[:, None, None]

    def fitted(self, inference: Inference) -> Inference:
        return replace(inference, activation=sigmoid)

    def scores(self, logits: Tensor) -> Tensor:
        return logits.float().sigmoid()

    def masks(self, scores: Tensor) -> Tensor:
        return (scores >= self._thresholds.to(scores.device)).to(torch.uint8)

    def counted(self, scores: Tensor) -> Tensor:
        return scores

    def as_logits(self, probabilities: Tensor) -> Tensor:
        return as_logits(probabilities) - as_logits(1 - probabilities)


def decision_of(classes: Classes) -> Decision:
    """Return the decision for the task of the classes, with their thresholds."""
    return AnyClasses(classes.decision_thresholds) if classes.is_multilabel else OneClass()


def sigmoid(logits: Tensor) -> Tensor:
    """Sigmoid of logits; in place for float32, as `segnet.inference.tta` may overwrite them."""
    return logits.sigmoid_() if logits.dtype == torch.float32 else logits.float().sigmoid()

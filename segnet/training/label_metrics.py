"""Metrics of several classes per pixel, from a histogram of probabilities per class, in exact integers.

The histogram has a fixed size, whatever the number of images. It gives the counts at every threshold that is a multiple
of 1 / `NUM_CELLS`, and with them the threshold with the highest IoU of each class. Dice is highest there, too.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from segnet.classes import DEFAULT_THRESHOLD, IGNORED_IN_PLANE, THRESHOLD_STEPS, Classes
from segnet.training.metrics import ConfusionMatrix, Scores

NUM_CELLS = THRESHOLD_STEPS  # a power of two: the bin of a float32 probability is exact


class ProbabilityHistogram(Metric):
    """Pixels by probability, of each class, summed over batches and processes.

    Args:
        classes: the classes; their thresholds apply to `scores`.
    """

    full_state_update = False
    matrix: Tensor

    def __init__(self, classes: Classes) -> None:
        super().__init__()
        self.num_classes = len(classes.names)
        self.ignore_index = classes.ignore_index
        self.thresholds = classes.decision_thresholds
        # [0] pixels that lack the class, [1] pixels that have it
        zeros = torch.zeros(2, self.num_classes, NUM_CELLS, dtype=torch.int64)
        self.add_state("matrix", zeros, dist_reduce_fx="sum")

    def update(self, probabilities: Tensor, truth: Tensor) -> None:
        """Count probabilities (..., classes, H, W), 0-1, and planes of the same shape; NaN counts as 0."""
        for label, (found, true) in enumerate(zip(probabilities.unbind(-3), truth.unbind(-3), strict=True)):
            bins = (found.float().nan_to_num() * NUM_CELLS).long().clamp_(0, NUM_CELLS - 1)
            # Ignored pixels are counted in an extra cell: boolean indexing would synchronize with the device.
            cells = (bins + NUM_CELLS * (true == 1)).where(true != self.ignore_index, 2 * NUM_CELLS).reshape(-1)
            counts = torch.zeros(2 * NUM_CELLS + 1, dtype=torch.int64, device=cells.device)
            counts.scatter_add_(0, cells, torch.ones_like(cells))
            self.matrix[:, label] += counts[:-1].view(2, NUM_CELLS)

    def compute(self) -> Tensor:
        """Return the counts: int64 (2, num_classes, NUM_CELLS)."""
        return self.matrix

    def by_class(self, counts: Tensor, thresholds: Sequence[float] | None = None) -> Tensor:
        """Return the correct, true and predicted pixels of each class, (3, num_classes) int64.

        Args:
            counts: a difference or sum of `compute`.
            thresholds: one per class, multiples of 1 / NUM_CELLS; None: those of the classes.
        """
        correct, predicted = _at_each_threshold(counts.cpu())
        places = torch.tensor([round(value * NUM_CELLS) for value in thresholds or self.thresholds])[:, None]
        at = [values.gather(1, places)[:, 0] for values in (correct, predicted)]
        return torch.stack([at[0], counts.cpu()[1].sum(1), at[1]])

    def scores(self, counts: Tensor, thresholds: Sequence[float] | None = None) -> Scores:
        """Compute the scores; arguments as in `by_class`. Pixel accuracy is over all pixels of all classes."""
        correct, truth, predicted = self.by_class(counts, thresholds)
        total = counts.sum().item()
        wrong = (truth + predicted - 2 * correct).sum().item()
        return Scores.from_counts(correct, truth, predicted, 1 - wrong / total if total else float("nan"))

    def best_thresholds(self, counts: Tensor) -> list[float]:
        """Return the threshold of each class with the highest IoU; of equal ones, that closest to 0.5.

        A class without a true pixel has 0.5.
        """
        counts = counts.cpu()
        correct, predicted = (values[:, 1:NUM_CELLS].double() for values in _at_each_threshold(counts))
        truth = counts[1].sum(1, keepdim=True).double()
        iou = (correct / (truth + predicted - correct).clamp(min=1)).tolist()
        thresholds = [(index + 1) / NUM_CELLS for index in range(NUM_CELLS - 1)]
        return [
            max(zip(row, thresholds, strict=True), key=lambda pair: (pair[0], -abs(pair[1] - DEFAULT_THRESHOLD)))[1]
            if present
            else DEFAULT_THRESHOLD
            for row, present in zip(iou, (truth > 0)[:, 0].tolist(), strict=True)
        ]


def scores_at_half(metric: "ConfusionMatrix | ProbabilityHistogram") -> Scores | None:
    """Return the scores with a threshold of 0.5 for each class; None if classes are exclusive."""
    if isinstance(metric, ConfusionMatrix):
        return None
    return metric.scores(metric.compute(), [DEFAULT_THRESHOLD] * metric.num_classes)


def count_planes(found: NDArray[np.integer], truth: NDArray[np.integer]) -> NDArray[np.int64]:
    """Count the correct, true, predicted and labeled pixels of each class, (4, classes).

    Args:
        found: planes (classes, H, W) of 0 and 1.
        truth: planes of the same shape, of 0, 1 and `IGNORED_IN_PLANE`.
    """
    labeled = truth != IGNORED_IN_PLANE
    has, says = truth == 1, (found == 1) & labeled
    return np.stack([planes.sum(axis=(1, 2), dtype=np.int64) for planes in (has & says, has, says, labeled)])


def scores_of_planes(counts: NDArray[np.int64]) -> Scores:
    """Compute the scores of counts (4, classes) as `count_planes` returns them; sums of them are counts, too."""
    correct, truth, predicted, labeled = (torch.from_numpy(row) for row in counts)
    total = int(labeled.sum())
    wrong = int((truth + predicted - 2 * correct).sum())
    accuracy = 1 - wrong / total if total else float("nan")
    return Scores.from_counts(correct, truth, predicted, accuracy)


def metric_of(classes: Classes) -> ConfusionMatrix | ProbabilityHistogram:
    """Return the metric for the task of the classes: of predicted ids, or of probabilities."""
    if classes.is_multilabel:
        return ProbabilityHistogram(classes)
    return ConfusionMatrix(len(classes.names), classes.ignore_index)


def _at_each_threshold(counts: Tensor) -> tuple[Tensor, Tensor]:
    """The correct and the predicted pixels of each class at the thresholds 0, 1 / NUM_CELLS, ... 1."""
    above = counts.flip(2).cumsum(2).flip(2)
    above = torch.cat([above, above.new_zeros(2, above.shape[1], 1)], dim=2)
    return above[1], above.sum(0)

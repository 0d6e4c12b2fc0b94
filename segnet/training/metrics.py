"""Segmentation metrics from one confusion matrix over the whole split, in exact integers.

The IoU of a class is TP / (TP + FP + FN), summed over all pixels of the split. Mean IoU averages it over the classes
that occur in truth or prediction: PASCAL VOC's definition. It is not the mean over images of each image's mIoU.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics import Metric

from segnet.classes import Classes
from segnet.errors import printable

MONITOR = "val/miou"  # selects the best checkpoint
IOU = "val/iou/"  # prefix of the per-class metrics, followed by the class name


def iou_metric(class_name: str) -> str:
    """Return the metric name of a class's IoU for loggers and metrics.csv, without control characters."""
    return IOU + printable(class_name)


DEFINITION = "mean over classes of TP / (TP + FP + FN), summed over all pixels of the split; absent classes left out"


def number(value: float) -> float | None:
    """Return a score for JSON, which has no NaN: None stands for 0 / 0."""
    return None if value != value else value


def percent(ratio: float, unit: str = " %") -> str:
    """Format a ratio as a percentage with one decimal: "76.9 %"; NaN is "n/a"."""
    return "n/a" if ratio != ratio else f"{100 * ratio:.1f}{unit}"


class ConfusionMatrix(Metric):
    """Confusion matrix, summed over batches and processes: rows are the truth, columns the prediction.

    Args:
        num_classes: number of rows and of columns.
        ignore_index: truth pixels of this value are not counted.
    """

    full_state_update = False
    matrix: Tensor

    def __init__(self, num_classes: int, ignore_index: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        zeros = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.add_state("matrix", zeros, dist_reduce_fx="sum")

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Count two masks of class ids: same shape, any integer dtype; truth may contain `ignore_index`."""
        # Ignored pixels are counted in an extra cell: boolean indexing would synchronize with the device.
        num_cells = self.num_classes**2
        cells = truth.to(torch.int32) * self.num_classes + prediction.to(torch.int32)
        cells = cells.where(truth != self.ignore_index, num_cells).reshape(-1).long()
        counts = torch.zeros(num_cells + 1, dtype=torch.int64, device=cells.device)
        counts.scatter_add_(0, cells, torch.ones_like(cells))
        self.matrix += counts[:-1].view_as(self.matrix)

    def compute(self) -> Tensor:
        """Return the counts: int64 (num_classes, num_classes), rows the truth, columns the prediction."""
        return self.matrix

    def by_class(self, counts: Tensor) -> Tensor:
        """Return the correct, true and predicted pixels of each class of a matrix, (3, num_classes) int64."""
        matrix = counts.cpu()
        return torch.stack([matrix.diag(), matrix.sum(1), matrix.sum(0)])

    def scores(self, counts: Tensor) -> "Scores":
        """Compute the scores of a matrix."""
        return Scores.from_matrix(counts)


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores from a confusion matrix, as fractions in [0, 1]; 0 / 0 is NaN and prints as "n/a".

    Attributes:
        iou: IoU per class.
        dice: Dice score per class, also called F1: 2 TP / (2 TP + FP + FN).
        accuracy: recall per class: correctly predicted fraction of the class's true pixels.
        precision: precision per class: correct fraction of the class's predicted pixels.
        pixels: true pixels per class.
        miou: mean of `iou` without NaN.
        mean_dice: mean of `dice` over the same classes.
        num_averaged: number of classes in these means.
        pixel_accuracy: correct fraction of all counted pixels.
    """

    iou: list[float]
    dice: list[float]
    accuracy: list[float]
    precision: list[float]
    pixels: list[int]
    miou: float
    mean_dice: float
    num_averaged: int
    pixel_accuracy: float

    @classmethod
    def from_matrix(cls, matrix: Tensor) -> "Scores":
        """Compute the scores in float64 from counts (num_classes, num_classes), rows the truth."""
        matrix = matrix.cpu()
        accuracy = (matrix.diag().sum().double() / matrix.sum().double()).item()
        return cls.from_counts(matrix.diag(), matrix.sum(1), matrix.sum(0), accuracy)

    @classmethod
    def from_counts(cls, correct: Tensor, true: Tensor, found: Tensor, pixel_accuracy: float) -> "Scores":
        """Compute the scores in float64 from the correct, true and predicted pixels of each class (num_classes,)."""
        hits, truth, predicted = correct.double(), true.double(), found.double()
        iou = hits / (truth + predicted - hits)
        dice = 2 * hits / (truth + predicted)
        present = ~iou.isnan()
        return cls(
            iou=iou.tolist(),
            dice=dice.tolist(),
            accuracy=(hits / truth).tolist(),
            precision=(hits / predicted).tolist(),
            pixels=true.tolist(),
            miou=iou[present].mean().item(),
            mean_dice=dice[present].mean().item(),
            num_averaged=int(present.sum()),
            pixel_accuracy=pixel_accuracy,
        )

    def to_dict(self, classes: Classes) -> dict[str, object]:
        """Return the scores as JSON-compatible builtins; NaN becomes None."""
        return {
            "miou": number(self.miou),
            "definition": DEFINITION,
            "mean_dice": number(self.mean_dice),
            "num_classes_averaged": self.num_averaged,
            "pixel_accuracy": number(self.pixel_accuracy),
            "classes": {
                name: {
                    "iou": number(self.iou[index]),
                    "dice": number(self.dice[index]),
                    "accuracy": number(self.accuracy[index]),
                    "precision": number(self.precision[index]),
                    "pixels": self.pixels[index],
                }
                for index, name in enumerate(classes.names)
            },
        }

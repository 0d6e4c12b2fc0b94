"""Metrics from one confusion matrix over the whole split, in exact integers.

Mean IoU here is the mean, over the classes that occur in truth or prediction, of TP / (TP + FP + FN) summed over all
pixels of the split: PASCAL VOC's definition. It is not the mean over images of each image's mIoU.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics import Metric

from segnet.classes import Classes
from segnet.errors import printable

MONITOR = "val/miou"  # what makes a checkpoint the best
IOU = "val/iou/"  # with a class name behind it: what a validation logs


def iou_metric(class_name: str) -> str:
    """The name of a class's IoU: a tag of loggers and a column of metrics.csv, hence without control characters."""
    return IOU + printable(class_name)


DEFINITION = "mean over classes of TP / (TP + FP + FN), summed over all pixels of the split; absent classes left out"


def percent(ratio: float, unit: str = " %") -> str:
    """Format a ratio as a percentage with one decimal, as people read it: "76.9 %"; NaN is "n/a"."""
    return "n/a" if ratio != ratio else f"{100 * ratio:.1f}{unit}"


class ConfusionMatrix(Metric):
    """Counts of (truth, prediction), summed over batches and processes.

    Args:
        num_classes: rows and columns.
        ignore_index: truth that is not counted.
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
        """Adds class ids of the same shape, any integer type; truth also holds `ignore_index`."""
        # What is ignored goes into a cell of its own: picking out the rest would wait for the device.
        num_cells = self.num_classes**2
        cells = truth.to(torch.int32) * self.num_classes + prediction.to(torch.int32)
        cells = cells.where(truth != self.ignore_index, num_cells).reshape(-1).long()
        counts = torch.zeros(num_cells + 1, dtype=torch.int64, device=cells.device)
        counts.scatter_add_(0, cells, torch.ones_like(cells))
        self.matrix += counts[:-1].view_as(self.matrix)

    def compute(self) -> Tensor:
        """(num_classes, num_classes) int64: rows are the truth, columns the prediction."""
        return self.matrix


@dataclass(frozen=True, slots=True)
class Scores:
    """What a confusion matrix says; a value that is 0 / 0 is NaN and prints as "n/a".

    Attributes:
        iou: of each class.
        accuracy: of each class, the share of its true pixels that were found (recall).
        precision: of each class, the share of its predicted pixels that are right.
        pixels: of each class in the truth.
        miou: mean of `iou` without the NaN.
        num_averaged: classes in that mean.
        pixel_accuracy: share of all counted pixels that are right.
    """

    iou: list[float]
    accuracy: list[float]
    precision: list[float]
    pixels: list[int]
    miou: float
    num_averaged: int
    pixel_accuracy: float

    @classmethod
    def from_matrix(cls, matrix: Tensor) -> "Scores":
        """Scores in float64 of a matrix (num_classes, num_classes), rows the truth."""
        counts = matrix.cpu().double()
        hits, truth, predicted = counts.diag(), counts.sum(1), counts.sum(0)
        iou = hits / (truth + predicted - hits)
        present = iou[~iou.isnan()]
        return cls(
            iou=iou.tolist(),
            accuracy=(hits / truth).tolist(),
            precision=(hits / predicted).tolist(),
            pixels=matrix.cpu().sum(1).tolist(),
            miou=present.mean().item(),
            num_averaged=len(present),
            pixel_accuracy=(hits.sum() / counts.sum()).item(),
        )

    def to_dict(self, classes: Classes) -> dict[str, object]:
        """The scores as builtins for JSON, NaN as None."""

        def number(value: float) -> float | None:
            return None if value != value else value

        return {
            "miou": number(self.miou),
            "definition": DEFINITION,
            "num_classes_averaged": self.num_averaged,
            "pixel_accuracy": number(self.pixel_accuracy),
            "classes": {
                name: {
                    "iou": number(self.iou[index]),
                    "accuracy": number(self.accuracy[index]),
                    "precision": number(self.precision[index]),
                    "pixels": self.pixels[index],
                }
                for index, name in enumerate(classes.names)
            },
        }

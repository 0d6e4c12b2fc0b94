"""The report of a cross-validation: pooled scores, mean and deviation over the folds -> crossval.json, report.html."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from segnet.classes import DEFAULT_THRESHOLD, Classes
from segnet.system.files import replacing
from segnet.training.metrics import Scores
from segnet.workflows.finished_folds import FinishedFold, pooled_scores
from segnet.workflows.out_of_fold import MASKS, mask_suffix
from segnet.workflows.report import render

NUM_WORST = 20  # images with the lowest mIoU on the page


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation over the folds that have the value; NaN where there are too few."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Compute them from the values of all folds; NaN values are left out."""
        known = [value for value in values if not math.isnan(value)]
        return cls(mean(known) if known else math.nan, stdev(known) if len(known) > 1 else math.nan)


@dataclass(frozen=True, slots=True)
class CrossvalScores:
    """The scores of a cross-validation.

    Attributes:
        classes: the classes.
        folds: the folds.
        pooled: scores of all held-out images together, from the sum of the pixel counts.
        miou: mean and deviation of the folds' mIoU.
        iou: the same for each class.
    """

    classes: Classes
    folds: Sequence[FinishedFold]
    pooled: Scores
    miou: Spread
    iou: Sequence[Spread]

    @classmethod
    def of(cls, folds: Sequence[FinishedFold], classes: Classes) -> "CrossvalScores":
        """Compute the scores of finished folds."""
        pooled = pooled_scores(folds)
        by_fold = [fold.scores for fold in folds]
        iou = [Spread.of([scores.iou[label] for scores in by_fold]) for label in range(len(classes.names))]
        return cls(classes, folds, pooled, Spread.of([scores.miou for scores in by_fold]), iou)

    @property
    def about_thresholds(self) -> str:
        """What the scores of several classes per pixel depend on; empty with one class per pixel."""
        if not self.classes.is_multilabel:
            return ""
        return (
            f"Several classes per pixel, each from the probability {DEFAULT_THRESHOLD:g}: the thresholds of a fold's "
            "checkpoint were chosen on its held-out images, so scores with them would be optimistic."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as JSON-compatible builtins; NaN becomes None."""
        record = self.pooled.to_dict(self.classes)
        classes: Any = record.pop("classes")
        for name, spread in zip(self.classes.names, self.iou, strict=True):
            classes[name] |= {"mean_iou": _or_null(spread.mean), "sd_iou": _or_null(spread.deviation)}
        return {
            "num_folds": len(self.folds),
            "num_images": sum(fold.num_images for fold in self.folds),
            **({"task": self.classes.task, "threshold": DEFAULT_THRESHOLD} if self.classes.is_multilabel else {}),
            "pooled": {**record, "classes": classes},
            "mean_miou": _or_null(self.miou.mean),
            "sd_miou": _or_null(self.miou.deviation),
            "folds": [
                {
                    "folder": fold.folder.name,
                    "checkpoint": f"{fold.folder.name}/{fold.checkpoint}",
                    "num_images": fold.num_images,
                    "miou": _or_null(fold.scores.miou),
                    "iou": [_or_null(iou) for iou in fold.scores.iou],
                    **({"thresholds": fold.thresholds} if fold.thresholds else {}),
                }
                for fold in self.folds
            ],
            "image_miou": {name: _or_null(miou) for fold in self.folds for name, miou in fold.image_miou.items()},
        }


def write_crossval_report(folder: Path, scores: CrossvalScores) -> None:
    """Write crossval.json and report.html into the folder of a cross-validation.

    Raises:
        MachineError: a file cannot be written.
    """
    with replacing(folder / "crossval.json") as temporary:
        temporary.write_text(json.dumps(scores.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    images = [(miou, name, fold) for fold in scores.folds for name, miou in fold.image_miou.items()]
    worst = sorted((image for image in images if not math.isnan(image[0])), key=lambda image: image[:2])[:NUM_WORST]
    options = {"masks": MASKS, "suffix": mask_suffix(scores.classes), "about": scores.about_thresholds}
    page = render("crossval.html.jinja", title=folder.absolute().name, found=scores, worst=worst, **options)
    with replacing(folder / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else value

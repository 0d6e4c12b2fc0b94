"""The finished folds of a cross-validation: their scores, and the record in each run folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segnet.system.files import read_object, replacing
from segnet.training.label_metrics import scores_of_planes
from segnet.training.metrics import Scores, number
from segnet.workflows.evaluate import Results

FOLD_RECORD = "fold.json"  # the scores of a finished fold, in its run folder


@dataclass(frozen=True, slots=True)
class FinishedFold:
    """A finished fold.

    Attributes:
        folder: its run folder, with best.ckpt and report.html.
        checkpoint: name of the evaluated checkpoint.
        num_images: number of held-out images.
        confusion: pixel counts of the held-out images, a row per true class and a column per predicted class; empty
            with several classes per pixel.
        image_miou: mIoU of each held-out image by its name; NaN without a labeled pixel.
        planes: with several classes per pixel, the counts of the held-out images with a threshold of 0.5
            (`segnet.training.label_metrics.count_planes`).
        thresholds: those that the fold chose on its held-out images, by class name.
    """

    folder: Path
    checkpoint: str
    num_images: int
    confusion: list[list[int]]
    image_miou: dict[str, float]
    planes: list[list[int]] = field(default_factory=list)
    thresholds: dict[str, float] = field(default_factory=dict)

    @property
    def scores(self) -> Scores:
        """The scores of the held-out images."""
        return pooled_scores([self])


def pooled_scores(folds: Sequence[FinishedFold]) -> Scores:
    """The scores of the held-out images of several folds together."""
    if folds[0].planes:
        return scores_of_planes(np.array([fold.planes for fold in folds]).sum(0))
    return Scores.from_matrix(torch.tensor([fold.confusion for fold in folds]).sum(0))


def write_fold(
    folder: Path, results: Results, names: Sequence[str], counts: Sequence[NDArray[np.int64]]
) -> FinishedFold:
    """Write the record of a finished fold into its run folder.

    Args:
        results: the evaluation of the held-out images.
        names: their names.
        counts: with several classes per pixel, the counts of each image; else empty.
    """
    record = _record_of_planes(results, names, counts) if counts else _record(results, names)
    with replacing(folder / FOLD_RECORD) as temporary:
        temporary.write_text(json.dumps(record, allow_nan=False) + "\n", encoding="utf-8")
    return _restored(folder, record)


def _record(results: Results, names: Sequence[str]) -> dict[str, Any]:
    scores = [number(score) for score in results.image_miou]
    return {
        "checkpoint": results.checkpoint.name,
        "confusion": results.confusion,
        "image_miou": dict(zip(names, scores, strict=True)),
        **results.scores.to_dict(results.classes),
    }


def _record_of_planes(results: Results, names: Sequence[str], counts: Sequence[NDArray[np.int64]]) -> dict[str, Any]:
    """The record of a fold with several classes per pixel: all scores are those of a threshold of 0.5."""
    scores = [number(scores_of_planes(one).miou) for one in counts]
    total = np.sum(counts, axis=0)
    return {
        "checkpoint": results.checkpoint.name,
        "planes": total.tolist(),
        "thresholds": dict(zip(results.classes.names, results.classes.decision_thresholds, strict=True)),
        "image_miou": dict(zip(names, scores, strict=True)),
        **scores_of_planes(total).to_dict(results.classes),
    }


def read_fold(folder: Path) -> FinishedFold | None:
    """Read the record of a fold in its run folder; None if it is not finished."""
    record = read_object(folder / FOLD_RECORD)
    return _restored(folder, record) if record else None


def _restored(folder: Path, record: Mapping[str, Any]) -> FinishedFold:
    miou = {name: float("nan") if score is None else score for name, score in record["image_miou"].items()}
    planes, thresholds = record.get("planes", []), record.get("thresholds", {})
    return FinishedFold(folder, record["checkpoint"], len(miou), record.get("confusion", []), miou, planes, thresholds)

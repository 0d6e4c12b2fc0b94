"""Evaluate a checkpoint on a split of a dataset, without Hydra."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segnet.classes import Classes
from segnet.config import DataConfig, LoaderConfig
from segnet.data.datamodule import SegmentationDataModule
from segnet.errors import ConfigError, DataError
from segnet.images.little_range import LittleRange
from segnet.inference.refinement import Refinement
from segnet.inference.tta import Inference
from segnet.models.checkpoint import fitting, read_checkpoint, stored_temperature
from segnet.models.temperature import Temperature, combined
from segnet.system.files import replacing
from segnet.system.machine import explained
from segnet.system.signals import ending_at_once
from segnet.training.boundary_metrics import BOUNDARY_DEFINITION, TRIMAP_DEFINITION, BoundaryCounts, BoundaryScores
from segnet.training.calibration import FittedTemperature
from segnet.training.confidence_metrics import ConfidenceScores
from segnet.training.distributed import require_one_process
from segnet.training.label_metrics import scores_at_half
from segnet.training.metrics import Scores, number
from segnet.training.task import SegmentationTask
from segnet.training.trainer import evaluation_trainer
from segnet.workflows.clipping import ClippingWarning
from segnet.workflows.evaluated_models import add_models, confidence_metrics
from segnet.workflows.per_image import CountImages, ImageCounts

LOWER_EVALUATION = "the size of the images, or set window=1024 (segnet evaluate) or trainer.accelerator=cpu"


@dataclass(frozen=True, slots=True)
class Results:
    """Results of an evaluation.

    Attributes:
        checkpoints: the evaluated file, or the files of an ensemble.
        split: the evaluated split.
        inference: options of test-time augmentation and sliding windows.
        num_images: number of images.
        scores: the metrics; with several classes per pixel, at the thresholds of the checkpoint.
        classes: the classes.
        confusion: pixel counts, a row per true class and a column per predicted class; empty with several classes per
            pixel.
        image_miou: mIoU per image, over the classes in the image or its prediction; NaN without a labeled pixel.
        images: pixel counts of each class in each image.
        confidence: scores of the probabilities, of all labeled pixels; None with several classes per pixel.
        temperature: that of the evaluated probabilities.
        boundary: scores near class boundaries; None: not computed.
        fitted: the temperature that was fitted; None: not requested, or too few labeled pixels.
        refinement: options from probabilities to masks.
        refused: number of labeled pixels without a class, which are in no score.
        at_half: with several classes per pixel, the metrics with a threshold of 0.5 for each class.
        best_thresholds: with several classes per pixel, the threshold of each class with the highest IoU on this split.
    """

    checkpoints: tuple[Path, ...]
    split: str
    inference: Inference
    num_images: int
    scores: Scores
    classes: Classes
    confusion: list[list[int]]
    image_miou: list[float]
    images: ImageCounts
    confidence: ConfidenceScores | None
    temperature: Temperature
    boundary: BoundaryScores | None = None
    fitted: FittedTemperature | None = None
    refinement: Refinement = field(default_factory=Refinement)
    refused: int = 0
    at_half: Scores | None = None
    best_thresholds: tuple[float, ...] = ()

    @property
    def totals(self) -> list[tuple[int, int]]:
        """True and predicted pixels of each class."""
        if self.confusion:
            matrix = np.array(self.confusion)
            return list(zip(matrix.sum(1).tolist(), matrix.sum(0).tolist(), strict=True))
        _, truth, predicted = self.images.counts.sum(axis=0).tolist()
        return list(zip(truth, predicted, strict=True))

    @property
    def refused_fraction(self) -> float:
        """The fraction of labeled pixels without a class, 0-1."""
        return self.refused / max(1, self.refused + sum(map(sum, self.confusion)))

    @property
    def checkpoint(self) -> Path:
        """The evaluated file; the first one of an ensemble."""
        return self.checkpoints[0]

    def write(self, path: Path, **more: Any) -> None:
        """Write the results as JSON; `more` is added at the top level."""
        record = {
            "checkpoint": self._files(),
            "split": self.split,
            **self._inference_options(),
            "num_images": self.num_images,
            **({"refused": self.refused_fraction} if self.refused else {}),
            **self.scores.to_dict(self.classes),
            **self._boundary_scores(),
            **self._confidence_scores(),
            **self._thresholds(),
            **more,
        }
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")

    def write_images(self, path: Path) -> None:
        """Write the pixel counts of each image as JSON, for `segnet compare`."""
        self.images.write(path, self.image_miou, checkpoint=self._files(), **self._inference_options())

    def _files(self) -> str | list[str]:
        return str(self.checkpoint) if len(self.checkpoints) == 1 else [str(path) for path in self.checkpoints]

    def _inference_options(self) -> dict[str, Any]:
        return {
            "flip": self.inference.flip,
            "scales": list(self.inference.scales),
            "window": self.inference.window,
            "overlap": self.inference.overlap if self.inference.window else None,
            **self.refinement.to_dict(),
        }

    def fitted_record(self) -> dict[str, Any] | None:
        """The fitted temperature, and what it was fitted to, as builtins; None without one."""
        if self.fitted is None:
            return None
        source = {"split": self.split, "num_images": self.num_images, **self._inference_options()}
        return {**self.fitted.to_dict(), **source}

    def _confidence_scores(self) -> dict[str, Any]:
        if self.confidence is None:
            return {}
        scores = self.confidence.to_dict(self.temperature)
        fitted = {} if self.fitted is None else {"fitted_temperature": self.fitted_record()}
        return {"confidence": {**scores, **fitted}}

    def _thresholds(self) -> dict[str, Any]:
        if self.at_half is None:
            return {}
        return {
            "task": self.classes.task,
            "thresholds": dict(zip(self.classes.names, self.classes.decision_thresholds, strict=True)),
            "thresholds_chosen_on": "val" if self.classes.thresholds and not self.refinement.threshold else None,
            "with_threshold_0.5": self.at_half.to_dict(self.classes),
        }

    def _boundary_scores(self) -> dict[str, Any]:
        if self.boundary is None:
            return {}
        scores = self.boundary
        ratios = zip(self.classes.names, scores.boundary_iou, scores.trimap_iou, strict=True)
        return {
            "boundary": {
                "ratio": scores.ratio,
                "boundary_miou": number(scores.boundary_miou),
                "boundary_definition": BOUNDARY_DEFINITION,
                "trimap_miou": number(scores.trimap_miou),
                "trimap_definition": TRIMAP_DEFINITION,
                "classes": {
                    name: {"boundary_iou": number(near), "trimap_iou": number(trimap)} for name, near, trimap in ratios
                },
            }
        }


def evaluate(
    checkpoint: Path | Sequence[Path],
    *,
    dataset: Mapping[str, Any],
    split: str,
    data: LoaderConfig,
    trainer: Mapping[str, Any],
    inference: Inference | None = None,
    boundary: float | None = None,
    refinement: Refinement | None = None,
    calibrate: str | None = None,
    little_range: LittleRange | None = None,
) -> Results:
    """Evaluate a checkpoint on a split, one whole image at a time.

    Args:
        checkpoint: path of a segnet checkpoint; of several the probabilities are averaged.
        dataset: spec from `segnet.data.DATASETS`.
        split: "train", "val" or "test".
        data: options of data loading.
        trainer: arguments of Lightning's Trainer; more than one device is refused.
        inference: options of test-time augmentation and sliding windows; None: plain prediction of each image.
        boundary: width of class boundaries for Boundary IoU and trimap mIoU, as a fraction of the image diagonal; None:
            neither.
        refinement: options from probabilities to masks; None: the most probable class.
        calibrate: kind of temperature to fit, "global" or "class"; None: none. The checkpoint is not changed.
        little_range: warns once of images that are almost black to the model; None: no such warning.

    Raises:
        SegnetError: a checkpoint, the data or an option cannot be used, or the dataset has other classes.
    """
    checkpoint, *others = [checkpoint] if isinstance(checkpoint, Path) else checkpoint
    stored = read_checkpoint(checkpoint)
    hyper_parameters = stored["hyper_parameters"]
    loading = DataConfig(num_workers=data.num_workers, timeout=data.timeout)
    with fitting(checkpoint):
        task = SegmentationTask(**hyper_parameters)
        task.load_state_dict(stored["state_dict"])
    temperature = combined([stored_temperature(stored, checkpoint), *add_models(task, checkpoint, others)])
    mean = hyper_parameters["model"]["mean"]
    datamodule = SegmentationDataModule(dataset, loading, mean, seed=0, classes=task.classes)
    task.inference = inference or Inference()
    _set_refinement(task, refinement or Refinement(), boundary)
    task.confidence = confidence_metrics(task.classes, temperature, calibrate, datamodule, split)
    samples = datamodule.split(split)
    require_same_classes(task.classes, samples.classes, checkpoint)
    samples.take_value_range(task.model.value_range, checkpoint)
    by_image, clipping = CountImages(), ClippingWarning(samples, little_range)
    runner = evaluation_trainer(trainer, [by_image, clipping])
    require_one_process(runner)
    with explained("one whole image", LOWER_EVALUATION), ending_at_once("during the evaluation"):
        runner.validate(task, dataloaders=datamodule.evaluation_dataloader(split), verbose=False)
    counts = ImageCounts(checkpoint, split, task.classes.names, by_image.names, np.stack(by_image.counts))
    return _results((checkpoint, *others), task, split, by_image.miou, counts)


def _results(
    checkpoints: tuple[Path, ...], task: SegmentationTask, split: str, image_miou: list[float], counts: ImageCounts
) -> Results:
    """The results of a task that has evaluated a split."""
    assert task.scores is not None
    sure = task.confidence
    return Results(
        checkpoints=checkpoints,
        split=split,
        inference=task.inference,
        num_images=len(counts.names),
        scores=task.scores,
        classes=task.classes,
        confusion=[] if task.classes.is_multilabel else task.confusion.compute().tolist(),
        image_miou=image_miou,
        images=counts,
        confidence=sure.counts.scores() if sure else None,
        temperature=sure.temperature if sure else Temperature(),
        fitted=sure.fitted() if sure else None,
        boundary=task.boundary.scores() if task.boundary else None,
        refinement=task.refiner.refinement,
        refused=task.refused,
        at_half=scores_at_half(task.confusion),
        best_thresholds=tuple(task.thresholds),
    )


def _set_refinement(task: SegmentationTask, refinement: Refinement, boundary: float | None) -> None:
    """Set how the task makes masks, and the width of boundaries to count.

    Raises:
        ConfigError: an unknown class, an impossible width, or both refused pixels and boundaries.
    """
    task.use_classes(task.classes, refinement)
    if boundary is None:
        return
    task.classes.require_one_class(f"boundary={boundary}")
    if task.refiner.may_refuse:
        raise ConfigError("boundary and refuse cannot be combined: Boundary IoU needs a class for every pixel")
    task.boundary = BoundaryCounts(len(task.classes.names), task.classes.ignore_index, boundary)


def require_same_classes(trained: Classes, present: Classes, checkpoint: Path) -> None:
    """Check that a dataset has the checkpoint's classes; scores would be meaningless otherwise.

    Raises:
        DataError: the classes or the task differ; the message names the first difference.
    """
    if trained.task != present.task:
        raise DataError(
            f"the dataset's task is {present.task}, but {checkpoint} was trained for {trained.task}: set "
            f"dataset.task={trained.task}"
        )
    if len(trained.names) != len(present.names):
        raise DataError(
            f"the dataset has {len(present.names)} classes, but {checkpoint} was trained on {len(trained.names)}: "
            f"{', '.join(trained.names)}"
        )
    for index, (theirs, ours) in enumerate(zip(trained.names, present.names, strict=True)):
        if theirs != ours:
            raise DataError(f"class {index} of the dataset is '{ours}', but {checkpoint} was trained on '{theirs}'")


def device_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the device options among a training's Trainer options; an evaluation uses no others."""
    return {"devices": 1, **({"accelerator": options["accelerator"]} if "accelerator" in options else {})}

"""The models of an evaluation: further ones of an ensemble, and what to count about their confidence."""

from collections.abc import Sequence
from pathlib import Path

from segnet.classes import Classes
from segnet.data.datamodule import SegmentationDataModule
from segnet.errors import ConfigError, counted
from segnet.inference.ensemble import Reordered, class_order, require_same_inputs, with_mean_thresholds
from segnet.models.checkpoint import load_checkpoint
from segnet.models.temperature import Temperature
from segnet.training.calibration import ConfidenceMetrics, num_trained_images
from segnet.training.task import SegmentationTask


def add_models(task: SegmentationTask, checkpoint: Path, others: Sequence[Path]) -> list[Temperature]:
    """Load the further models of an ensemble, with the classes in the order of the task's; return their temperatures.

    Raises:
        CheckpointError: one cannot be used, or has other classes, channels or another value range.
    """
    own = (task.model.in_channels, task.model.value_range)
    together, temperatures = [task.classes], []
    for path in others:
        model, classes = load_checkpoint(path)
        require_same_inputs(own, (model.in_channels, model.value_range), checkpoint, path)
        order = class_order(task.classes, classes, checkpoint, path)
        task.others.append(model if order is None else Reordered(model, order))
        temperatures.append(model.temperature.in_order(order))
        together.append(classes)
    task.use_classes(with_mean_thresholds(together))
    return temperatures


def confidence_metrics(
    classes: Classes, temperature: Temperature, calibrate: str | None, datamodule: SegmentationDataModule, split: str
) -> ConfidenceMetrics | None:
    """What to count about the confidence in one class per pixel; None with several.

    Raises:
        ConfigError: a temperature is wanted, and classes overlap or the model was trained on images of the split.
    """
    if calibrate:
        classes.require_one_class(f"calibrate={calibrate}")
    if calibrate and (seen := num_trained_images(datamodule, split)):
        seen_images = f"{counted(seen, 'image')} of {split} {'was' if seen == 1 else 'were'} trained on"
        raise ConfigError(
            f"calibrate={calibrate}: {seen_images}, and there the model is too confident: use another split, or "
            "calibrate=null"
        )
    if classes.is_multilabel:
        return None
    return ConfidenceMetrics(len(classes.names), classes.ignore_index, temperature, calibrate)

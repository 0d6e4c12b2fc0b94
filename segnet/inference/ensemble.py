"""Ensembles: several models whose probabilities are averaged. Their classes are matched by name."""

import os
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from segnet.classes import THRESHOLD_STEPS, Classes
from segnet.errors import CheckpointError, ConfigError, listed
from segnet.images.values import ValueRange
from segnet.inference.runtimes import open_runtime
from segnet.inference.tta import Model
from segnet.models.temperature import combined

StrPath = str | os.PathLike[str]
Inputs = tuple[int, ValueRange | None]  # channels and value range of a model's images
MOST_LACKING = 3  # classes that are named in an error


class Ensemble:
    """Runtimes of several models for the same images; one model is an ensemble of one.

    Args:
        models: paths of checkpoints or exported models, as `segnet.inference.runtimes.open_runtime` takes them.
        device, runtime, precision: as there, for each model.

    Attributes:
        models: functions from images to logits, for `segnet.inference.tta.Inference`; all on `device`, with the classes
            in the order of the first model.
        classes: names, palette and ignore_index of the first model; with several classes per pixel, the thresholds are
            means over the models.
        channels, value_range, device: as in `segnet.inference.runtimes.Runtime`.
        without_probabilities: the first file that returns class ids; None: all have probabilities.
        temperature: that of the averaged probabilities, see `segnet.models.temperature.combined`.

    Raises:
        CheckpointError: a file cannot be used, or two models have other classes, channels or value ranges.
        ConfigError: no model, or models on two devices. MachineError: the device does not exist.
    """

    def __init__(
        self,
        models: Sequence[StrPath],
        device: str | None = None,
        runtime: str | None = None,
        precision: str | None = None,
    ) -> None:
        if not models:
            raise ConfigError("no model: name at least one checkpoint")
        runtimes = [open_runtime(model, device, runtime, precision) for model in models]
        first, *others = runtimes
        ids_only = (path for path, one in zip(models, runtimes, strict=True) if not one.has_probabilities)
        self.without_probabilities = next(ids_only, None)
        self.classes, self.device = first.classes, first.device
        self.channels, self.value_range = first.channels, first.value_range
        self.models: list[Model] = [first]
        temperatures, together = [first.temperature], [first.classes]
        for path, other in zip(models[1:], others, strict=True):
            inputs = (self.channels, self.value_range), (other.channels, other.value_range)
            require_same_inputs(*inputs, models[0], path)
            if other.device != self.device:
                raise ConfigError(f"{path} runs on {other.device}, but {models[0]} on {self.device}: use device=cpu")
            order = class_order(self.classes, other.classes, models[0], path)
            self.models.append(other if order is None else Reordered(other, order))
            temperatures.append(other.temperature.in_order(order))
            together.append(other.classes)
        self.classes = with_mean_thresholds(together)
        self.temperature = combined(temperatures)


class Reordered(nn.Module):
    """A model with the classes of its logits in another order.

    Args:
        model: images (B, channels, H, W) -> logits (B, classes, H, W).
        order: as `class_order` gives it.
    """

    def __init__(self, model: Model, order: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        self.order = list(order)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits[:, self.order]


def with_mean_thresholds(together: Sequence[Classes]) -> Classes:
    """Return the first model's classes, with the thresholds averaged over the models, as their probabilities are.

    They are rounded to a multiple of 1 / `THRESHOLD_STEPS`, as the thresholds of a single model are.
    """
    first = together[0]
    if len(together) == 1 or not any(classes.thresholds for classes in together):
        return first
    by_name = [dict(zip(one.names, one.decision_thresholds, strict=True)) for one in together]
    means = [sum(found[name] for found in by_name) / len(by_name) for name in first.names]
    return replace(first, thresholds=tuple(round(value * THRESHOLD_STEPS) / THRESHOLD_STEPS for value in means))


def class_order(first: Classes, other: Classes, path: StrPath, other_path: StrPath) -> list[int] | None:
    """The ids in `other` of the classes of `first`, in its order; None if both have one order.

    Args:
        path, other_path: the files of the two models, for messages.

    Raises:
        CheckpointError: one lacks a class of the other, or their tasks differ.
    """
    if first.task != other.task:
        raise CheckpointError(
            f"{other_path}: is a {other.task} model, but {path} is a {first.task} one: only models of one task can be "
            "averaged"
        )
    for one, two, source, target in ((first, other, path, other_path), (other, first, other_path, path)):
        lacking = [f"'{name}'" for name in one.names if name not in two.names]
        if lacking:
            raise CheckpointError(
                f"{target}: lacks the class {listed(lacking, MOST_LACKING)} of {source}: only models of the same "
                "classes can be averaged"
            )
    return None if first.names == other.names else [other.names.index(name) for name in first.names]


def require_same_inputs(first: Inputs, other: Inputs, path: StrPath, other_path: StrPath) -> None:
    """Check that two models take the same images: each image is read once.

    Args:
        path, other_path: the files of the two models, for messages.

    Raises:
        CheckpointError: they differ in channels or value range.
    """
    if first[0] != other[0]:
        raise CheckpointError(
            f"{other_path}: takes images of {other[0]} channels, but {path} of {first[0]}: only models of the same "
            "images can be averaged"
        )
    if first[1] != other[1]:
        ranges = [[*limits] if limits else None for limits in (other[1], first[1])]
        raise CheckpointError(
            f"{other_path}: was trained with dataset.value_range={ranges[0]}, but {path} with {ranges[1]}: only models "
            "of the same images can be averaged"
        )

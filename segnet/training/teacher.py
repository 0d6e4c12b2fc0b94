"""Distillation: a frozen teacher, whose logits a run's model learns besides its masks.

The teacher is no part of the task's modules. Its weights are therefore neither in the student's checkpoints nor in its
optimizer and EMA, and Lightning does not switch it to training.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from segnet.classes import Classes
from segnet.components import as_options, build
from segnet.errors import CheckpointError, ConfigError, listed
from segnet.losses.distillation import DISTILLATIONS
from segnet.models.checkpoint import build_model, fitting, model_weights, read_checkpoint
from segnet.models.segmentation_model import SegmentationModel

TEACHER_KEY = "teacher"  # key in checkpoints: the teacher's file and digest


class Distillation:
    """The logits of a teacher as a second target.

    Args:
        spec: spec from `segnet.losses.distillation.DISTILLATIONS`.
        teacher: path of a checkpoint.
        classes: classes of the student.
        in_channels: channels of the student's images.
        value_range: the student's stored values of black and white; see SegmentationModel.

    Attributes:
        weight: factor on the loss.
        digest: SHA-256 of the teacher's description and weights, hexadecimal.

    Raises:
        ConfigError: an unknown or impossible option, or a teacher of other classes or other images.
        CheckpointError, MachineError: the teacher cannot be loaded.
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        teacher: str,
        classes: Classes,
        in_channels: int,
        value_range: Sequence[float] | None = None,
    ) -> None:
        self._spec = dict(spec)
        self._loss = build("distillation", DISTILLATIONS, spec)
        self.weight = float(self._loss.weight)  # type: ignore[arg-type]  # a number by contract
        self._path = teacher
        self._model, theirs, self.digest = _frozen_model(teacher)
        self._order = _class_order(teacher, theirs, classes)
        _require_same_images(teacher, self._model, in_channels, value_range)
        self._logits = self._encode_and_decode

    def __deepcopy__(self, memo: dict[int, Any]) -> "Distillation":
        return self  # the EMA's copy of a task shares the frozen teacher

    def loss(self, images: Tensor, logits: Tensor) -> Tensor:
        """Return the distillation loss, without its weight.

        Args:
            images: uint8 (B, channels, H, W); the teacher normalizes them with its own mean and std.
            logits: the student's (B, K, h, w); the teacher's are resized to their size.
        """
        with torch.no_grad():
            self._model.to(images.device)
            targets = self._logits(images)
            if targets.shape[2:] != logits.shape[2:]:  # another decoder or output stride
                aligned = self._model.decoder.align_corners
                targets = F.interpolate(targets.float(), logits.shape[2:], mode="bilinear", align_corners=aligned)
            if self._order is not None:
                targets = targets[:, self._order]
        loss: Tensor = self._loss(logits, targets)
        return loss

    def _encode_and_decode(self, images: Tensor) -> Tensor:
        logits: Tensor = self._model.decoder(self._model.encode(images))
        return logits

    def compile_teacher(self) -> None:
        """Compile the teacher with torch.compile."""
        self._logits = torch.compile(self._encode_and_decode)

    def describe(self) -> str:
        """Describe teacher and loss in one line."""
        parameters = sum(parameter.numel() for parameter in self._model.parameters()) / 1e6
        options = {f"distillation.{name}": value for name, value in self._spec.items() if name != "name"}
        return f"{self._path}, {parameters:.2f} M parameters; distillation={self._spec['name']} {as_options(options)}"

    def state(self) -> dict[str, str]:
        """Return the teacher's path and digest, for checkpoints."""
        return {"path": self._path, "sha256": self.digest}

    def require_teacher_of(self, checkpoint: Mapping[str, Any], source: object) -> None:
        """Check that a checkpoint to resume was trained with this teacher.

        Args:
            checkpoint: the checkpoint's content.
            source: the checkpoint's path, for messages.

        Raises:
            CheckpointError: the teacher's weights differ.
        """
        stored = checkpoint.get(TEACHER_KEY)
        if stored is None:  # trained without a teacher: reported as a changed option
            return
        before = stored.get("sha256") if isinstance(stored, dict) else None
        if before != self.digest:
            raise CheckpointError(
                f"teacher={self._path}: has other weights than the teacher of {source} (SHA-256 {self.digest[:12]}, "
                f"was {str(before)[:12]}): restore that file, or start a new run"
            )


def _frozen_model(path: str) -> tuple[SegmentationModel, list[str], str]:
    """Load a frozen model in eval mode, its class names and its digest."""
    try:
        checkpoint = read_checkpoint(path)
        described = checkpoint["hyper_parameters"]
        with fitting(path):
            model = build_model(described["model"], model_weights(checkpoint["state_dict"]))
    except CheckpointError as error:
        raise CheckpointError(f"teacher={error}") from None
    names = list(Classes.create(**described["classes"]).names)
    digest = hashlib.sha256(json.dumps([described["model"], names], sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy())
    model.requires_grad_(False)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster; all layers preserve it
    return model, names, digest.hexdigest()


def _class_order(path: str, theirs: list[str], classes: Classes) -> list[int] | None:
    """Return the teacher's class id of each class of the student; None if they are the same.

    Raises:
        ConfigError: the class names differ.
    """
    ours = list(classes.names)
    if set(ours) != set(theirs):
        missing, more = [name for name in ours if name not in theirs], [name for name in theirs if name not in ours]
        raise ConfigError(
            f"teacher={path}: its classes differ from the dataset's (only in the dataset: {listed(missing)}; only in "
            f"the teacher: {listed(more)}): choose a teacher of the same class names"
        )
    return None if ours == theirs else [theirs.index(name) for name in ours]


def _require_same_images(
    path: str, model: SegmentationModel, in_channels: int, value_range: Sequence[float] | None
) -> None:
    """Check that the teacher takes the student's images.

    Raises:
        ConfigError: it has other channels, or another value range.
    """
    if model.in_channels != in_channels:
        raise ConfigError(
            f"teacher={path}: takes images of {model.in_channels} channels, and backbone.in_channels={in_channels}: "
            "choose a teacher of the same images"
        )
    theirs, ours = (None if pair is None else list(map(float, pair)) for pair in (model.value_range, value_range))
    if theirs != ours:
        raise ConfigError(
            f"teacher={path}: was trained with dataset.value_range={theirs or 'null'}, and this run has "
            f"{ours or 'null'}: use the same"
        )

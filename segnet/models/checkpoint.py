"""Checkpoints: atomic writes, checked reads, and models built from them.

This module imports neither Hydra nor Lightning, which would slow down the start of a prediction.
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from segnet.classes import Classes
from segnet.components import are_numbers
from segnet.errors import CheckpointError, ConfigError, MachineError, first_line
from segnet.models.segmentation_model import SegmentationModel
from segnet.models.temperature import Temperature
from segnet.system.files import replacing
from segnet.system.integrity import refusing_damage
from segnet.system.torch_files import load_torch

MODEL_PREFIX = "model."  # prefix of the model's weights in a checkpoint: SegmentationTask's attribute
TEMPERATURE_KEY = "temperature"


def save_checkpoint(checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a checkpoint atomically, flushed to the disk.

    Raises:
        MachineError: the file cannot be written; an existing checkpoint of that name is unchanged.
    """
    path = Path(path)
    with replacing(path) as temporary:
        try:
            torch.save(checkpoint, temporary)
        except RuntimeError as error:  # torch's zip writer says "unexpected pos" if the disk is full
            raise MachineError(f"{path}: cannot be written, is the disk full? ({first_line(error)})") from None


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a segnet checkpoint as tensors and builtins, and check its weights, model spec and classes.

    Other objects in the file are refused and never run. Every byte is checked against the file's checksums.

    Returns:
        The checkpoint. ``state_dict`` contains tensors; ``hyper_parameters`` contains "model" and "classes" of valid
        types.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe, or written by another program.
        MachineError: out of memory.
    """
    path = Path(path)
    if not os.path.lexists(path):
        raise CheckpointError(f"{path}: no such checkpoint")
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder: give the path of the .ckpt file in it")
    checkpoint: dict[str, Any] = load_torch(path, "a checkpoint")
    hyper_parameters = checkpoint.get("hyper_parameters") if isinstance(checkpoint, dict) else None
    if not isinstance(hyper_parameters, dict) or not {"model", "classes"} <= hyper_parameters.keys():
        raise CheckpointError(f"{path}: is not a checkpoint of segnet: the description of the model is missing")
    with fitting(path):
        require_description(hyper_parameters["model"], hyper_parameters["classes"])
        state = checkpoint["state_dict"]
        if not (isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())):
            raise ConfigError("state_dict is not a dict of tensors")
        if not all(isinstance(name, str) for name in state):
            raise ConfigError("state_dict has a key that is not a string")
    return checkpoint


def load_checkpoint(path: str | os.PathLike[str]) -> tuple[SegmentationModel, Classes]:
    """Load a checkpoint's model with its weights; nothing is downloaded.

    Returns:
        The model on the CPU, in eval mode, and its classes.

    Raises:
        CheckpointError: the file cannot be read, or its weights do not fit its description.
        MachineError: the backbone needs a package that is not installed, or out of memory.
    """
    checkpoint = read_checkpoint(path)
    hyper_parameters, state = checkpoint["hyper_parameters"], checkpoint["state_dict"]
    with fitting(path):
        model, classes = (
            build_model(hyper_parameters["model"], model_weights(state)),
            Classes.create(**hyper_parameters["classes"]),
        )
    model.temperature = stored_temperature(checkpoint, path)
    return model, classes


def stored_temperature(checkpoint: Mapping[str, Any], path: str | os.PathLike[str]) -> Temperature:
    """The temperature of a checkpoint's probabilities; 1 if it has none, as those of older versions.

    Args:
        checkpoint: from `read_checkpoint`.
        path: its file, for messages.

    Raises:
        CheckpointError: it is no temperature.
    """
    record = checkpoint.get(TEMPERATURE_KEY)
    with refusing_damage(path, "its temperature is damaged"):
        values = record["values"] if record is not None else None
        return Temperature.read(values, len(checkpoint["hyper_parameters"]["classes"]["names"]))


def store_temperature(path: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
    """Write a temperature into a checkpoint, atomically; everything else in it stays the same.

    Args:
        record: "values" of a `Temperature`, and builtins that say where it comes from.

    Raises:
        CheckpointError: the checkpoint cannot be read. MachineError: it cannot be written, and is unchanged.
    """
    save_checkpoint({**read_checkpoint(path), TEMPERATURE_KEY: dict(record)}, path)


def fitting(path: str | os.PathLike[str]) -> AbstractContextManager[None]:
    """Turn every error while building a model from a file into a one-line CheckpointError."""
    return refusing_damage(path, "weights and description do not fit")


def require_description(spec: object, classes: object) -> None:
    """Check the types of a model's description; `SegmentationModel` checks the values.

    Raises:
        ConfigError: an entry is missing or has a wrong type, or the number of classes is not `num_classes`.
    """
    if not isinstance(spec, dict) or not all(isinstance(spec.get(part), dict) for part in ("backbone", "decoder")):
        raise ConfigError("model is not a dict of backbone, decoder, num_classes, mean and std")
    for name in ("mean", "std"):
        if not are_numbers(spec.get(name)):
            raise ConfigError(f"model.{name}={spec.get(name)!r} is not a list of numbers")
    if not isinstance(classes, dict):
        raise ConfigError("classes is not a dict of names, palette and ignore_index")
    num_names = len(Classes.create(**classes).names)
    if type(spec.get("num_classes")) is not int or spec["num_classes"] != num_names:
        raise ConfigError(f"num_classes={spec.get('num_classes')!r}, but {num_names} class names")


def model_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the model's weights from the state dict of a SegmentationTask, by the model's own names."""
    return {name.removeprefix(MODEL_PREFIX): value for name, value in state.items() if name.startswith(MODEL_PREFIX)}


def build_model(spec: Mapping[str, Any], weights: Mapping[str, Tensor]) -> SegmentationModel:
    """Build a SegmentationModel and load its weights; it is on the CPU, in eval mode.

    Initialization is skipped. A damaged `spec` of a huge model therefore uses no memory before it is refused.

    Raises:
        ConfigError, TypeError, RuntimeError: `spec` is invalid, or the weights do not fit.
    """
    with _Uninitialized():
        model = SegmentationModel(**spec)
    model.load_state_dict(weights)
    return model.eval()


class _Uninitialized(TorchFunctionMode):
    """Context that skips the initialization of parameters, for weights that are loaded next.

    It halves the time to build a ResNet101.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            tensor = kwargs.get("tensor", args[0] if args else None)
            if isinstance(tensor, nn.Parameter):
                return tensor
        return func(*args, **kwargs)

"""Checkpoints: written whole or not at all, read without running anything that they contain.

This file imports neither Hydra nor Lightning: whoever only predicts should not wait for them.
"""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from segnet.classes import Classes
from segnet.errors import CheckpointError, MachineError, SegnetError, first_line
from segnet.models.segmentation_model import SegmentationModel
from segnet.system.files import replacing


def save_checkpoint(checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Writes to a temporary file in the same folder, forces it to the disk, and lets it take the target's place.

    Raises:
        MachineError: the disk refuses it; an older checkpoint of that name is as it was.
    """
    path = Path(path)
    with replacing(path) as temporary:
        try:
            torch.save(checkpoint, temporary)
        except RuntimeError as error:  # torch's zip writer says "unexpected pos" where the disk is full
            raise MachineError(f"{path}: cannot be written, is the disk full? ({first_line(error)})") from None


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a segnet checkpoint as tensors and builtins; anything else in it is refused and not run.

    Raises:
        CheckpointError: missing, damaged, unsafe, or another program's.
    """
    path = Path(path)
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except IsADirectoryError:
        raise CheckpointError(f"{path}: is a folder; name the .ckpt file in it") from None
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path):
            raise CheckpointError(
                f"{path}: holds more than tensors and plain values and was not loaded: it may be unsafe"
            ) from error
        raise CheckpointError(f"{path}: is not a checkpoint") from None
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: {_what_is_wrong(path, error)}") from None
    hyper_parameters = checkpoint.get("hyper_parameters") if isinstance(checkpoint, dict) else None
    if not isinstance(hyper_parameters, dict) or not {"model", "classes"} <= hyper_parameters.keys():
        raise CheckpointError(f"{path}: is not a checkpoint of segnet: it lacks the description of the model")
    return checkpoint


def _what_is_wrong(path: Path, error: Exception) -> str:
    """With a file that torch cannot read: its own reasons are those of an unpickler that was given anything."""
    if path.is_file() and path.stat().st_size == 0:
        return "is not a checkpoint: it is empty (0 bytes)"
    if isinstance(error, OSError | RuntimeError) and str(error):
        return f"is not a checkpoint, or damaged or cut off ({first_line(error).split('. ')[0]})"
    return "is not a checkpoint, or damaged or cut off"


def load_checkpoint(path: str | os.PathLike[str]) -> tuple[SegmentationModel, Classes]:
    """Builds the model that a checkpoint describes, with its weights; nothing is downloaded.

    Returns:
        The model on the CPU, in evaluation mode, and its classes.

    Raises:
        CheckpointError: the file cannot be read, or weights and description do not belong together.
        MachineError: its backbone needs a package that is not installed.
    """
    checkpoint = read_checkpoint(path)
    hyper_parameters = checkpoint["hyper_parameters"]
    prefix = "model."  # the attribute of SegmentationTask
    try:
        classes = Classes.create(**hyper_parameters["classes"])
        model = SegmentationModel(**hyper_parameters["model"])
        weights = checkpoint["state_dict"].items()
        model.load_state_dict({key.removeprefix(prefix): value for key, value in weights if key.startswith(prefix)})
    except MachineError:  # a package that the backbone needs is absent: the checkpoint itself is as it should be
        raise
    except (SegnetError, RuntimeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: weights and description do not fit ({first_line(error)})") from None
    return model.eval(), classes

"""Shared code of the runtimes for exported files: checks, input and output conversion."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segnet.errors import CheckpointError, MachineError
from segnet.extras import import_extra
from segnet.models.digests import require_export_digest
from segnet.models.metadata import Metadata
from segnet.system.integrity import refusing_damage

CERTAIN = 100.0  # logit of the predicted class for a file with masks as output; other classes get 0, or -100
TRIAL_SIDE = 32  # side of the test image for a file without a digest [pixels]


class _ExportedModel(Protocol):
    """A runtime for an exported file."""

    metadata: Metadata

    def __call__(self, images: Tensor) -> Tensor: ...


def require_model_file(path: str | os.PathLike[str]) -> Path:
    """Return the path of an existing exported model.

    Raises:
        CheckpointError: the file does not exist.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: no such exported model")
    return Path(path)


def import_checked(package: str, extra: str, path: Path) -> tuple[ModuleType, bool]:
    """Import the library for a file while a thread verifies the file's digest.

    Returns:
        The library, and whether the file has a digest.

    Raises:
        CheckpointError: the file has changed since its export.
        MachineError: the library is not installed.
    """
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(require_export_digest, path)
        library = import_extra(package, extra)
        with refusing_damage(path, "cannot be read"):
            return library, checked.result()


def require_working(runtime: _ExportedModel, path: Path) -> None:
    """Run a file without a digest on a small image.

    Raises:
        CheckpointError: it fails, or its output does not match its metadata.
    """
    metadata = runtime.metadata
    with refusing_damage(path, "is damaged: its output does not match its metadata"):
        logits = runtime(torch.zeros(1, metadata.channels, TRIAL_SIDE, TRIAL_SIDE, dtype=torch.uint8))
        expected = (1, len(metadata.classes.names), TRIAL_SIDE, TRIAL_SIDE)
        if logits.shape != expected or logits.dtype != torch.float32:
            raise ValueError(f"{logits.dtype} of shape {tuple(logits.shape)} instead of logits {expected}")


def require_cpu(device: str | None, runtime: str) -> torch.device:
    """Return the CPU as device.

    Raises:
        MachineError: another device is requested.
    """
    if device not in (None, "cpu"):
        raise MachineError(
            f"device '{device}' cannot be used: {runtime} runs on the CPU; on a GPU, runtime=torch runs a .ckpt"
        )
    return torch.device("cpu")


def to_input(images: Tensor, metadata: Metadata) -> Tensor:
    """Convert images, uint8 or float32, 0-255, to the input dtype of the file; values are rounded for uint8."""
    dtype = getattr(torch, metadata.input)
    if images.dtype == dtype:
        return images.contiguous()
    if dtype == torch.uint8:
        images = images.round().clamp(0, 255)
    return images.to(dtype).contiguous()


def to_logits(output: NDArray[np.generic] | Tensor, metadata: Metadata) -> Tensor:
    """Convert the output of a file to float32 logits (B, classes, H, W); masks become certain logits."""
    result = torch.as_tensor(output)
    if metadata.output == "logits":
        return result
    if metadata.classes.is_multilabel:
        return (2 * result.float() - 1) * CERTAIN
    one_hot = torch.nn.functional.one_hot(result.long(), len(metadata.classes.names))
    return one_hot.permute(0, 3, 1, 2).float() * CERTAIN

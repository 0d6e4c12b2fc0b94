"""What the runtimes of exported files have in common: images as the file takes them, and logits of what it gives."""

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

CERTAIN = 100.0  # logit of the class in a file that gives class ids; the others' is 0
TRIAL_SIDE = 32  # side of the image on which a file without a digest is tried [pixels]


class _ExportedModel(Protocol):
    """A runtime of an exported file."""

    metadata: Metadata

    def __call__(self, images: Tensor) -> Tensor: ...


def require_model_file(path: str | os.PathLike[str]) -> Path:
    """Raises:
    CheckpointError: there is no such file.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: no such exported model")
    return Path(path)


def import_checked(package: str, extra: str, path: Path) -> tuple[ModuleType, bool]:
    """Import the library that runs a file while its digest is computed: together they take hardly longer.

    Returns:
        The library, and whether the file has a digest.

    Raises:
        CheckpointError: the file has changed since it was exported.
        MachineError: the library is not installed.
    """
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(require_export_digest, path)
        library = import_extra(package, extra)
        with refusing_damage(path, "cannot be read"):
            return library, checked.result()


def require_working(runtime: _ExportedModel, path: Path) -> None:
    """Try a file that no digest vouches for on a small image.

    Raises:
        CheckpointError: it fails, or gives something else than its metadata promise.
    """
    metadata = runtime.metadata
    with refusing_damage(path, "is damaged: it does not compute what its metadata promise"):
        logits = runtime(torch.zeros(1, metadata.channels, TRIAL_SIDE, TRIAL_SIDE, dtype=torch.uint8))
        expected = (1, len(metadata.classes.names), TRIAL_SIDE, TRIAL_SIDE)
        if logits.shape != expected or logits.dtype != torch.float32:
            raise ValueError(f"{logits.dtype} of shape {tuple(logits.shape)} in place of logits {expected}")


def require_cpu(device: str | None, runtime: str) -> torch.device:
    """Raises:
    MachineError: another device than the CPU is asked for.
    """
    if device not in (None, "cpu"):
        raise MachineError(f"device '{device}' cannot be used: {runtime} runs on the CPU; torch has others")
    return torch.device("cpu")


def to_input(images: Tensor, metadata: Metadata) -> Tensor:
    """Images, uint8 or float32, 0-255, in the type that the file takes; to whole numbers where that is uint8."""
    dtype = getattr(torch, metadata.input)
    if images.dtype == dtype:
        return images.contiguous()
    if dtype == torch.uint8:
        images = images.round().clamp(0, 255)
    return images.to(dtype).contiguous()


def to_logits(output: NDArray[np.generic] | Tensor, metadata: Metadata) -> Tensor:
    """What the file gives as logits (B, classes, H, W), float32: ids count as certain."""
    result = torch.as_tensor(output)
    if metadata.output == "logits":
        return result
    one_hot = torch.nn.functional.one_hot(result.long(), len(metadata.classes.names))
    return one_hot.permute(0, 3, 1, 2).float() * CERTAIN

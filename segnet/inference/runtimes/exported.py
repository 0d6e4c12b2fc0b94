"""What the runtimes of exported files have in common: images as the file takes them, and logits of what it gives."""

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segnet.errors import CheckpointError, MachineError
from segnet.models.metadata import Metadata

CERTAIN = 100.0  # logit of the class in a file that gives class ids; the others' is 0


def require_model_file(path: str | os.PathLike[str]) -> Path:
    """Raises:
    CheckpointError: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such exported model")
    return path


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

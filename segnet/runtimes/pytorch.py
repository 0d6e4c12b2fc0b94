"""A checkpoint, run by torch."""

import os

import torch
from torch import Tensor, nn

from segnet.checkpoint import load_checkpoint
from segnet.errors import MachineError


class TorchRuntime:
    """Runs a checkpoint by torch, on any of its devices; the contract is `segnet.runtimes.Runtime`.

    Args:
        checkpoint: path of a segnet checkpoint.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes a GPU where there is one.

    Raises:
        CheckpointError: the file cannot be used. MachineError: there is no such device.
    """

    def __init__(self, checkpoint: str | os.PathLike[str], device: str | None = None) -> None:
        model, self.classes = load_checkpoint(checkpoint)
        self.channels = model.in_channels
        self.device = move(model, device)
        self._model = model

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        return self._model(images).float()


def move(model: nn.Module, device: str | None) -> torch.device:
    """Moves a model to a device, which is returned; None takes a GPU where there is one.

    Raises:
        MachineError: there is no such device.
    """
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        model.to(chosen)
    except (RuntimeError, AssertionError) as error:
        raise MachineError(f"device '{device}' cannot be used: {str(error).splitlines()[0]}") from None
    return chosen

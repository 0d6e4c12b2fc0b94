"""A .pt2 file of torch.export, run by torch without the model's code."""

import os
import zipfile
from pathlib import PurePosixPath
from unittest import mock

import torch
from torch import Tensor
from torch.export.passes import move_to_device_pass

from segnet.errors import CheckpointError
from segnet.inference.runtimes.exported import require_model_file, require_working, to_input, to_logits
from segnet.inference.runtimes.pytorch import choose_device
from segnet.models.metadata import KEY, Metadata
from segnet.system.integrity import refusing_damage, require_zip_checksums

# In a .pt2 file these constants are pickled objects, or what torch calls torchbind: loading them may run anything.
UNSAFE = ("custom_obj", "opaque_obj", "opaque")


class ProgramRuntime:
    """Runs a .pt2 file of segnet; the contract is `segnet.inference.runtimes.Runtime`.

    Args:
        path: of the file.
        device: "cpu", "cuda", ...; None takes a GPU where there is one.

    Attributes:
        metadata: what the file tells of itself.

    Raises:
        CheckpointError: the file cannot be used, or holds more than tensors. MachineError: there is no such device.
    """

    def __init__(self, path: str | os.PathLike[str], device: str | None = None) -> None:
        path = require_model_file(path)
        self.device = choose_device(device)
        extra = {KEY: ""}
        with refusing_damage(path, "is no .pt2 model, unsafe or damaged"):
            require_zip_checksums(path)
            with zipfile.ZipFile(path) as archive:
                parts = [PurePosixPath(name) for name in archive.namelist()]
            if any(part.parent.name == "constants" and part.name.startswith(UNSAFE) for part in parts):
                raise CheckpointError(f"{path}: holds more than tensors and was not loaded: it may be unsafe")
            # Otherwise torch would unpickle whatever it holds.
            with mock.patch.dict(os.environ, {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}), open(path, "rb") as file:
                loaded = torch.export.load(file, extra_files=extra)
            moved = move_to_device_pass(loaded, self.device) if self.device.type != "cpu" else loaded
            self._module = moved.module(check_guards=False)  # of sizes: see segnet.exporters.graph
        self.metadata = Metadata.read(extra[KEY] or None, path)
        self.classes = self.metadata.classes
        self.channels = self.metadata.channels
        self.value_range = self.metadata.value_range
        require_working(self, path)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        return to_logits(self._module(to_input(images, self.metadata)), self.metadata)

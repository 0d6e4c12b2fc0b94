"""Runtime for .pt2 files of torch.export: torch, without the model's source code."""

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

# Pickled or torchbind objects in a .pt2 file: loading them may execute arbitrary code.
UNSAFE = ("custom_obj", "opaque_obj", "opaque")


class ProgramRuntime:
    """Runs a .pt2 file of segnet; implements `segnet.inference.runtimes.Runtime`.

    Args:
        path: path of the file.
        device: "cpu", "cuda", ...; None: a GPU if available.

    Attributes:
        metadata: metadata stored in the file.

    Raises:
        CheckpointError: the file cannot be used, or contains other objects than tensors.
        MachineError: the device does not exist.
    """

    def __init__(self, path: str | os.PathLike[str], device: str | None = None) -> None:
        path = require_model_file(path)
        self.device = choose_device(device)
        extra = {KEY: ""}
        with refusing_damage(path, "is not a .pt2 model, unsafe or damaged"):
            require_zip_checksums(path)
            with zipfile.ZipFile(path) as archive:
                parts = [PurePosixPath(name) for name in archive.namelist()]
            if any(part.parent.name == "constants" and part.name.startswith(UNSAFE) for part in parts):
                raise CheckpointError(f"{path}: contains other objects than tensors; refused as unsafe")
            # Otherwise torch would unpickle arbitrary objects.
            with mock.patch.dict(os.environ, {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}), open(path, "rb") as file:
                loaded = torch.export.load(file, extra_files=extra)
            moved = move_to_device_pass(loaded, self.device) if self.device.type != "cpu" else loaded
            self._module = moved.module(check_guards=False)  # no shape guards: see segnet.exporters.graph
        self.metadata = Metadata.read(extra[KEY] or None, path)
        self.classes = self.metadata.classes
        self.channels = self.metadata.channels
        self.value_range = self.metadata.value_range
        self.has_probabilities = self.metadata.output == "logits"
        self.temperature = self.metadata.temperature_of_logits
        require_working(self, path)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        return to_logits(self._module(to_input(images, self.metadata)), self.metadata)

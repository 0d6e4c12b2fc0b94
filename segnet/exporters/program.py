"""torch.export programs (.pt2): graph and weights, for torch without the model's source code."""

from pathlib import Path

import torch
from torch import nn

from segnet.exporters.graph import program
from segnet.models.metadata import KEY, Metadata
from segnet.system.files import replacing


def export_program(model: nn.Module, metadata: Metadata, path: Path) -> None:
    """Write one .pt2 file.

    Raises:
        MachineError: the file cannot be written.
    """
    exported = program(model, metadata)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        torch.export.save(exported, file, extra_files={KEY: metadata.to_json()})

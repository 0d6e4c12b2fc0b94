"""torch.export's .pt2: the graph and the weights, for torch without the model's code."""

from pathlib import Path

import torch
from torch import nn

from segnet.exporters.graph import program
from segnet.models.metadata import KEY, Metadata
from segnet.system.files import replacing


def export_program(model: nn.Module, metadata: Metadata, path: Path) -> None:
    """Writes one file.

    Raises:
        MachineError: the disk refuses it.
    """
    exported = program(model, metadata)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        torch.export.save(exported, file, extra_files={KEY: metadata.to_json()})

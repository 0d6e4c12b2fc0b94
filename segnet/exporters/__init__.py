"""Exporters: write a trained model as a file for another runtime.

The interface: an exporter is a function ``export(model, metadata, path)``. It writes a model from `exportable` and its
metadata to `path` by an atomic write. `path` has the suffix of the format.
"""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from segnet.exporters.graph import exportable, metadata_of
from segnet.exporters.onnx import export_onnx
from segnet.exporters.openvino import export_openvino
from segnet.exporters.program import export_program
from segnet.models.metadata import Metadata

Exporter = Callable[[nn.Module, Metadata, Path], None]

EXPORTERS: dict[str, Exporter] = {
    "onnx": export_onnx,
    "openvino": export_openvino,
    "pt2": export_program,
}

__all__ = ["EXPORTERS", "Exporter", "exportable", "metadata_of"]

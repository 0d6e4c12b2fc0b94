"""Exporters: a trained model becomes a file that another library runs, or that another program reads.

The contract. An exporter is a function ``export(model, metadata, path)`` that writes `path` whole or not at all from a
model that `exportable` made, with the metadata inside; `path` ends in the format's own suffix.
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
EXPORT_SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2"}

__all__ = ["EXPORTERS", "EXPORT_SUFFIXES", "Exporter", "exportable", "metadata_of"]

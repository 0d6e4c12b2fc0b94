"""Exports of small models, compared with the model itself at several sizes."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from segnet.classes import Classes
from segnet.exporters import EXPORTERS, exportable, metadata_of
from segnet.inference.runtimes import open_runtime
from segnet.models.segmentation_model import SegmentationModel

RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino", "pt2": "torch"}


def assert_export_equals_model(
    model: SegmentationModel,
    class_names: Sequence[str],
    format: str,
    folder: Path,
    sizes: Sequence[tuple[int, int, int]],
) -> None:
    """Export an eval model and compare its logits for uint8 images of sizes (B, H, W), within 1e-4 of the largest."""
    if format != "pt2":
        for package in ("onnx", "onnxscript", RUNTIMES[format]):
            pytest.importorskip(package)
    metadata = metadata_of(model, Classes.create(list(class_names)), "uint8", "logits", "0" * 64)
    path = folder / ("model.xml" if format == "openvino" else f"model.{format}")
    EXPORTERS[format](exportable(model, metadata), metadata, path)
    run = open_runtime(path, "cpu", RUNTIMES[format])
    for batch, height, width in sizes:
        images = torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8)
        expected = model(images)
        assert (run(images) - expected).abs().max() <= 1e-4 * expected.abs().max()

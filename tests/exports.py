"""A checkpoint of a tiny model and its exports, each created once for all tests."""

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny import components

from segnet.classes import Classes
from segnet.models.checkpoint import save_checkpoint
from segnet.models.segmentation_model import SegmentationModel
from segnet.workflows.export import export

try:
    import fcntl
except ImportError:  # Windows, where parallel tests share no folder
    fcntl = None

CLASSES = Classes.create(["sky", "Straße", "tree", "car"], ignore_index=200)
SPEC = {**components(), "num_classes": 4, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
TEMPERATURE = 1.75
NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino"), "pt2": ()}


def write_checkpoint(path: Path, seed: int = 0) -> Path:
    """Write a checkpoint; equal seeds give equal bytes."""
    path.write_bytes(_checkpoint(seed))
    return path


@functools.cache
def _checkpoint(seed: int) -> bytes:
    torch.manual_seed(seed)
    model = SegmentationModel(**SPEC)
    torch.nn.init.normal_(model.decoder.classifier.weight)  # logits far from 0
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    content = {"state_dict": weights, "hyper_parameters": {"model": SPEC, "classes": CLASSES.to_dict()}}
    content["temperature"] = {"values": [TEMPERATURE]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.ckpt"
        save_checkpoint(content, path)
        return path.read_bytes()


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process of these tests is here with this path."""
    with open(path.with_name(f"{path.name}.lock"), "w") as file:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Exports:
    """Lazily created exports, each created by the first process that needs it.

    Args:
        folder: folder of the files, which parallel tests may share; tests must not change them.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.checkpoint = folder, folder / "model.ckpt"
        with alone(self.checkpoint):
            if not self.checkpoint.exists():
                write_checkpoint(self.checkpoint)
        self.get = functools.cache(self._get)

    def _get(self, format: str, output_kind: str = "logits") -> Path:
        for package in NEEDS[format]:
            pytest.importorskip(package)
        suffix = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2"}[format]
        output = self.folder / f"{format}-{output_kind}{suffix}"
        with alone(output):
            if not output.exists():
                export(self.checkpoint, format, output, output_kind, lambda _: None)
        return output

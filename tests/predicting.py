"""Helpers for the tests of `segnet predict`: images, the command in a subprocess, and its results."""

import os
import subprocess
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tiny import components
from warm_python import WARM_PYTHON

from segnet.classes import Classes
from segnet.config import OptimConfig
from segnet.models.checkpoint import save_checkpoint
from segnet.training.task import SegmentationTask

REPOSITORY = Path(__file__).resolve().parents[1]


CLASSES = Classes.create(["road", "tree", "sky"], [[200, 10, 20], [30, 210, 40], [50, 60, 220]])


MODEL = {
    **components(),
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
}


def checkpoint_of(channels: int, path: Path) -> Path:
    """A checkpoint for images with `channels` channels."""
    torch.manual_seed(0)
    parts = components()
    model = {**parts, "backbone": {**parts["backbone"], "in_channels": channels}}
    model |= {"mean": [0.02] * channels, "std": [0.01] * channels}
    task = SegmentationTask.create(model=model, classes=CLASSES, loss={"name": "cross_entropy"}, optim=OptimConfig())
    save_checkpoint({"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}, path)
    return path


def untrained(path: Path, classes: Classes, seed: int = 0, output_stride: int = 16, mean: float = 0.5) -> Path:
    """A checkpoint of an untrained model with random norms, so that different seeds predict different masks."""
    torch.manual_seed(seed)
    model = {**components(output_stride), "mean": [mean] * 3, "std": [0.3] * 3}
    task = SegmentationTask.create(model=model, classes=classes, loss={"name": "cross_entropy"}, optim=OptimConfig())
    torch.nn.init.normal_(task.model.decoder.classifier.weight, std=2.0)
    save_checkpoint({"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}, path)
    return path


def write_noise(path: str | Path, size: tuple[int, int] = (20, 30)) -> Path:
    """Write a noise image of size (height, width)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)).save(path)
    return path


def written(output: str | Path = "predictions") -> list[str]:
    """Relative paths of the results, without the records."""
    paths = (path.relative_to(output) for path in Path(output).rglob("*") if not path.is_dir())
    return sorted(str(path) for path in paths if path.parts[0] != ".segnet")


def run(
    *arguments: object, cwd: Path, command: tuple[str, ...] = ("predict.py",), stdin: bytes = b""
) -> subprocess.CompletedProcess:
    """Run the command in a subprocess; a stack trace is a failure."""
    script = [str(REPOSITORY / command[0])] if command[0].endswith(".py") else list(command)
    result = subprocess.run(
        [*WARM_PYTHON, *script, *map(os.fsencode, map(str, arguments))],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
    )
    result.stdout, result.stderr = result.stdout.decode(), result.stderr.decode()
    assert "Traceback" not in result.stderr
    return result

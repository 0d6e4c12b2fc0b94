"""Fixtures of the shared cases: make an input, inspect it, and read it within limits."""

import shutil
import subprocess
from pathlib import Path

import pytest
from shared_cases import CASES
from tiny import components
from warm_python import WARM_PYTHON

from segnet.classes import Classes
from segnet.config import DataConfig, OptimConfig
from segnet.data.scan.report import DatasetReport
from segnet.models.checkpoint import save_checkpoint
from segnet.training.task import SegmentationTask
from segnet.verb_config import InspectConfig
from segnet.workflows.inspect import inspect


@pytest.fixture
def make(tmp_path):
    """Return a function that creates a case's input in a new folder: make("coco-windows-file-names") -> Path."""

    def run(case: str, *variant: str) -> Path:
        root = tmp_path / "-".join([case, *variant])
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        subprocess.run([*WARM_PYTHON, CASES / case / "make.py", root, *variant], check=True, timeout=600)
        return root

    return run


@pytest.fixture
def inspected(tmp_path):
    """Return a function that inspects a dataset like `segnet inspect`: inspected("folder", root, ...) -> report."""

    def run(name: str, root: Path, splits: tuple[str, ...] = ("train", "val"), **options) -> DatasetReport:
        spec = {"name": name, "root": str(root), **options}
        config = InspectConfig(dataset=spec, splits=list(splits), num_images=0, data=DataConfig(crop_size=[32, 32]))
        return inspect(config, tmp_path / "inspection")

    return run


@pytest.fixture
def limited():
    """Return a function that runs code with 6 GB of memory, at most ten minutes; it gives exit code and stderr."""

    def run(code: str) -> tuple[int, str]:
        limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (6 * 10**9, 6 * 10**9))\n"
        done = subprocess.run([*WARM_PYTHON, "-c", limit + code], capture_output=True, text=True, timeout=600)
        return done.returncode, done.stderr

    return run


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """Return a checkpoint of an untrained model with two classes."""
    classes = Classes.create(["bg", "a"])
    model = components()
    task = SegmentationTask.create(
        model={**model, "mean": [0.5] * 3, "std": [0.5] * 3},
        classes=classes,
        loss={"name": "cross_entropy"},
        optim=OptimConfig(),
    )
    path = tmp_path / "best.ckpt"
    save_checkpoint({"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}, path)
    return path

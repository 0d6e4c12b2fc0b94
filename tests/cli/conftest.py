"""A checkpoint, a working folder and a server for the tests of the command line."""

import os
import subprocess
from pathlib import Path

import pytest
import torch
from predicting import CLASSES, MODEL, REPOSITORY
from warm_python import WARM_PYTHON

from segnet.config import OptimConfig
from segnet.models.checkpoint import save_checkpoint
from segnet.training.task import SegmentationTask


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A real checkpoint of an untrained model."""
    torch.manual_seed(0)
    task = SegmentationTask.create(model=MODEL, classes=CLASSES, loss={"name": "cross_entropy"}, optim=OptimConfig())
    path = tmp_path_factory.mktemp("checkpoint") / "best.ckpt"
    save_checkpoint({"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}, path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def serve(checkpoint):
    """A function that starts a server on a free port: (process, URL)."""
    processes = []

    def start(*options):
        command = ["-m", "segnet", "serve", "--checkpoint", checkpoint, "--device", "cpu", "--port", "0", *options]
        process = subprocess.Popen(
            [*WARM_PYTHON, *map(str, command)],
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        process.printed = []
        for line in process.stdout:
            process.printed.append(line)
            if line.startswith("serving at "):
                return process, line.split()[2]
        pytest.fail(process.communicate()[1])

    yield start
    for process in processes:
        process.terminate()  # SIGTERM, so that it removes its upload folder
        process.communicate(timeout=600)

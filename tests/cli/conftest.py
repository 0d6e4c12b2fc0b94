"""A checkpoint and a working folder for the tests of `segnet predict`."""

from pathlib import Path

import pytest
import torch
from predicting import CLASSES, MODEL

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

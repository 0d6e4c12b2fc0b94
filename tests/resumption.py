"""A tiny configuration for runs that are stopped and resumed, and the comparison of two checkpoints."""

import json
from dataclasses import replace

import pytest
import torch
from tiny import components

from segnet.config import Config, DataConfig, OptimConfig
from segnet.models.checkpoint import read_checkpoint
from segnet.training.task import SegmentationTask
from segnet.workflows.train import train

CPU = {"accelerator": "cpu", "devices": 1}


def configuration(trainer=None, **changes):
    parts = components()
    parts["decoder"]["dropout"] = 0.3  # draws random numbers in training
    sections = {
        **parts,
        "backbone_weights": None,
        "loss": {"name": "cross_entropy"},
        "dataset": {"name": "shapes", "num_train": 11, "num_val": 3, "size": [40, 32]},
        "data": DataConfig(batch_size=2, crop_size=[32, 32], num_workers=0),
        "optim": OptimConfig(lr=0.05),
        "trainer": {**CPU, "max_epochs": 3, "log_every_n_steps": 1, **(trainer or {})},
        "checkpoint_every": 2,
        "worst_images": 0,
    }
    return Config(**{**sections, **changes})


class Killed(BaseException):
    """Simulates SIGKILL: no code of segnet catches it."""


def outcome(folder):
    """Return everything that must be equal after resuming; times and paths are left out."""
    checkpoint = read_checkpoint(folder / "last.ckpt")
    results = json.loads((folder / "results.json").read_text())
    return {
        "weights": checkpoint["state_dict"],
        "optimizer": checkpoint["optimizer_states"][0]["state"],
        "rates": checkpoint["lr_schedulers"],
        "best": read_checkpoint(folder / "best.ckpt")["state_dict"],
        "metrics": (folder / "metrics.csv").read_text(),
        "results": {key: value for key, value in results.items() if key not in ("seconds", "checkpoint", "config")},
    }


def cut(monkeypatch, method, number, action):
    """Patch a method of the task to run `action` before its `number`-th call."""
    calls, original = [], getattr(SegmentationTask, method)

    def cutting(self, *arguments):
        calls.append(1)
        if len(calls) == number:
            action()
        return original(self, *arguments)

    monkeypatch.setattr(SegmentationTask, method, cutting)


def kill():
    raise Killed


def train_in_two_parts(config, folder, monkeypatch, method, number, action=kill, error=Killed):
    """Train, interrupt, and resume; return the step of the checkpoint resumed from."""
    with monkeypatch.context() as patch:
        cut(patch, method, number, action)
        with pytest.raises(error):
            train(config, folder)
    step = read_checkpoint(folder / "last.ckpt")["global_step"]
    train(replace(config, checkpoint=str(folder / "last.ckpt")), folder.parent / "unused")
    assert not (folder.parent / "unused").exists()
    return step


def assert_equal(found, expected, place=""):
    assert type(found) is type(expected), place
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), place
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for key in expected:
            assert_equal(found[key], expected[key], f"{place}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for index, value in enumerate(expected):
            assert_equal(found[index], value, f"{place}/{index}")
    else:
        assert found == expected, place

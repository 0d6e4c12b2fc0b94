"""A tiny configuration for runs that are stopped and resumed, and the comparison of two checkpoints."""

import torch
from tiny import components

from segnet.config import Config, DataConfig, OptimConfig

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

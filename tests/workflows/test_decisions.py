"""What a budget decides before the data is read, and what it refuses before it measures."""

import pytest
import torch
from tiny import CPU, configuration

from segnet.config import Config, DataConfig
from segnet.errors import SegnetError
from segnet.workflows.decisions import fitted, start_clock
from segnet.workflows.train import train


@pytest.mark.parametrize(
    ("accelerator", "has_gpu", "depths"),
    [("auto", True, [3, 4, 6, 3]), ("gpu", True, [3, 4, 6, 3]), ("cpu", True, [2, 2, 2, 2]), ("auto", False, [2] * 4)],
)
def test_the_backbone_of_a_budget_follows_the_device_of_the_machine(accelerator, has_gpu, depths, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    config = Config(budget="30min", trainer={"accelerator": accelerator})
    assert fitted(config, start_clock(config, 0.0)).backbone["depths"] == depths


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"crop_size": [0, 32]}}, r"^data\.crop_size=\[0, 32\] must be"),
        ({"data": {"scale_range": [2.0, 1.0]}}, r"^data\.scale_range=\[2\.0, 1\.0\] must be"),
        ({"data": {"augment": [{"name": "Resize", "height": 9, "width": 9}]}}, r"^data\.augment"),
        ({"data": {"batch_size": 17}}, "^the train split has 16 images, fewer than one batch of 17"),
        ({"data": {"batch_size": 1, "crop_size": [8, 8]}}, "leaves batch norm one value per channel"),
        ({"data": {"crop_size": [8, 8]}, "norm": {"name": "instance"}}, "leave instance norm one value per channel"),
    ],
)
def test_a_budget_is_refused_as_a_run_without_one(changes, message, tmp_path):
    """The probe measures steps on random images: it would fail there, without saying why."""
    options = {"crop_size": [32, 32], "batch_size": 4, "num_workers": 0, **changes["data"]}
    changes = {**changes, "data": DataConfig(**options), "trainer": CPU}
    errors = []
    for budget in (None, "10min"):
        with pytest.raises(SegnetError, match=message) as raised:
            train(configuration(**changes, budget=budget), tmp_path / "run")
        errors.append(str(raised.value))
    assert errors[0] == errors[1]

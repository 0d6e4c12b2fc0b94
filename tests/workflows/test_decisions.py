"""What a budget decides before the data is read."""

import pytest
import torch

from segnet.config import Config
from segnet.workflows.decisions import fitted, start_clock


@pytest.mark.parametrize(
    ("accelerator", "has_gpu", "depths"),
    [("auto", True, [3, 4, 6, 3]), ("gpu", True, [3, 4, 6, 3]), ("cpu", True, [2, 2, 2, 2]), ("auto", False, [2] * 4)],
)
def test_the_backbone_of_a_budget_follows_the_device_of_the_machine(accelerator, has_gpu, depths, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    config = Config(budget="30min", trainer={"accelerator": accelerator})
    assert fitted(config, start_clock(config, 0.0)).backbone["depths"] == depths

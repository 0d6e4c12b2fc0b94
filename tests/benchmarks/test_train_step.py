import sys

import pytest
import torch

import benchmarks.train_step as script
from segnet.errors import MachineError

CASE = script.Case(50, 16, 64, 2, 5)
CPU = torch.device("cpu")


def test_a_step_trains_the_network_with_a_finite_loss():
    task, step = script.ours(CASE, CPU, torch.float32, compiled=False)
    before = [parameter.detach().clone() for parameter in task.parameters()]
    assert 0 < step().item() < 10
    assert not all(torch.equal(a, b) for a, b in zip(before, task.parameters(), strict=True))
    assert script._same_loss(CASE, CPU)


def test_a_missing_peer_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(MachineError, match="is not installed: see this file"):
        script.peer(CASE, CPU, torch.float32)

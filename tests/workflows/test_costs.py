"""Time and memory of a measured step."""

import subprocess
import sys

import pytest
import torch

from segnet.workflows.costs import RESIDENT, cost


def test_memory_excludes_that_of_the_parent_process():
    code = (
        "from segnet.workflows.costs import resident; before = resident(); taken = bytearray(b'1') * (200 << 20); "
        "print((resident() - before) >> 20)"
    )
    ballast = bytearray(b"1") * (500 << 20)  # getrusage's peak includes it
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(ballast)
    assert 150 <= int(done.stdout) <= 210


def test_a_cost_is_measured_per_batch():
    calls = []
    found = cost(lambda: calls.append(1), 4, 1e-3, torch.device("cpu"), 0, "torch")
    assert calls
    assert found.images_per_second * found.seconds == pytest.approx(4)
    assert (found.memory_is, found.runs_on) == (RESIDENT, "torch")


def test_memory_that_did_not_grow_is_zero():
    """Linux counts pages per processor and adds them up at times: a later peak can read some pages lower."""
    much = 1 << 60
    assert cost(lambda: None, 1, 1e-3, torch.device("cpu"), much, "torch").memory == 0

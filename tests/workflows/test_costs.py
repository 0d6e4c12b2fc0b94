"""Memory and time are those of what was measured."""

import subprocess
import sys

import torch

from segnet.workflows.costs import RESIDENT, cost


def test_memory_is_what_this_process_took_and_not_the_one_that_started_it():
    code = (
        "from segnet.workflows.costs import resident; before = resident(); taken = bytearray(b'1') * (200 << 20); "
        "print((resident() - before) >> 20)"
    )
    ballast = bytearray(b"1") * (500 << 20)  # what getrusage would begin with
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(ballast)
    assert 150 <= int(done.stdout) <= 210


def test_a_cost_is_that_of_a_batch():
    calls = []
    found = cost(lambda: calls.append(1), 4, 1e-3, torch.device("cpu"), 0, "torch")
    assert calls
    assert found.images_per_second * found.seconds == 4
    assert (found.memory_is, found.runs_on) == (RESIDENT, "torch")


def test_memory_that_did_not_grow_is_0_and_not_less():
    """Linux counts pages by processor and adds them up now and then: a later peak can read some pages lower."""
    much = 1 << 60
    assert cost(lambda: None, 1, 1e-3, torch.device("cpu"), much, "torch").memory == 0

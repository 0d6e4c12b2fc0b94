"""The time and the memory that something takes, done over and over with a batch of images."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from segnet.system.machine import machine_line
from segnet.training.callbacks.progress import memory_used

ALLOCATED = "allocated by torch on the GPU"
RESIDENT = "growth of the process's resident memory"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What training or prediction takes.

    Attributes:
        images_per_second: of batches in memory.
        seconds: for a batch; of training forward, loss, backward and the optimizer's step; of prediction from uint8
            images in the machine's memory to class ids there.
        memory: at the peak, the model included [bytes]; None: not known here.
        memory_is: what was measured, ALLOCATED or RESIDENT.
        runs_on: what ran it: torch, torch.compile, onnxruntime or openvino.
        machine: processor or GPU, threads and versions.
    """

    images_per_second: float
    seconds: float
    memory: int | None
    memory_is: str
    runs_on: str
    machine: str


def cost(
    step: Callable[[], object], batch_size: int, seconds: float, device: torch.device, before: int, library: str
) -> Cost:
    """Measures what is done with a batch, over and over.

    Args:
        step: does it once.
        batch_size: images in it.
        seconds: how long to measure; at least one batch.
        device: that computes.
        before: `resident()` before the model was there.
        library: that runs it, for the record.
    """
    step()  # chooses algorithms, compiles, allocates what stays
    step()
    durations = [_timed(step, 1, device)]
    at_once = max(1, int(seconds / 5 / durations[0]))  # without waiting for the device in between
    durations = [_timed(step, at_once, device) for _ in range(5)] if durations[0] < seconds else durations
    memory, memory_is = _peak(device, before)
    typical = statistics.median(durations)
    return Cost(
        images_per_second=batch_size / typical,
        seconds=typical,
        memory=memory,
        memory_is=memory_is,
        runs_on=library,
        machine=machine_line(device),
    )


def _timed(step: Callable[[], object], repeats: int, device: torch.device) -> float:
    """The mean time of a step [seconds]."""
    _synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    _synchronize(device)
    return (time.perf_counter() - start) / repeats


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _peak(device: torch.device, before: int) -> tuple[int | None, str]:
    """The most memory so far [bytes], and what it is of; None: not known here.

    Args:
        before: `resident()` before the model was there.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), ALLOCATED
    most = resident()
    grown = max(0, most - before)  # the kernel counts by processor, and a peak read later may be some pages lower
    return (grown if most and device.type == "cpu" else None), RESIDENT


def resident() -> int:
    """The most of the machine's memory that this process has had; 0: unknown [bytes]."""
    try:  # Linux: what getrusage says begins with what the process had that started this one
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return memory_used(torch.device("cpu"))

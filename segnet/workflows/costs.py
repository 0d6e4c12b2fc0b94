"""Measure time and memory of a repeated step with a batch of images."""

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
    """Time and memory of training or prediction.

    Attributes:
        images_per_second: throughput with batches in memory [images/s].
        seconds: time per batch [s]. Training: forward, loss, backward and optimizer step. Prediction: from uint8 images
            in main memory to class ids in main memory.
        memory: peak memory, model included [bytes]; None if unknown.
        memory_is: the kind of memory, ALLOCATED or RESIDENT.
        runs_on: the library: torch, torch.compile, onnxruntime or openvino.
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
    """Measure a step repeatedly.

    Args:
        step: processes one batch.
        batch_size: images per batch.
        seconds: duration of the measurement, at least one batch [s].
        device: the device that computes.
        before: `resident()` before the model was loaded [bytes].
        library: the library that computes, stored in the result.
    """
    step()  # warm-up: chooses algorithms, compiles and allocates memory
    step()
    durations = [_timed(step, 1, device)]
    at_once = max(1, int(seconds / 5 / durations[0]))  # steps between two synchronizations with the device
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
    """Return the mean time of a step [s]."""
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
    """Return the peak memory so far [bytes], None if unknown, and the kind of memory.

    Args:
        before: `resident()` before the model was loaded [bytes].
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), ALLOCATED
    most = resident()
    grown = max(0, most - before)  # the kernel counts per processor: a later peak can read some pages lower
    return (grown if most and device.type == "cpu" else None), RESIDENT


def resident() -> int:
    """Return this process's peak resident memory [bytes]; 0 if unknown."""
    try:  # Linux: the peak of getrusage includes that of the parent process
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return memory_used(torch.device("cpu"))

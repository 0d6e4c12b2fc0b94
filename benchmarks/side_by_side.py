"""What the benchmarks share: turns taken by the ways that are compared, and what the machine can do at most."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch

from segnet.machine import machine_line as machine

__all__ = ["ceilings", "machine", "ratio", "synchronise", "times"]


def times(ways: Mapping[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Runs A B A B ..., after one run of each that does not count, and gives the times of each [seconds]."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            synchronise(device)
            start = time.perf_counter()
            way()
            synchronise(device)
            if turn:
                taken[name].append(time.perf_counter() - start)
    return taken


def ratio(slow: list[float], fast: list[float]) -> float:
    """The median of the ratios of runs that followed each other: what else the machine did met both."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def synchronise(device: torch.device) -> None:
    """Waits for a device that runs by itself."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ceilings(device: torch.device, dtype: torch.dtype) -> str:
    """What a large matrix product and a large copy reach, in a line: no network can be faster."""
    size = 8192 if device.type == "cuda" else 2048
    matrix = torch.randn(size, size, device=device).to(dtype)
    block = torch.empty(2**28 if device.type == "cuda" else 2**25, dtype=torch.float32, device=device)
    other = torch.empty_like(block)
    taken = times({"product": lambda: matrix @ matrix, "copy": lambda: other.copy_(block)}, 10, device)
    flops = 2 * size**3 / min(taken["product"]) / 1e12
    bandwidth = 2 * block.numel() * block.element_size() / min(taken["copy"]) / 1e9
    return f"at most {flops:.2f} TFLOP/s (product of two {size} x {size} {dtype}), {bandwidth:.0f} GB/s (copy)"

"""Timing of alternating runs, and the ceilings of a machine; used by several benchmarks."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch.nn import functional

from segnet.system.machine import machine_line as machine

__all__ = ["ceilings", "machine", "ratio", "synchronize", "times"]


def times(ways: Mapping[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Run A B A B ... after one warm-up of each; return the times of each [seconds]."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            synchronize(device)
            start = time.perf_counter()
            way()
            synchronize(device)
            if turn:
                taken[name].append(time.perf_counter() - start)
    return taken


def ratio(slow: list[float], fast: list[float]) -> float:
    """Median ratio of neighboring runs, so that other work on the machine affects both."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def synchronize(device: torch.device) -> None:
    """Wait until a device has finished its queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ceilings(device: torch.device, dtype: torch.dtype) -> str:
    """Measure a large matrix product, convolution and copy, as one line: no network is much faster.

    The convolution is measured too, because on a CPU torch uses another library for products, which is slow on some
    machines.
    """
    size = 8192 if device.type == "cuda" else 2048
    matrix = torch.randn(size, size, device=device).to(dtype)
    block = torch.empty(2**28 if device.type == "cuda" else 2**25, dtype=torch.float32, device=device)
    other = torch.empty_like(block)
    channels, side = 512, 64
    features = torch.randn(size // 512, channels, side, side, device=device).to(dtype)
    features = features.to(memory_format=torch.channels_last)
    kernel = torch.randn(channels, channels, 3, 3, device=device).to(dtype)
    with torch.inference_mode():
        taken = times(
            {
                "product": lambda: matrix @ matrix,
                "convolution": lambda: functional.conv2d(features, kernel, padding=1),
                "copy": lambda: other.copy_(block),
            },
            10,
            device,
        )
    product = 2 * size**3 / min(taken["product"]) / 1e12
    convolution = 2 * 9 * features.numel() * channels / min(taken["convolution"]) / 1e12
    bandwidth = 2 * block.numel() * block.element_size() / min(taken["copy"]) / 1e9
    return (
        f"{dtype}: {product:.2f} TFLOP/s (product of two {size} x {size}), {convolution:.2f} TFLOP/s (3x3 convolution "
        f"of {channels} channels), {bandwidth:.0f} GB/s (copy)"
    )

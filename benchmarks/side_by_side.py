"""Timing of alternating runs, and the ceilings of a machine; used by several benchmarks."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from segnet.system.machine import machine_line as machine

__all__ = ["Ceilings", "LargeConvolution", "ceilings", "machine", "ratio", "synchronize", "times"]


def times(
    ways: Mapping[str, Callable[[], object]],
    repeats: int,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Run A B A B ... after one warm-up of each; return the times of each by `clock` [seconds]."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            synchronize(device)
            start = clock()
            way()
            synchronize(device)
            if turn:
                taken[name].append(clock() - start)
    return taken


def ratio(slow: list[float], fast: list[float]) -> float:
    """Median ratio of neighboring runs, so that other work on the machine affects both."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def synchronize(device: torch.device) -> None:
    """Wait until a device has finished its queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class LargeConvolution:
    """A 3x3 convolution of many channels, which reaches about what convolutions reach on a machine.

    Attributes:
        flops: its floating point operations.
    """

    CHANNELS, SIDE = 512, 64

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        batch_size = 16 if device.type == "cuda" else 4
        features = torch.randn(batch_size, self.CHANNELS, self.SIDE, self.SIDE, device=device).to(dtype)
        self._features = features.to(memory_format=torch.channels_last)
        self._kernel = torch.randn(self.CHANNELS, self.CHANNELS, 3, 3, device=device).to(dtype)
        self.flops = 2 * 9 * features.numel() * self.CHANNELS

    @torch.inference_mode()
    def __call__(self) -> Tensor:
        return functional.conv2d(self._features, self._kernel, padding=1)


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What a machine reaches in large operations: no network is much faster.

    Attributes:
        dtype: dtype of product and convolution.
        side: rows and columns of the matrices.
        product, convolution: floating point operations per second.
        bandwidth: bytes per second, read and written.
    """

    dtype: torch.dtype
    side: int
    product: float
    convolution: float
    bandwidth: float

    def __str__(self) -> str:
        return (
            f"{self.dtype}: {self.product / 1e12:.2f} TFLOP/s (product of two {self.side} x {self.side}), "
            f"{self.convolution / 1e12:.2f} TFLOP/s (3x3 convolution of {LargeConvolution.CHANNELS} channels), "
            f"{self.bandwidth / 1e9:.0f} GB/s (copy)"
        )


def ceilings(device: torch.device, dtype: torch.dtype, clock: Callable[[], float] = time.perf_counter) -> Ceilings:
    """Measure a large matrix product, convolution and copy by a clock.

    The convolution is measured too, because on a CPU torch uses another library for products, which is slow on some
    machines.
    """
    side = 8192 if device.type == "cuda" else 2048
    matrix = torch.randn(side, side, device=device).to(dtype)
    block = torch.empty(2**28 if device.type == "cuda" else 2**25, dtype=torch.float32, device=device)
    other = torch.empty_like(block)
    convolution = LargeConvolution(device, dtype)
    with torch.inference_mode():
        taken = times(
            {"product": lambda: matrix @ matrix, "convolution": convolution, "copy": lambda: other.copy_(block)},
            10,
            device,
            clock,
        )
    return Ceilings(
        dtype,
        side,
        2 * side**3 / min(taken["product"]),
        convolution.flops / min(taken["convolution"]),
        2 * block.numel() * block.element_size() / min(taken["copy"]),
    )

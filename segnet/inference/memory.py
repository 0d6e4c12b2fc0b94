"""Inference that fits in memory: after out of memory, smaller batches and windows are tried."""

import logging
import math
from collections.abc import Callable
from typing import TypeVar

import torch

from segnet.choices import DEFAULT_WINDOW
from segnet.errors import MachineError
from segnet.inference.tta import Inference
from segnet.system.machine import is_out_of_memory

log = logging.getLogger(__name__)

SMALLEST_WINDOW = 128  # lower limit after out of memory: smaller windows have too little context [pixels]

T = TypeVar("T")


class FittingInference:
    """Settings of inference that are reduced after out of memory, and stay so for later images.

    Args:
        inference: the settings to begin with.
        max_pixels: largest image to predict without windows, unless the settings have some [pixels].
        device: device of the models.
    """

    def __init__(self, inference: Inference, max_pixels: int, device: torch.device) -> None:
        self._inference, self._max_pixels, self._device = inference, max_pixels, device
        self._fitting: int | None = None  # window side after out of memory
        self._most = inference.batch_size  # largest batch that fits

    def run(self, attempt: Callable[[Inference], T], size: tuple[int, int], batch_size: int) -> T:
        """Call `attempt`; after out of memory again with batch size 1, then with smaller windows.

        Args:
            attempt: predicts with the given settings; it may be called several times.
            size: (height, width) of the images [pixels].
            batch_size: number of images, or of windows.

        Raises:
            MachineError: out of memory even with the smallest windows.
        """
        inference = self._inference.with_window(self._side(size), min(batch_size, self._most))
        while True:
            try:
                return attempt(inference)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            inference = self._smaller(inference, size)  # outside of `except`: the error references memory

    def _smaller(self, inference: Inference, size: tuple[int, int]) -> Inference:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if inference.batch_size > 1:
            self._most = 1
            log.warning("out of memory with batch size %d: retrying with batch size 1", inference.batch_size)
            return inference.with_window(inference.window, 1)
        window = min(inference.window or max(size), max(size))
        tried = f"{size[0]} x {size[1]} pixels" if window == max(size) else f"windows of {window} pixels"
        side = window // 2
        if side < SMALLEST_WINDOW:
            raise MachineError(f"out of memory even with {tried}: free some memory, or use another device")
        self._fitting = side
        log.warning("out of memory with %s: retrying with windows of %d", tried, side)
        return inference.with_window(side)

    def _side(self, size: tuple[int, int]) -> int | None:
        """Window side for an image of (height, width); None: without windows."""
        pixels = math.prod(size)
        side = self._inference.window or (DEFAULT_WINDOW if pixels > self._max_pixels else None)
        if self._fitting is not None and (side or math.isqrt(pixels)) > self._fitting:
            return self._fitting
        return side

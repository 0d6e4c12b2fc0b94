"""Predictor: segment an image with a trained model."""

import logging
import math
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segnet.choices import DEFAULT_WINDOW
from segnet.errors import DataError, MachineError
from segnet.images.convert import ImageLike, as_bands
from segnet.images.values import Bands
from segnet.images.windows import Window
from segnet.inference.runtimes import open_runtime
from segnet.inference.segmentation import Segmentation
from segnet.inference.tta import MAX_PIXELS, Inference, argmax_classes
from segnet.system.machine import is_out_of_memory

log = logging.getLogger(__name__)

SMALLEST_WINDOW = 128  # to which a full memory leads: below it a model sees too little [pixels]

Ids = NDArray[np.uint8 | np.uint16]
T = TypeVar("T")


class Predictor:
    """Segments images with a trained model. May be called by several threads at the same time.

    Images of more than `max_pixels` are cut into overlapping windows, whose probabilities are blended. Where the memory
    is full, smaller windows are tried, and a warning is logged: with less around them, predictions differ a little.

    Args:
        model: path of a segnet checkpoint, or of what `segnet export` made of one.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes a GPU where there is one.
        runtime: "torch", "onnxruntime" or "openvino"; None: torch, or on a CPU an existing export.
        precision: "float32", "bf16" or "fp16"; None: float32.
        flip: whether to average the probabilities of the image and its mirror image.
        scales: factors on the image's size over which probabilities are averaged.
        window: the side of the windows into which any larger image is cut [pixels]; None: 1024, for those of more than
            `max_pixels`.
        overlap: the share of a window that the next one repeats at least, 0-0.9.
        batch_size: how many windows, or images of the same size, share a pass.
        max_pixels: up to how many an image is predicted whole, unless `window` is given.

    Attributes:
        classes: names, palette and ignore_index, as the model stores them.
        channels, value_range: of the images, as `segnet.images.bands.read_bands` takes them.

    Raises:
        CheckpointError: the file cannot be used. MachineError: there is no such device.
        ConfigError: an option out of its range.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        device: str | None = None,
        *,
        runtime: str | None = None,
        precision: str | None = None,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        window: int | None = None,
        overlap: float = 0.25,
        batch_size: int = 1,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._inference = Inference(
            flip=flip, scales=tuple(scales), window=window, overlap=overlap, batch_size=batch_size
        )
        self._max_pixels = max_pixels
        self._fitting: int | None = None  # the largest window that memory held, once it was full
        self._most = batch_size  # images in a pass
        self._runtime = open_runtime(model, device, runtime, precision)
        self.classes = self._runtime.classes
        self.channels = self._runtime.channels
        self.value_range = self._runtime.value_range

    def __call__(self, image: ImageLike, probabilities: bool = False) -> Segmentation:
        """Segment one image.

        Args:
            image: a path, a Pillow image, an array (H, W) or (H, W, channels), or a tensor (channels, H, W), as
                `segnet.images.convert.as_bands` takes them: uint8, uint16 of 0-65535, or floating point of 0-1.
            probabilities: whether to keep those of all classes.

        Raises:
            DataError: no image that the model can take. MachineError: the memory is full.
        """
        return self.segment(as_bands(image, self.channels, self.value_range), probabilities=probabilities)

    def segment(self, image: Bands, probabilities: bool = False) -> Segmentation:
        """Segment one image that was read already.

        Args:
            image: (H, W, channels), 0-255, any size: uint8 RGB, or what `segnet.images.bands.read_bands` gives.
            probabilities: whether to keep those of all classes.
        """
        return self.batch([image], probabilities=probabilities)[0]

    def batch(self, images: Sequence[Bands], probabilities: bool = False) -> list[Segmentation]:
        """Segment several images that were read already; of those of the same size, `batch_size` share a pass.

        Args:
            images: each as `segment` takes it.
            probabilities: whether to keep those of all classes.
        """
        same_size: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            self._check(image)
            same_size.setdefault((*image.shape, image.dtype.num), []).append(index)
        results: dict[int, Segmentation] = {}
        for indices in same_size.values():
            for first in range(0, len(indices), self._inference.batch_size):
                some = indices[first : first + self._inference.batch_size]
                segmented = self._segment([images[index] for index in some], probabilities)
                results.update(zip(some, segmented, strict=True))
        return [results[index] for index in range(len(images))]

    def stream(
        self, size: tuple[int, int], read: Callable[[Window], Bands], write: Callable[[Window, Ids], None]
    ) -> None:
        """Segment an image that need not fit in memory, window by window.

        Args:
            size: (height, width) of the image [pixels].
            read: gives a window of it, (h, w, channels), 0-255; a window may be asked for several times.
            write: takes the class ids (h, w) of a part once they are final. The parts cover every pixel; where the
                memory was full, parts that were written before come again.
        """

        def attempt(inference: Inference) -> None:
            inference.slide(
                self._runtime,
                size,
                lambda window: self._tensor(read(window)),
                lambda part, scores: write(part, self._ids(scores)),
            )

        self._within_memory(attempt, size, self._inference.batch_size)

    def _segment(self, images: Sequence[Bands], probabilities: bool) -> list[Segmentation]:
        """Of images of the same size, at most `batch_size`."""
        height, width = images[0].shape[:2]

        def attempt(inference: Inference) -> list[Segmentation]:
            if inference.window is None or max(height, width) <= inference.window:
                return self._whole(images, probabilities, inference)
            return [self._windows(image, probabilities, inference) for image in images]

        return self._within_memory(attempt, (height, width), len(images))

    @torch.inference_mode()
    def _whole(self, images: Sequence[Bands], probabilities: bool, inference: Inference) -> list[Segmentation]:
        num_passes = -(-len(images) // inference.batch_size)
        results = []
        for chunk in np.array_split(np.arange(len(images)), num_passes):
            batch = torch.stack([self._tensor(images[index]) for index in chunk])
            # softmax changes no order, but where rounding makes two classes equal: without it, this is what
            # evaluation counts, to the last pixel
            plain = inference.is_plain and not probabilities
            scores = self._runtime(batch) if plain else inference.averaged(self._runtime, batch)
            for index, image_scores in zip(chunk, scores, strict=True):
                kept = image_scores.half().cpu().numpy() if probabilities else None
                results.append(Segmentation(images[index], self._ids(image_scores), self.classes, kept))
        return results

    def _windows(self, image: Bands, probabilities: bool, inference: Inference) -> Segmentation:
        size = image.shape[:2]
        mask = np.empty(size, self._id_type)
        kept = np.empty((len(self.classes.names), *size), np.float16) if probabilities else None

        def write(part: Window, scores: Tensor) -> None:
            mask[part.within()] = self._ids(scores)
            if kept is not None:
                kept[:, *part.within()] = scores.half().cpu().numpy()

        height, width = size
        inference.slide(self._runtime, (height, width), lambda window: self._tensor(image[window.within()]), write)
        return Segmentation(image, mask, self.classes, kept)

    def _within_memory(self, attempt: Callable[[Inference], T], size: tuple[int, int], batch_size: int) -> T:
        """Try what fits most likely, then with fewer images in a pass, then with smaller windows."""
        inference = self._inference.with_window(self._side(size), min(batch_size, self._most))
        while True:
            try:
                return attempt(inference)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            inference = self._smaller(inference, size)  # out here, where the error no longer holds on to what it used

    def _smaller(self, inference: Inference, size: tuple[int, int]) -> Inference:
        if self._runtime.device.type == "cuda":
            torch.cuda.empty_cache()
        if inference.batch_size > 1:
            self._most = 1
            log.warning("the memory is full with %d images in a pass: going on with one", inference.batch_size)
            return inference.with_window(inference.window, 1)
        window = min(inference.window or max(size), max(size))
        tried = f"{size[0]} x {size[1]} pixels" if window == max(size) else f"windows of {window} pixels"
        side = window // 2
        if side < SMALLEST_WINDOW:
            raise MachineError(f"the memory is full even with {tried}: free some of it, or use another device")
        self._fitting = side
        log.warning("the memory is full with %s: going on with windows of %d", tried, side)
        return inference.with_window(side)

    def _side(self, size: tuple[int, int]) -> int | None:
        """Of the windows for an image of (height, width); None: it is predicted whole."""
        pixels = math.prod(size)
        side = self._inference.window or (DEFAULT_WINDOW if pixels > self._max_pixels else None)
        if self._fitting is not None and (side or math.isqrt(pixels)) > self._fitting:
            return self._fitting
        return side

    def _check(self, image: Bands) -> None:
        if image.ndim != 3 or image.shape[2] != self.channels or image.dtype not in (np.uint8, np.float32):
            raise DataError(
                f"an image of shape {image.shape} and type {image.dtype}: the model takes (H, W, {self.channels}), "
                "uint8 or float32, 0-255"
            )

    def _tensor(self, image: Bands) -> Tensor:
        """(H, W, channels) -> (channels, H, W) on the model's device."""
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).to(self._runtime.device)

    def _ids(self, scores: Tensor) -> Ids:
        """(classes, H, W) -> (H, W)."""
        return argmax_classes(scores).cpu().numpy().astype(self._id_type)

    @property
    def _id_type(self) -> type[np.uint8] | type[np.uint16]:
        return np.uint8 if len(self.classes.names) <= 256 else np.uint16

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
from segnet.inference.ensemble import Ensemble, StrPath
from segnet.inference.segmentation import Segmentation
from segnet.inference.tta import MAX_PIXELS, Inference, argmax_classes
from segnet.published.zoo import find_model
from segnet.system.machine import is_out_of_memory

log = logging.getLogger(__name__)

SMALLEST_WINDOW = 128  # lower limit after out of memory: smaller windows have too little context [pixels]

Ids = NDArray[np.uint8 | np.uint16]
T = TypeVar("T")


class Predictor:
    """Segments images with a trained model, or with several whose probabilities are averaged. Thread-safe.

    Images with more than `max_pixels` are predicted in overlapping sliding windows with blended probabilities. If
    memory runs out, smaller windows are tried and a warning is logged. Their predictions may differ slightly, because
    each window has less context.

    Args:
        model: path of a segnet checkpoint, or of a model exported by `segnet export`; or the name of a published model,
            such as "cityscapes_resnet50_vd", which is downloaded once; or a list of them. The classes of several models
            are matched by name, in the order of the first one. Each model keeps its normalization.
        device: "cpu", "cuda", "cuda:1", "mps"; None: a GPU if available.
        runtime: "torch", "onnxruntime" or "openvino"; None: torch, or on a CPU an existing export.
        precision: "float32", "bf16" or "fp16"; None: float32.
        flip: test-time augmentation: whether to average with the prediction of the mirrored image.
        scales: test-time augmentation: factors on the image size to average over.
        window: side of the sliding windows on larger images [pixels]; None: 1024 on images with more than
            `max_pixels`.
        overlap: smallest overlap of adjacent windows, as a fraction of their side, 0-0.9.
        batch_size: number of windows, or of images of equal size, per batch.
        max_pixels: largest image to predict without windows, unless `window` is given [pixels].

    Attributes:
        classes: names, palette and ignore_index stored in the model.
        channels, value_range: those of the images, for `segnet.images.bands.read_bands`.

    Raises:
        CheckpointError: a file cannot be used, or several models have other classes, channels or value ranges.
        MachineError: the device does not exist, or the download failed. ConfigError: an option is out of range.
    """

    def __init__(
        self,
        model: StrPath | Sequence[StrPath],
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
        self._fitting: int | None = None  # window side after out of memory
        self._most = batch_size  # largest batch that fits
        named = [model] if isinstance(model, str | os.PathLike) else model
        ensemble = Ensemble([find_model(one) for one in named], device, runtime, precision)
        self._models, self._device = ensemble.models, ensemble.device
        self.classes = ensemble.classes
        self.channels = ensemble.channels
        self.value_range = ensemble.value_range

    def __call__(self, image: ImageLike, probabilities: bool = False) -> Segmentation:
        """Segment one image.

        Args:
            image: a path, a Pillow image, an array (H, W) or (H, W, channels), or a tensor (channels, H, W): uint8,
                uint16 with values 0-65535, or floating point with values 0-1; see `segnet.images.convert.as_bands`.
            probabilities: whether to keep the probabilities of all classes.

        Raises:
            DataError: not an image for this model. MachineError: out of memory.
        """
        return self.segment(as_bands(image, self.channels, self.value_range), probabilities=probabilities)

    def segment(self, image: Bands, probabilities: bool = False) -> Segmentation:
        """Segment one image given as an array.

        Args:
            image: (H, W, channels), 0-255, any size: uint8 RGB, or the output of `segnet.images.bands.read_bands`.
            probabilities: whether to keep the probabilities of all classes.
        """
        return self.batch([image], probabilities=probabilities)[0]

    def batch(self, images: Sequence[Bands], probabilities: bool = False) -> list[Segmentation]:
        """Segment several images given as arrays; images of equal size are batched.

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
        """Segment a large image with sliding windows; it need not fit in memory.

        Args:
            size: (height, width) of the image [pixels].
            read: returns a window of the image, (h, w, channels), 0-255; a window may be requested several times.
            write: receives the final class ids (h, w) of a tile. The tiles cover every pixel. After out of memory,
                tiles may be written again.
        """

        def attempt(inference: Inference) -> None:
            inference.slide(
                self._models,
                size,
                lambda window: self._tensor(read(window)),
                lambda part, scores: write(part, self._ids(scores)),
            )

        self._within_memory(attempt, size, self._inference.batch_size)

    def _segment(self, images: Sequence[Bands], probabilities: bool) -> list[Segmentation]:
        """Segment at most `batch_size` images of equal size."""
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
            # Softmax preserves the order of classes except for rounding to ties. Without it, the mask equals that of
            # evaluate to the last pixel.
            plain = inference.is_plain and not probabilities and len(self._models) == 1
            scores = self._models[0](batch) if plain else inference.averaged(self._models, batch)
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
        inference.slide(self._models, (height, width), lambda window: self._tensor(image[window.within()]), write)
        return Segmentation(image, mask, self.classes, kept)

    def _within_memory(self, attempt: Callable[[Inference], T], size: tuple[int, int], batch_size: int) -> T:
        """Run; after out of memory retry with batch size 1, then with smaller windows."""
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

    def _check(self, image: Bands) -> None:
        if image.ndim != 3 or image.shape[2] != self.channels or image.dtype not in (np.uint8, np.float32):
            raise DataError(
                f"an image of shape {image.shape} and type {image.dtype}: the model takes (H, W, {self.channels}), "
                "uint8 or float32, 0-255"
            )

    def _tensor(self, image: Bands) -> Tensor:
        """(H, W, channels) -> (channels, H, W) on the model's device."""
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).to(self._device)

    def _ids(self, scores: Tensor) -> Ids:
        """(classes, H, W) -> (H, W)."""
        return argmax_classes(scores).cpu().numpy().astype(self._id_type)

    @property
    def _id_type(self) -> type[np.uint8] | type[np.uint16]:
        return np.uint8 if len(self.classes.names) <= 256 else np.uint16

"""Predictor: segment an image with a trained model."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segnet.errors import ConfigError, DataError
from segnet.images.convert import ImageLike
from segnet.images.model_images import ModelImages
from segnet.images.values import Bands
from segnet.images.windows import Window
from segnet.inference.decisions import decision_of
from segnet.inference.ensemble import Ensemble, StrPath
from segnet.inference.memory import FittingInference
from segnet.inference.refinement import Refinement
from segnet.inference.refining import Ids, Refiner
from segnet.inference.segmentation import Segmentation
from segnet.inference.smoothing import Smoothing
from segnet.inference.tta import MAX_PIXELS, Inference
from segnet.published.zoo import find_model


@dataclass(frozen=True, slots=True)
class _Request:
    """What to make of the scores of images.

    Attributes:
        refiner: makes the masks.
        keeps_probabilities: whether to return the probabilities of all classes.
        smoothing: the earlier frames of a video; None: images.
    """

    refiner: Refiner
    keeps_probabilities: bool
    smoothing: Smoothing | None = None

    @property
    def needs_probabilities(self) -> bool:
        return self.keeps_probabilities or bool(self.smoothing) or self.refiner.needs_probabilities


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
        precision: "float32", "bf16", "fp16" or "auto", the fastest with nearly the same masks; None: float32.
        flip: test-time augmentation: whether to average with the prediction of the mirrored image.
        scales: test-time augmentation: factors on the image size to average over.
        window: side of the sliding windows on larger images [pixels]; None: 1024 on images with more than
            `max_pixels`.
        overlap: smallest overlap of adjacent windows, as a fraction of their side, 0-0.9.
        batch_size: number of windows, or of images of equal size, per batch.
        max_pixels: largest image to predict without windows, unless `window` is given [pixels].
        refinement: thresholds, refusal of unsure pixels and smallest regions; each call may have its own.

    Attributes:
        classes: names, palette and ignore_index stored in the model.
        channels, value_range: those of the images, for `segnet.images.bands.read_bands`.
        temperature: that of the probabilities, see `segnet.models.temperature`.

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
        refinement: Refinement | None = None,
    ) -> None:
        self._batch_size = batch_size
        inference = Inference(flip=flip, scales=tuple(scales), window=window, overlap=overlap, batch_size=batch_size)
        models = [model] if isinstance(model, str | os.PathLike) else model
        ensemble = Ensemble(list(map(find_model, models)), device, runtime, precision)
        self._models, self._device = ensemble.models, ensemble.device
        self.classes = ensemble.classes
        self._memory = FittingInference(decision_of(self.classes).fitted(inference), max_pixels, self._device)
        self._without_probabilities = ensemble.without_probabilities
        self.channels, self.value_range = ensemble.channels, ensemble.value_range
        self.temperature, self._images = ensemble.temperature, ModelImages(self.channels, self.value_range)
        self.refinement = refinement or Refinement()
        self._refiner = self._refiner_for(self.refinement)

    def __call__(
        self, image: ImageLike, probabilities: bool = False, refinement: Refinement | None = None
    ) -> Segmentation:
        """Segment one image.

        Args:
            image: a path, a Pillow image, an array (H, W) or (H, W, channels), or a tensor (channels, H, W): uint8,
                uint16 with values 0-65535, or floating point with values 0-1; see `segnet.images.convert.as_bands`.
            probabilities: whether to keep the probabilities of all classes.
            refinement: replaces that of the predictor; None: that of the predictor.

        Raises:
            DataError: not an image for this model. MachineError: out of memory.
            ConfigError: an unknown class in the refinement.
        """
        return self.segment(self._images.convert(image), probabilities, refinement)

    def segment(self, image: Bands, probabilities: bool = False, refinement: Refinement | None = None) -> Segmentation:
        """Segment one image given as an array.

        Args:
            image: (H, W, channels), 0-255, any size: uint8 RGB, or the output of `segnet.images.bands.read_bands`.
            probabilities, refinement: as in a call.
        """
        return self.batch([image], probabilities, refinement)[0]

    def batch(
        self,
        images: Sequence[Bands],
        probabilities: bool = False,
        refinement: Refinement | None = None,
        smoothing: Smoothing | None = None,
    ) -> list[Segmentation]:
        """Segment several images given as arrays; images of equal size are batched.

        Args:
            images: each as `segment` takes it.
            probabilities, refinement: as in a call.
            smoothing: the earlier frames of the video whose next frames the images are; None: separate images.
        """
        for image in images:
            self._check(image)
        request = _Request(self._refiner_for(refinement), probabilities, smoothing)
        results: dict[int, Segmentation] = {}
        for indices in _equal_sizes(images, in_order=smoothing is not None):
            for first in range(0, len(indices), self._batch_size):
                some = indices[first : first + self._batch_size]
                segmented = self._segment([images[index] for index in some], request)
                results.update(zip(some, segmented, strict=True))
        return [results[index] for index in range(len(images))]

    def stream(
        self,
        size: tuple[int, int],
        read: Callable[[Window], Bands],
        write: Callable[[Window, Ids], None],
        refinement: Refinement | None = None,
    ) -> None:
        """Segment a large image with sliding windows; it need not fit in memory.

        Args:
            size: (height, width) of the image [pixels].
            read: returns a window of the image, (h, w, channels), 0-255; a window may be requested several times.
            write: receives the final mask (h, w) of a tile, or planes (classes, h, w). The tiles cover every pixel.
                After out of memory, tiles may be written again.
            refinement: as in a call.

        Raises:
            ConfigError: the refinement has a smallest region, which needs the whole mask.
        """
        refiner = self._refiner_for(refinement)
        if refiner.refinement.is_by_region:
            raise ConfigError(
                "min_area: tiles cut regions: stream with refinement.by_pixel(), then use fill_in_strips of "
                "segnet.images.regions"
            )

        def attempt(inference: Inference) -> None:
            inference.slide(
                self._models,
                size,
                lambda window: self._tensor(read(window)),
                lambda part, scores: write(part, refiner.finish(scores, self.temperature)[0]),
            )

        self._memory.run(attempt, size, self._batch_size)

    def _segment(self, images: Sequence[Bands], request: _Request) -> list[Segmentation]:
        """Segment at most `batch_size` images of equal size."""
        height, width = images[0].shape[:2]

        def attempt(inference: Inference) -> tuple[list[Segmentation], Smoothing | None]:
            own = replace(request, smoothing=request.smoothing and request.smoothing.copy())  # a retry starts again
            if inference.window is None or max(height, width) <= inference.window:
                return self._whole(images, own, inference), own.smoothing
            return [self._windows(image, own, inference) for image in images], own.smoothing

        results, smoothing = self._memory.run(attempt, (height, width), len(images))
        if request.smoothing and smoothing:
            request.smoothing.take(smoothing)
        return results

    @torch.inference_mode()
    def _whole(self, images: Sequence[Bands], request: _Request, inference: Inference) -> list[Segmentation]:
        num_passes = -(-len(images) // inference.batch_size)
        results = []
        for chunk in np.array_split(np.arange(len(images)), num_passes):
            batch = torch.stack([self._tensor(images[index]) for index in chunk])
            # Softmax preserves the order of classes except for rounding to ties. Without it, the mask equals that of
            # evaluate to the last pixel.
            plain = inference.is_plain and not request.needs_probabilities and len(self._models) == 1
            scores = self._models[0](batch) if plain else inference.averaged(self._models, batch)
            results += [
                self._result(images[index], image_scores, request)
                for index, image_scores in zip(chunk, scores, strict=True)
            ]
        return results

    def _windows(self, image: Bands, request: _Request, inference: Inference) -> Segmentation:
        (height, width), refiner, num_classes = image.shape[:2], request.refiner, len(self.classes.names)
        if request.smoothing:
            whole = torch.empty((num_classes, height, width), device=self._device)
        mask = np.empty(self.classes.mask_shape((height, width)), refiner.id_type)
        kept = np.empty((num_classes, height, width), np.float16) if request.keeps_probabilities else None

        def write(part: Window, scores: Tensor) -> None:
            if request.smoothing:
                whole[:, *part.within()] = scores
                return
            mask[(..., *part.within())], probabilities = refiner.finish(scores, self.temperature, kept is not None)
            if kept is not None:
                kept[:, *part.within()] = probabilities

        inference.slide(self._models, (height, width), lambda window: self._tensor(image[window.within()]), write)
        if request.smoothing:
            return self._result(image, whole, request)
        return Segmentation(image, refiner.by_region(mask), self.classes, kept)

    def _result(self, image: Bands, scores: Tensor, request: _Request) -> Segmentation:
        """The result for an image, from its scores (classes, H, W)."""
        if request.smoothing:
            scores = request.smoothing(image, scores).clone()  # the next frame needs it unchanged
        mask, kept = request.refiner.finish(scores, self.temperature, request.keeps_probabilities)
        return Segmentation(image, request.refiner.by_region(mask), self.classes, kept)

    @property
    def may_refuse(self) -> bool:
        """Whether the refinement of the predictor gives the ignored label to some pixels."""
        return self._refiner.may_refuse

    @property
    def least_areas(self) -> NDArray[np.int64] | None:
        """Smallest region by label [pixels], for `segnet.images.regions`; None: regions of any size stay."""
        return self._refiner.least_areas if self.refinement.is_by_region else None

    def _refiner_for(self, refinement: Refinement | None) -> Refiner:
        """The refiner of a call; None: that of the predictor.

        Raises:
            ConfigError: an unknown class, or probabilities that the model does not have.
        """
        if refinement is None:
            return self._refiner
        if refinement.needs_probabilities and self._without_probabilities:
            named = next(iter(refinement.to_dict()))
            raise ConfigError(
                f"{named}: {self._without_probabilities} gives class ids without probabilities: export it with "
                "--output-kind logits"
            )
        return Refiner(refinement, self.classes)

    def _check(self, image: Bands) -> None:
        if image.ndim != 3 or image.shape[2] != self.channels or image.dtype not in (np.uint8, np.float32):
            raise DataError(
                f"an image of shape {image.shape} and type {image.dtype}: the model takes (H, W, {self.channels}), "
                "uint8 or float32, 0-255"
            )

    def _tensor(self, image: Bands) -> Tensor:
        """(H, W, channels) -> (channels, H, W) on the model's device."""
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).to(self._device)


def _equal_sizes(images: Sequence[Bands], in_order: bool) -> Iterator[list[int]]:
    """The indices of images that share a batch: of all of equal size, or of consecutive ones."""

    def key(index: int) -> tuple[int, ...]:
        return (*images[index].shape, images[index].dtype.num)

    indices = range(len(images))
    for _, group in groupby(indices if in_order else sorted(indices, key=key), key=key):
        yield list(group)

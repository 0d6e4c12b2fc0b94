"""Uncertainty of predictions and features of images, for choosing the images to label next.

Per pixel: entropy of the averaged probabilities; margin between the two most probable classes (Scheffer et al. 2001);
mutual information between class and model (BALD, Houlsby et al. 2011, arXiv 1112.5745), whose models are here the
views of test-time augmentation and the members of an ensemble. An image has the mean over its pixels. The temperature
of a calibrated model applies to each view: otherwise pixels on which a model is overconfident would count too little.
"""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segnet.errors import ConfigError
from segnet.images.values import Bands
from segnet.images.windows import Mosaic, Window
from segnet.inference.ensemble import StrPath
from segnet.inference.predictor import Predictor
from segnet.inference.runtimes import OF_SUFFIX
from segnet.inference.runtimes.pytorch import TorchRuntime
from segnet.inference.tta import Inference, calibrated, rescale_images
from segnet.models.temperature import UNCALIBRATED, Temperature

MEASURES = ("entropy", "margin", "bald")


@dataclass(frozen=True, slots=True)
class Observation:
    """What a model says about an image, without its labels.

    Attributes:
        scores: by name of `MEASURES`: the mean over the pixels, 0-1; 0 is certain. One view alone has no "bald".
        features: (channels,) float32, the backbone's last features averaged over the image.
        maps: by name of `MEASURES`: (H, W) float32, 0-1; empty unless requested.
    """

    scores: Mapping[str, float]
    features: NDArray[np.float32]
    maps: Mapping[str, NDArray[np.float32]]


class Observer(Predictor):
    """Measures the uncertainty of predictions, and describes images by features. Arguments as of `Predictor`.

    Raises:
        ConfigError: a model is an exported file, which does not give its features, or has several classes per pixel.
        CheckpointError, MachineError: as by `Predictor`.
    """

    def __init__(self, model: StrPath | Sequence[StrPath], device: str | None = None, **options: Any) -> None:
        named = [model] if isinstance(model, str | os.PathLike) else model
        for one in named:
            if Path(one).suffix in OF_SUFFIX:
                raise ConfigError(f"checkpoint={one}: an exported model gives no features: name its checkpoint")
        super().__init__(named, device, **options, runtime="torch")
        if self.classes.is_multilabel:
            raise ConfigError(f"checkpoint={named[0]}: rank takes models of one class per pixel, not task=multilabel")
        assert isinstance(self._models[0], TorchRuntime)
        self._first = self._models[0]

    def observe(self, images: Sequence[Bands], maps: bool = False) -> list[Observation]:
        """Measure the uncertainty of images of equal size.

        Args:
            images: each as `Predictor.segment` takes it.
            maps: whether to keep the values of all pixels.

        Raises:
            DataError: not an image for this model. MachineError: out of memory.
        """

        def measure(inference: Inference, some: Sequence[Bands]) -> list[Observation]:
            return _Average(some, maps).over(inference, lambda parts: self._measured(parts, inference))

        return self._in_batches(images, measure)

    def describe(self, images: Sequence[Bands]) -> list[NDArray[np.float32]]:
        """Return the features of images of equal size, as in `Observation`, without the cost of the other views."""

        def measure(inference: Inference, some: Sequence[Bands]) -> list[Observation]:
            return _Average(some).over(inference, lambda parts: ({}, self._features(parts, inference)))

        return [found.features for found in self._in_batches(images, measure)]

    def _in_batches(
        self, images: Sequence[Bands], measure: Callable[[Inference, Sequence[Bands]], list[Observation]]
    ) -> list[Observation]:
        for image in images:
            self._check(image)
        height, width = images[0].shape[:2]

        def attempt(inference: Inference) -> list[Observation]:
            size = inference.batch_size
            batches = (images[first : first + size] for first in range(0, len(images), size))
            return [found for some in batches for found in measure(inference, some)]

        return self._memory.run(attempt, (height, width), len(images))

    @torch.inference_mode()
    def _measured(self, images: Sequence[Bands], inference: Inference) -> tuple[dict[str, Tensor], Tensor]:
        """The measures (B, H, W) of images, and their features (B, channels)."""
        features: list[Tensor] = []

        def first(batch: Tensor) -> Tensor:
            logits, found = self._first.with_features(batch)
            features.append(found)
            return logits

        batch = torch.stack([self._tensor(image) for image in images])
        return uncertainty_of(inference.views([first, *self._models[1:]], batch), self.temperature), features[0]

    @torch.inference_mode()
    def _features(self, images: Sequence[Bands], inference: Inference) -> Tensor:
        """The features (B, channels) of the view that comes first in `_measured`."""
        batch = torch.stack([self._tensor(image) for image in images])
        return self._first.with_features(rescale_images(batch, inference.scales[0]))[1]


class _Average:
    """The mean over images of equal size, window by window with their blending weights: each pixel counts once."""

    def __init__(self, images: Sequence[Bands], maps: bool = False) -> None:
        self._images, self._size = images, (images[0].shape[0], images[0].shape[1])
        self._features: list[NDArray[np.float64] | float] = [0.0] * len(images)
        self._scores: list[dict[str, float]] = [{} for _ in images]
        self._maps: list[dict[str, NDArray[np.float32]]] = [{} for _ in images]
        self._keeps_maps = maps

    def over(
        self, inference: Inference, measure: Callable[[Sequence[Bands]], tuple[dict[str, Tensor], Tensor]]
    ) -> list[Observation]:
        mosaic = Mosaic(self._size, inference.window or max(self._size), inference.overlap)
        for window, pieces in mosaic:
            measures, features = measure([image[window.within()] for image in self._images])
            arrays = {name: values.float().cpu().numpy() for name, values in measures.items()}
            weights = np.multiply.outer(*mosaic.weights(window)) / math.prod(self._size)
            for index, of_image in enumerate(features.double().cpu().numpy()):
                for piece in pieces:
                    inner = piece.place.within(window)
                    self._features[index] = self._features[index] + weights[inner].sum(dtype=np.float64) * of_image
                    for name, values in arrays.items():
                        self._add(index, name, values[index][inner] * weights[inner], piece.place)
        found = zip(self._scores, self._features, self._maps, strict=True)
        return [Observation(scores, np.asarray(features, np.float32), maps) for scores, features, maps in found]

    def _add(self, index: int, name: str, values: NDArray[np.float32], place: Window) -> None:
        scores = self._scores[index]
        scores[name] = scores.get(name, 0.0) + float(values.sum(dtype=np.float64))
        if self._keeps_maps:
            kept = self._maps[index].setdefault(name, np.zeros(self._size, np.float32))
            kept[place.within()] += values * math.prod(self._size)


def uncertainty_of(views: Iterable[Tensor], temperature: Temperature = UNCALIBRATED) -> dict[str, Tensor]:
    """Measure the uncertainty of each pixel.

    Args:
        views: probabilities (B, classes, H, W) of one prediction each; they may be overwritten.
        temperature: calibrates each view before the mean.

    Returns:
        By name of `MEASURES`, (B, H, W) float32, 0-1: entropy of the mean in units of log(classes); 1 - the difference
        of the two largest mean probabilities; entropy of the mean - mean entropy, in the same units (bald), which one
        view alone does not have.
    """
    total: Tensor | None = None
    entropies: Tensor | None = None
    count = 0
    for probabilities in views:
        count += 1
        probabilities = calibrated(probabilities, temperature)
        entropy = _entropy(probabilities)
        total = probabilities if total is None else total.add_(probabilities)
        entropies = entropy if entropies is None else entropies.add_(entropy)
        del probabilities, entropy  # before the next view is predicted
    assert total is not None
    assert entropies is not None
    mean = total.div_(count)
    of_mean = _entropy(mean)
    best = mean.topk(2, dim=1).values if mean.shape[1] > 1 else mean.new_ones(len(mean), 2, *mean.shape[2:])
    found = {"entropy": of_mean, "margin": (1 - (best[:, 0] - best[:, 1])).clamp_(0, 1)}
    return found if count == 1 else {**found, "bald": (of_mean - entropies.div_(count)).clamp_(0, 1)}


def _entropy(probabilities: Tensor) -> Tensor:
    """(B, classes, H, W) -> (B, H, W) in units of log(classes): 0-1."""
    scale = math.log(max(2, probabilities.shape[1]))
    total = torch.zeros_like(probabilities[:, 0])
    for plane in probabilities.unbind(1):  # a class at a time: copies of all planes would triple the memory
        total -= torch.special.xlogy(plane, plane)
    return total.div_(scale).clamp_(0, 1)

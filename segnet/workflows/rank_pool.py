"""The images of `segnet rank`: labeled ones, and a pool of unlabeled ones that is read in bounded memory."""

import logging
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segnet.data import build_splits
from segnet.data.scan.scan import content_hash, progress_shown
from segnet.errors import CheckpointError, ConfigError, DataError, SegnetError
from segnet.images.model_images import ModelImages
from segnet.images.values import Bands
from segnet.inference.uncertainty import Observation, Observer
from segnet.prediction import PIXELS_IN_WORK
from segnet.prediction.images import num_pixels
from segnet.prediction.inputs import Input, require_input_file
from segnet.system.machine import num_cores
from segnet.system.pipeline import Steps, overlapped
from segnet.verb_config import RankConfig

log = logging.getLogger(__name__)

OnImage = Callable[[Input, SegnetError | None], None]


@dataclass
class LabeledImages:
    """The labeled images.

    Attributes:
        paths, hashes: their files and pixels, to recognize them.
        features: of each image, if they are needed.
        count: number of images.
    """

    paths: set[str] = field(default_factory=set)
    hashes: set[str] = field(default_factory=set)
    features: list[NDArray[np.float32]] = field(default_factory=list)
    count: int = 0


def read_labeled(config: RankConfig, observer: Observer, checkpoint: str, features: bool) -> LabeledImages:
    """Read the images of `config.dataset`.

    Args:
        observer: the model.
        checkpoint: its name, for messages.
        features: whether their features are needed.

    Raises:
        ConfigError: the dataset has other images than the model. DataError: an image or mask cannot be read.
    """
    found = LabeledImages()
    splits = build_splits(config.dataset, config.splits) if config.dataset and config.splits else {}
    for split, dataset in splits.items():
        dataset.take_value_range(observer.value_range, checkpoint)
        if dataset.channels != observer.channels:
            raise ConfigError(
                f"dataset: images of {dataset.channels} channels, but {checkpoint} takes {observer.channels}: name the "
                "dataset that it was trained on, or splits=[]"
            )
        text = f"reading labeled images: {split}"
        count = len(dataset)
        for index, sample in enumerate(progress_shown(map(dataset.load, range(count)), count, text, True)):
            file = next(iter(dataset.files(index)), None)
            if isinstance(file, Path):
                found.paths.add(os.path.realpath(file))
            found.hashes.add(content_hash(sample.image))
            if features:
                found.features += observer.describe([sample.image])
        found.count += count
    return found


class Pool:
    """Reads the images of a pool and keeps scores and features.

    Attributes:
        images, scores, features: of each image that can be ranked.
        num_left_out: images that are labeled.
        num_repeated: images with the pixels of another one.
        failed: unreadable images -> reason.
    """

    def __init__(self, observer: Observer, labeled: LabeledImages, report: OnImage, checkpoint: str) -> None:
        self._observer, self._labeled, self._report, self._checkpoint = observer, labeled, report, checkpoint
        self._reader = ModelImages(observer.channels, observer.value_range)
        self._hashes: set[str] = set()
        self.images: list[Path] = []
        self.scores: list[Mapping[str, float]] = []
        self.features: list[NDArray[np.float32]] = []
        self.num_left_out = self.num_repeated = 0
        self.failed: dict[str, str] = {}

    def read(self, inputs: Sequence[Input], batch_size: int) -> None:
        """Read all images; reading and computing overlap, in bounded memory."""
        least = PIXELS_IN_WORK / (16 + 2 * batch_size)  # also limits the number of small images
        steps = Steps[Input, Bands, Observation](
            weigh=lambda item: max(least, num_pixels(item)),
            read=self._read_one,
            key=lambda image: (image.shape, image.dtype),
            compute=self._observer.observe,
            write=lambda item, image, observation: (content_hash(image), observation),
            report=self._take,
        )
        unlabeled = [item for item in inputs if self._is_open(item)]
        overlapped(unlabeled, steps, batch_size, PIXELS_IN_WORK, threading.Event(), readers=min(4, num_cores()))

    def _is_open(self, item: Input) -> bool:
        """Whether an image is not labeled, by its path."""
        is_labeled = item.path is not None and os.path.realpath(item.path) in self._labeled.paths
        if is_labeled:
            self.num_left_out += 1
            self._report(item, None)
        return not is_labeled

    def _read_one(self, item: Input) -> Bands:
        if item.problem or item.path is None:
            raise DataError(item.problem)
        require_input_file(item.path)
        image = self._reader.read(item.path)
        for warning in self._reader.warnings(item.path, image):
            log.warning("segnet: %s: %s", item.text, warning)
        return image

    def _take(self, item: Input, found: tuple[str, Observation] | SegnetError) -> None:
        if isinstance(found, SegnetError):
            self.failed[item.text] = str(found)
            self._report(item, found)
            return
        pixels, observation = found
        if not all(map(math.isfinite, observation.scores.values())):
            raise CheckpointError(f"{self._checkpoint}: predicts NaN for {item.text}: take an earlier checkpoint")
        if pixels in self._labeled.hashes:
            self.num_left_out += 1
        elif pixels in self._hashes:
            self.num_repeated += 1
        else:
            self._hashes.add(pixels)
            self.images.append(Path(os.path.abspath(item.path or item.text)))
            self.scores.append(observation.scores)
            self.features.append(observation.features)
        self._report(item, None)

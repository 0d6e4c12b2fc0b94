"""Batch prediction for `segnet predict`: segment images, videos and scenes, and write the results."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segnet.choices import FOLDER_KINDS
from segnet.images.model_images import ModelImages
from segnet.images.values import Bands
from segnet.inference.predictor import Predictor
from segnet.inference.segmentation import Segmentation
from segnet.inference.smoothing import Smoothing
from segnet.prediction.folder_files import LABELS, labels_of
from segnet.prediction.inputs import Input, require_input_file
from segnet.prediction.outputs import NEED_PROBABILITIES, WRITERS, WRITERS_OF_SEVERAL, Style
from segnet.prediction.records import FOLDER, SAVE_FOLDERS, Origin, Records

PIXELS_IN_WORK = 64e6  # limit for all images being read, computed or written


@dataclass(frozen=True)
class OutputSettings:
    """Kinds of results, and their settings.

    Attributes:
        kinds: from `segnet.choices.SAVE_KINDS`.
        frame_kinds: the kinds that are also written for each frame of a video.
        style: how results are drawn.
        batch_size: largest number of images per batch; images in a batch have equal size.
        private_urls: whether URLs may redirect from outside into this machine's own network.
        max_frames: most frames of a video or camera stream; 0: all.
        smooth: weight of the earlier frames of a video, see `segnet.inference.smoothing`; 0: none.
        job: model and options that affect results, as JSON values.
        checkpoint: name of the model, for the table of class fractions.
    """

    kinds: tuple[str, ...]
    frame_kinds: tuple[str, ...] = ()
    style: Style = field(default_factory=Style)
    batch_size: int = 1
    private_urls: bool = False
    max_frames: int = 0
    smooth: float = 0.0
    job: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: str = ""

    @property
    def folder_kinds(self) -> tuple[str, ...]:
        """The kinds that also have files for all images of a folder."""
        return tuple(kind for kind in FOLDER_KINDS if kind in {*self.kinds, *self.frame_kinds})


@dataclass(frozen=True)
class Task:
    """An input and the name of its results."""

    input: Input
    name: str


@dataclass(frozen=True)
class Outcome:
    """The outcome for an input.

    Attributes:
        files: written files; empty if they existed already.
        shares: class fractions, 0-1, by name; empty if not counted.
        refused: fraction of pixels without a class, 0-1.
        frames: number of frames of a video.
        warning: a message for the user; empty if there is none.
        loses_place: whether the input is georeferenced but the results are not.
        done_before: whether all results existed already.
    """

    files: tuple[Path, ...] = ()
    shares: Mapping[str, float] = field(default_factory=dict)
    refused: float = 0.0
    frames: int = 0
    warning: str = ""
    loses_place: bool = False
    done_before: bool = False


DONE_BEFORE = Outcome(done_before=True)


class Prediction:
    """Model, output folder and settings, shared by images, videos and scenes.

    Args:
        predictor: the model.
        records: records of the output folder.
        settings: kinds of results for each input.

    Attributes: as the arguments, and
        images: reads images for the model.
    """

    def __init__(self, predictor: Predictor, records: Records, settings: OutputSettings) -> None:
        self.predictor, self.records, self.settings = predictor, records, settings
        self.images = ModelImages(predictor.channels, predictor.value_range)
        self._probabilities = bool(NEED_PROBABILITIES & {*settings.kinds, *settings.frame_kinds})

    def weight(self, pixels: float) -> float:
        """Weight of an image in the memory limit: its probabilities may be many times as large as the image itself."""
        classes = self.predictor.classes
        return pixels * (1 + len(classes.names) if self._probabilities or classes.is_multilabel else 1)

    def origin(self, item: Input) -> Origin:
        """Origin of the results of an input, for its record.

        Raises:
            DataError: the file does not exist.
        """
        if item.path is None:
            return Origin(item.text, None if item.kind in ("stdin", "camera") else [], self.settings.job)
        status = require_input_file(item.path)
        return Origin(os.path.abspath(item.path), [status.st_size, status.st_mtime_ns], self.settings.job)

    def segment(self, images: list[Bands], smoothing: Smoothing | None = None) -> list[Segmentation]:
        """Segment images of one size, or the next frames of a video."""
        return self.predictor.batch(images, probabilities=self._probabilities, smoothing=smoothing)

    def facts(self, size: Sequence[int], pixels: Mapping[str, int], refused: int, frames: int = 1) -> dict[str, Any]:
        """Entries of a record for the files that hold all inputs: class fractions, and files of annotation tools.

        Args:
            size: (height, width) of the image [pixels].
            pixels: number of pixels by class, of all frames.
            refused: number of pixels without a class.
            frames: number of frames of a video.
        """
        checkpoint = self.settings.checkpoint
        facts = {"size": list(size), "pixels": dict(pixels), "frames": frames, "checkpoint": checkpoint}
        if self.settings.folder_kinds:
            facts[LABELS] = labels_of(self.predictor.classes)
        return facts | {"refused": refused} if self.predictor.may_refuse else facts

    def write_files(self, name: str, kinds: Sequence[str], result: Segmentation, source: str) -> list[Path]:
        """Write the results with one file per image, and return their paths, without those in the folder of records."""
        writers = {**WRITERS, **WRITERS_OF_SEVERAL}
        paths = {kind: self.records.target(name, kind) for kind in kinds if kind in writers}
        for kind, path in paths.items():
            writers[kind](path, result, self.settings.style, source)
        return [path for kind, path in paths.items() if SAVE_FOLDERS.get(kind) != FOLDER]

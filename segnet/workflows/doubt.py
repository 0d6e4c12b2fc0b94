"""Find label errors by held-out predictions: of the folds of a cross-validation, or of a split by a checkpoint."""

import json
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.classes import Classes
from segnet.config import ValidationConfig
from segnet.data import build_dataset
from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.scan.scan import progress_shown
from segnet.errors import ConfigError
from segnet.images.bands import displayable
from segnet.images.drawing import IGNORED, colorize, doubt_map
from segnet.images.little_range import LittleRange
from segnet.inference.predictor import Predictor
from segnet.published.zoo import find_model
from segnet.system.files import replacing
from segnet.system.signals import ending_at_once
from segnet.verb_config import DoubtConfig
from segnet.workflows.clipping import dark_sample
from segnet.workflows.crossval import read_crossval
from segnet.workflows.doubt_scores import Doubt, doubts, evidence_of
from segnet.workflows.evaluate import require_same_classes
from segnet.workflows.out_of_fold import PROBABILITIES, read_probabilities
from segnet.workflows.report import encoded_image, render

log = logging.getLogger(__name__)

NUM_BOXES = 3  # regions that are drawn and listed on the page
JUDGED_SPLITS = ("val", "test")


class HeldOut:
    """Images, and the probabilities of models that were not trained on them.

    Args:
        samples: the images with their labels.
        checkpoints: the models.
        validation: how they predict.
        device: as in `Predictor`.
        stored: files with the probabilities; None: they are predicted.
        little_range: warns once of images that are almost black to the models; None: no such warning.
    """

    def __init__(
        self,
        samples: SegmentationDataset,
        checkpoints: Sequence[Path],
        validation: ValidationConfig,
        device: str | None,
        stored: Sequence[Path] | None = None,
        little_range: LittleRange | None = None,
    ) -> None:
        self.samples, self._little_range = samples, little_range
        self._checkpoints, self._validation, self._device, self._stored = checkpoints, validation, device, stored

    @cached_property
    def _predictor(self) -> Predictor:
        options = {name: getattr(self._validation, name) for name in ("flip", "scales", "window", "overlap")}
        predictor = Predictor(self._checkpoints, self._device, **options)
        require_same_classes(predictor.classes, self.samples.classes, self._checkpoints[0])
        self.samples.take_value_range(predictor.value_range, self._checkpoints[0])
        return predictor

    def load(self, index: int) -> tuple[Sample, NDArray[np.floating]]:
        """Read an image with its label and its probabilities (classes, H, W), 0-1."""
        if self._stored is not None:
            return self.samples.load(index), read_probabilities(self._stored[index])
        predictor = self._predictor  # first: it sets the value range
        sample = self.samples.load(index)
        brightest = sample.image.max().item()
        if self._little_range and (text := dark_sample(self.samples, index, brightest, self._little_range)):
            log.warning("%s: %s", sample.name, text)
        probabilities = predictor.segment(sample.image, probabilities=True).probabilities
        assert probabilities is not None
        return sample, probabilities

    def close(self) -> None:
        """Release the models: those of the folds are in memory one at a time."""
        self.__dict__.pop("_predictor", None)


@dataclass(frozen=True, slots=True)
class Suspect:
    """An image with the doubt about its labels.

    Attributes:
        name: path or number of the image.
        files: its files: image and mask.
        doubt: the scores.
        source, index: where it is.
    """

    name: str
    files: Sequence[str]
    doubt: Doubt
    source: HeldOut
    index: int


def doubt(config: DoubtConfig, output_dir: Path) -> tuple[list[Suspect], Classes]:
    """Rank images by doubt about their labels, and write doubt.json and doubt.html.

    Returns:
        All images by decreasing doubt, and the classes.

    Raises:
        SegnetError: an option, a file or the machine cannot be used.
    """
    sources = _sources(config)
    classes = sources[0].samples.classes
    classes.require_one_class("segnet doubt")
    evidence, found = [], []
    with ending_at_once("while looking for label errors: nothing was written"):
        for number, source in enumerate(sources, 1):
            text = f"predicting fold {number} of {len(sources)}" if len(sources) > 1 else "predicting"
            count = len(source.samples)
            for index, (sample, probabilities) in enumerate(
                progress_shown(map(source.load, range(count)), count, text, True)
            ):
                evidence.append(evidence_of(probabilities, sample.mask, classes))
                found.append((sample.name, [str(file) for file in source.samples.files(index)], source, index))
            source.close()
        scored = [Suspect(*item[:2], one, *item[2:]) for item, one in zip(found, doubts(evidence), strict=True)]
        ranked = sorted(scored, key=lambda suspect: -suspect.doubt.score)
        _write_ranking(output_dir / "doubt.json", config, ranked, classes)
        _write_page(output_dir / "doubt.html", ranked, config.num_images, classes)
    return ranked, classes


def _sources(config: DoubtConfig) -> list[HeldOut]:
    """The images to judge, by model.

    Raises:
        ConfigError: neither or both of crossval and checkpoint, or an option that one of them does not use.
    """
    if (config.crossval is None) == (config.checkpoint is None):
        raise ConfigError("doubt: set crossval=FOLDER of a segnet crossval, or checkpoint=best.ckpt and a split")
    if config.num_images < 0:
        raise ConfigError(f"num_images={config.num_images} must be 0 or more")
    if config.crossval is not None:
        return _folds(config, Path(os.path.expanduser(config.crossval)))
    if config.split not in JUDGED_SPLITS:
        raise ConfigError(f"split={config.split}: the checkpoint must not have seen the images: val or test")
    named = config.checkpoint if isinstance(config.checkpoint, list | tuple) else [config.checkpoint]
    checkpoints = [find_model(one) for one in named]
    samples = build_dataset(config.dataset, config.split)
    return [HeldOut(samples, checkpoints, config, config.device, little_range=LittleRange(None))]


def _folds(config: DoubtConfig, folder: Path) -> list[HeldOut]:
    plan, finished, stored = read_crossval(folder)
    if config.dataset:
        plan = replace(plan, dataset={**plan.dataset, **config.dataset})
    validation = ValidationConfig(**stored["validation"])
    sources = []
    for number, fold in enumerate(finished):
        samples = build_dataset(plan.spec(number), "val")
        files = [folder / PROBABILITIES / f"{plan.names[index]}.npz" for index in plan.held_out[number]]
        kept = files if all(file.is_file() for file in files) else None
        sources.append(HeldOut(samples, [fold.folder / fold.checkpoint], validation, config.device, kept))
    return sources


def _write_ranking(path: Path, config: DoubtConfig, ranked: Sequence[Suspect], classes: Classes) -> None:
    images = [
        {
            "name": suspect.name,
            "files": list(suspect.files),
            "score": suspect.doubt.score,
            "classes": {
                name: score
                for name, score in zip(classes.names, suspect.doubt.by_class, strict=True)
                if not math.isnan(score)
            },
            "regions": [
                asdict(region) | {"label": classes.names[region.label], "predicted": classes.names[region.predicted]}
                for region in suspect.doubt.regions
            ],
        }
        for suspect in ranked
    ]
    record = {"crossval": config.crossval, "checkpoint": config.checkpoint, "split": config.split, "images": images}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1, allow_nan=False, default=str) + "\n", encoding="utf-8")


def _write_page(path: Path, ranked: Sequence[Suspect], num_images: int, classes: Classes) -> None:
    shown = ranked[:num_images]
    rows: dict[int, dict[str, Any]] = {}
    for source in dict.fromkeys(suspect.source for suspect in shown):  # one model in memory at a time
        for place, suspect in enumerate(shown):
            if suspect.source is source:
                rows[place] = _page_row(suspect, classes)
        source.close()
    worst = [
        (score, name, suspect.name)
        for suspect in ranked
        for name, score in zip(classes.names, suspect.doubt.by_class, strict=True)
        if not math.isnan(score)
    ]
    by_class = {name: max((item for item in worst if item[1] == name), default=None) for name in classes.names}
    page = render(
        "doubt.html.jinja",
        num_images=len(ranked),
        rows=[rows[place] for place in range(len(shown))],
        by_class=by_class,
        classes=classes,
        not_labeled=IGNORED,
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _page_row(suspect: Suspect, classes: Classes) -> dict[str, Any]:
    """The images and words of a row of the page."""
    sample, probabilities = suspect.source.load(suspect.index)
    labeled = sample.mask != classes.ignore_index
    labels = np.where(labeled, sample.mask, 0).astype(np.intp)
    of_label = np.take_along_axis(probabilities, labels[None], axis=0)[0].astype(np.float32)
    regions = suspect.doubt.regions[:NUM_BOXES]
    shown = displayable(sample.image)
    heat = doubt_map(shown, np.where(labeled, 1 - of_label, 0.0), [region.box for region in regions])
    return {
        "name": suspect.name,
        "score": suspect.doubt.score,
        "regions": regions,
        "image": encoded_image(shown, "jpeg"),
        "label": encoded_image(colorize(sample.mask, classes), "png"),
        "prediction": encoded_image(colorize(probabilities.argmax(axis=0), classes), "png"),
        "doubt": encoded_image(heat, "png"),
    }

"""Out-of-fold predictions: masks, and on request probabilities, of images by a model that was not trained on them.

With several classes per pixel, a pixel has a class from the probability 0.5: the thresholds of a fold's checkpoint were
chosen on the very images that are predicted.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from segnet.classes import DEFAULT_THRESHOLD, Classes
from segnet.config import Config
from segnet.data import build_dataset
from segnet.errors import DataError
from segnet.images.files import write_mask, write_planes
from segnet.inference.predictor import Predictor
from segnet.inference.refinement import Refinement
from segnet.system.files import replacing
from segnet.system.integrity import refusing_damage
from segnet.system.signals import ending_at_once
from segnet.training.label_metrics import count_planes
from segnet.workflows.evaluate import Results

MASKS, PROBABILITIES = "masks", "probabilities"  # folders
DEVICES = {"cpu": "cpu", "gpu": "cuda", "cuda": "cuda", "mps": "mps"}  # of trainer.accelerator
NOT_IN_NAMES = re.compile(r"[^\w.-]+")  # characters of a text that a file name should not have
LEVELS = 255  # a probability of 1 in 8 bits


def out_of_fold_names(sources: Sequence[str]) -> list[str]:
    """Names of results: the images' paths below their common folder without suffix; unique, with / between folders.

    Args:
        sources: name of each image, as `segnet.data.folds.source_name` gives it.
    """
    common = os.path.commonpath([str(PurePosixPath(name).parent) for name in sources]) if _are_paths(sources) else ""
    names: list[str] = []
    taken: set[str] = set()
    for source in sources:
        inner = PurePosixPath(source).relative_to(common) if common else PurePosixPath(NOT_IN_NAMES.sub("_", source))
        plain = name = inner.with_suffix("").as_posix() if inner.suffix else inner.as_posix()
        count = 1
        while name.casefold() in taken:  # windows of a scene, or a.jpg beside a.png, share a name
            count += 1
            name = f"{plain}_{count}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _are_paths(sources: Sequence[str]) -> bool:
    return all(PurePosixPath(name).is_absolute() for name in sources)


def mask_suffix(classes: Classes) -> str:
    """The ending of the masks: a TIFF has a page per class if a pixel may have several."""
    return ".tif" if classes.is_multilabel else ".png"


def write_out_of_fold(
    config: Config, results: Results, folder: Path, names: Sequence[str], save_probabilities: bool
) -> list[NDArray[np.int64]]:
    """Predict the val split of a run as its evaluation did, and write masks/NAME.png, and probabilities/NAME.npz.

    Args:
        config: configuration of the run; its val split is the fold.
        results: the run's results.
        folder: where the folders masks and probabilities are.
        names: name of each image of the split.
        save_probabilities: whether to write probabilities.

    Returns:
        With several classes per pixel, the counts of each image (`count_planes`); else an empty list.

    Raises:
        DataError: an image cannot be read. MachineError: a file cannot be written, or out of memory.
    """
    validation, classes, counts = config.validation, results.classes, []
    halves = dict.fromkeys(classes.names, DEFAULT_THRESHOLD) if classes.is_multilabel else {}
    predictor = Predictor(
        results.checkpoint,
        DEVICES.get(str(config.trainer.get("accelerator"))),
        flip=validation.flip,
        scales=validation.scales,
        window=validation.window,
        overlap=validation.overlap,
        refinement=Refinement(threshold=halves),
    )
    samples = build_dataset(config.dataset, "val", classes)
    with ending_at_once("while predicting the held-out images: the same command with checkpoint=auto resumes it"):
        for index, name in enumerate(names):
            sample = samples.load(index)
            found = predictor.segment(sample.image, probabilities=save_probabilities)
            path = folder / MASKS / f"{name}{mask_suffix(classes)}"
            if classes.is_multilabel:
                write_planes(path, found.mask, classes.names)
                counts.append(count_planes(found.mask, sample.mask))
            else:
                write_mask(path, found.mask, classes.palette)
            if found.probabilities is not None:
                write_probabilities(folder / PROBABILITIES / f"{name}.npz", found.probabilities, classes.names)
    return counts


def write_probabilities(path: Path, probabilities: NDArray[np.floating], names: Sequence[str]) -> None:
    """Write probabilities (classes, H, W), 0-1, in 8 bits each, compressed, with the class names.

    Raises:
        MachineError: the file cannot be written.
    """
    levels = (probabilities.astype(np.float32) * LEVELS).round().astype(np.uint8)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, probabilities=levels, classes=np.array(names))


def read_probabilities(path: Path) -> NDArray[np.float32]:
    """Read what `write_probabilities` wrote: (classes, H, W), 0-1 in steps of 1 / 255.

    Raises:
        DataError: the file is missing. CheckpointError: it is damaged.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file: crossval writes it with save_probabilities=true")
    with refusing_damage(path, "is damaged"), np.load(path, allow_pickle=False) as stored:
        levels: NDArray[np.uint8] = stored["probabilities"]
        if levels.ndim != 3 or levels.dtype != np.uint8:
            raise ValueError(f"{levels.dtype} of shape {levels.shape}")
        return levels.astype(np.float32) / np.float32(LEVELS)

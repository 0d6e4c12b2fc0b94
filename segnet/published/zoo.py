"""Download published models by name, convert them, and cache them as checkpoints."""

import hashlib
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from segnet.config import Config
from segnet.errors import ConfigError, MachineError
from segnet.weights.zoo import MODEL_NAME, PublishedModel, published_model, stands_for_model

if TYPE_CHECKING:
    from segnet.classes import Classes
    from segnet.models.segmentation_model import SegmentationModel

log = logging.getLogger(__name__)


def find_model(text: str | os.PathLike[str]) -> Path:
    """Return the path of a model: a file, or a published model by its name.

    Args:
        text: a path (with ``~``), or a name such as "cityscapes_resnet50_vd". Existing files and folders have priority.

    Returns:
        The path. It is not checked if `text` is a path.

    Raises:
        CheckpointError: no published model has this name, or its file is damaged or gone.
        MachineError: the download failed because of the network or the disk.
    """
    path = Path(os.path.expanduser(text))
    if os.path.exists(path) or not MODEL_NAME.fullmatch(os.fspath(text)):
        return path
    return fetch_model(published_model(os.fspath(text)))


def load_checkpoint(checkpoint: str | os.PathLike[str]) -> "tuple[SegmentationModel, Classes]":
    """Load the model of a checkpoint, or a published model by its name.

    Args:
        checkpoint: path of a segnet checkpoint; or a name such as "cityscapes_resnet50_vd", whose model is downloaded
            once. `segnet models` lists the names.

    Returns:
        The model on the CPU, in eval mode, and its classes.

    Raises:
        CheckpointError: the file cannot be read, its weights do not fit its description, or no model has this name.
        MachineError: the backbone needs a package that is not installed, the download failed, or out of memory.
    """
    from segnet.models.checkpoint import load_checkpoint  # imports torch, which lists do not need

    return load_checkpoint(find_model(checkpoint))


def with_found_model(config: Config) -> Config:
    """Replace the names of published models in init_from and teacher by their paths.

    Raises:
        ConfigError: `checkpoint` names a published model, which has no training to resume.
        CheckpointError, MachineError: as `find_model`.
    """
    if config.checkpoint is not None and stands_for_model(config.checkpoint):
        raise ConfigError(
            f"checkpoint={config.checkpoint}: a published model has no training to resume: "
            f"init_from={config.checkpoint} fine-tunes it"
        )
    init_from, teacher = (
        None if name is None else str(find_model(name)) for name in (config.init_from, config.teacher)
    )
    return replace(config, init_from=init_from, teacher=teacher)


def fetch_model(model: PublishedModel) -> Path:
    """Return the checkpoint of a published model; download and convert it the first time.

    Raises:
        CheckpointError, MachineError: as `find_model`.
    """
    from segnet.weights.hub_files import checkpoints_folder  # imports torch, which lists do not need

    digest = hashlib.sha256(model.url.encode()).hexdigest()[:8]  # a new URL gives a new checkpoint
    path = checkpoints_folder() / f"segnet-{model.name}-{digest}.ckpt"
    if not path.is_file():
        _convert(model, path)
    return path


def _convert(model: PublishedModel, path: Path) -> None:
    from segnet.class_sets import CLASS_SETS
    from segnet.published.convert import convert, published_settings
    from segnet.weights.load import read_weights

    log.info("%s: fetching the model of %s", model.name, model.publisher)
    try:
        weights = read_weights(model.url)
    except MachineError as error:
        raise MachineError(
            f"{error}, and convert it: segnet convert FILE --classes {model.classes} --output model.ckpt"
        ) from None
    settings = published_settings(weights)
    if model.align_corners:
        settings = replace(settings, align_corners=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    convert(weights, CLASS_SETS[model.classes], settings, path)
    log.info("%s: saved as %s", model.name, path)

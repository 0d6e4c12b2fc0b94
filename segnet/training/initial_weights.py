"""Initial weights of a run: a checkpoint, pretrained backbone weights, or random weights."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segnet.components import nearest
from segnet.config import Config
from segnet.errors import CheckpointError, MachineError
from segnet.models.backbones.timm import default_weights
from segnet.models.checkpoint import fitting
from segnet.training.distributed import is_rank_zero
from segnet.training.finetuning import start_from
from segnet.weights.catalog import PUBLISHED_WEIGHTS, best_weights, choice_of
from segnet.weights.load import load_backbone_weights, read_weights
from segnet.weights.names import Weights

if TYPE_CHECKING:
    from segnet.training.task import SegmentationTask

log = logging.getLogger(__name__)

IMAGENET_WEIGHTS = "imagenet"
FROM_SCRATCH = "set backbone_weights=null to train from scratch"


def resolve_backbone_weights(config: Config) -> Config:
    """Replace backbone_weights=imagenet by the name of published weights; null if none fit the backbone.

    Args:
        config: a configuration with complete specs.

    Raises:
        MachineError: backbone=timm, but timm is not installed.
    """
    if config.backbone_weights != IMAGENET_WEIGHTS:
        return config
    source = imagenet_weights(config.backbone)
    if source is None and is_rank_zero():
        log.warning(
            "backbone_weights=imagenet: no published ImageNet weights fit this backbone: random weights are used; "
            "segnet backbones lists backbones with weights"
        )
    return replace(config, backbone_weights=source)


def imagenet_weights(backbone: Mapping[str, Any]) -> str | None:
    """Return the published ImageNet weights with the highest accuracy for a backbone; None if none fit.

    Args:
        backbone: a complete spec.
    """
    if backbone.get("name") == "timm":
        return default_weights(str(backbone.get("model")))
    choice = choice_of(backbone)
    entry = best_weights(choice) if choice else None
    return entry.source if entry else None


def read_backbone_weights(source: str | None) -> Weights | None:
    """Fetch and read the weights of a backbone; None for random ones.

    Raises:
        CheckpointError, MachineError: as in `read_weights`; after a failed download the message suggests alternatives.
    """
    if not source:
        return None
    try:
        return read_weights(source)
    except MachineError as error:
        raise MachineError(f"{error}, or {FROM_SCRATCH}") from None
    except CheckpointError as error:
        if str(error) == f"{source}: no such file":
            raise CheckpointError(f"{error}.{nearest(source, [IMAGENET_WEIGHTS])}") from None
        if source in {entry.source for entry in PUBLISHED_WEIGHTS}:  # chosen for the user
            raise CheckpointError(f"{error}; choose other weights, or {FROM_SCRATCH}") from None
        raise


def load_initial_weights(
    task: "SegmentationTask", weights: Weights | None, started: Mapping[str, Any] | None, init_from: str
) -> list[str]:
    """Load the initial weights of a new run; return lines for the log.

    Args:
        weights: those of the backbone; None: none.
        started: the content of `init_from`, a checkpoint; None: none.

    Raises:
        CheckpointError: they do not fit the model.
    """
    if weights is not None:
        load_backbone_weights(task.model.backbone, weights)
    if started is None:
        return []
    with fitting(init_from):
        return start_from(task.model, task.classes, started, Path(init_from), task.auxiliary_head)


def log_origin(config: Config, checkpoint: Path | None, loaded: Sequence[str] = ()) -> None:
    """Log the initial weights of a run, in rank zero.

    Args:
        config: a configuration with resolved `backbone_weights`.
        checkpoint: the checkpoint to resume from; None: a new run.
        loaded: lines about the loaded weights.
    """
    if is_rank_zero():
        for line in (f"starts from: {_origin(config, checkpoint)}", *loaded):
            log.info("%s", line)


def _origin(config: Config, checkpoint: Path | None) -> str:
    if checkpoint:
        return f"{checkpoint} (resumed)"
    if config.init_from:
        return f"{config.init_from} (init_from)"
    if config.backbone_weights is None:
        return "random weights (backbone_weights=null)"
    entry = next((entry for entry in PUBLISHED_WEIGHTS if entry.source == config.backbone_weights), None)
    if entry is None:
        return f"{config.backbone_weights}, in the backbone"
    accuracy = f", top-1 {entry.top1:.1f} %" if entry.top1 else ""
    return f"ImageNet weights {entry.source} of {entry.publisher}{accuracy}, in the backbone"

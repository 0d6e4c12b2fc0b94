"""The weights that a run starts from: of a checkpoint, pretrained ones of the backbone, or random ones."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from segnet.components import nearest
from segnet.config import Config
from segnet.errors import CheckpointError, MachineError
from segnet.models.backbones.timm import default_weights
from segnet.training.distributed import is_rank_zero
from segnet.weights.catalog import PUBLISHED_WEIGHTS, best_weights, choice_of
from segnet.weights.load import read_weights
from segnet.weights.names import Weights

log = logging.getLogger(__name__)

IMAGENET_WEIGHTS = "imagenet"
FROM_SCRATCH = "set backbone_weights=null to train from scratch"


def resolve_backbone_weights(config: Config) -> Config:
    """Replace backbone_weights=imagenet by the weights that it stands for; null where none fit the backbone.

    Args:
        config: with complete specs.

    Raises:
        MachineError: backbone=timm without the package timm.
    """
    if config.backbone_weights != IMAGENET_WEIGHTS:
        return config
    source = imagenet_weights(config.backbone)
    if source is None and is_rank_zero():
        log.warning(
            "backbone_weights=imagenet: no published ImageNet weights fit this backbone: random weights are used; "
            "segnet backbones lists those that have some"
        )
    return replace(config, backbone_weights=source)


def imagenet_weights(backbone: Mapping[str, Any]) -> str | None:
    """The published ImageNet weights of the highest accuracy for a backbone; None where none fit.

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
        CheckpointError, MachineError: as `read_weights`; where a download failed, with the ways out.
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
            raise CheckpointError(f"{error}; name other weights, or {FROM_SCRATCH}") from None
        raise


def log_origin(config: Config, checkpoint: Path | None) -> None:
    """Log in one line what a run starts from; of several processes, rank zero does.

    Args:
        config: with resolved `backbone_weights`.
        checkpoint: the one to resume from; None: a new run.
    """
    if is_rank_zero():
        log.info("starts from: %s", _origin(config, checkpoint))


def _origin(config: Config, checkpoint: Path | None) -> str:
    if checkpoint:
        return f"{checkpoint}, which it resumes"
    if config.init_from:
        return f"{config.init_from} (init_from)"
    if config.backbone_weights is None:
        return "random weights (backbone_weights=null)"
    entry = next((entry for entry in PUBLISHED_WEIGHTS if entry.source == config.backbone_weights), None)
    if entry is None:
        return f"{config.backbone_weights}, in the backbone"
    accuracy = f", top-1 {entry.top1:.1f} %" if entry.top1 else ""
    return f"ImageNet weights {entry.source} of {entry.publisher}{accuracy}, in the backbone"

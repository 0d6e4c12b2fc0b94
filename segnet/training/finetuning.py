"""Fine-tuning: a new run starts from the weights of a checkpoint, whose classes may be others."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segnet.classes import Classes
from segnet.errors import CheckpointError, listed
from segnet.models.checkpoint import model_weights
from segnet.models.segmentation_model import SegmentationModel

log = logging.getLogger(__name__)

NEEDED = ("backbone.", "decoder.")  # the other parts of a model may be new, or be left behind


def start_from(model: SegmentationModel, classes: Classes, checkpoint: Mapping[str, Any], path: Path) -> None:
    """Takes over all weights that fit, and says which do not.

    Of other classes the weights that stand for single classes keep their new, random values. Whole parts beside
    backbone and decoder may be absent on either side.

    Args:
        model: of the new run.
        classes: of the new run.
        checkpoint: what `segnet.models.checkpoint.read_checkpoint` gave for `path`.

    Raises:
        CheckpointError: another architecture.
    """
    theirs = model_weights(checkpoint["state_dict"])
    ours = model.state_dict()
    same_classes = list(classes.names) == list(checkpoint["hyper_parameters"]["classes"]["names"])
    of_classes = set() if same_classes else _of_single_classes(checkpoint["hyper_parameters"]["model"])
    unlike = [
        name
        for name in ours.keys() | theirs.keys()
        if name.startswith(NEEDED) and name not in of_classes and _shape(ours, name) != _shape(theirs, name)
    ]
    if unlike:
        name = min(unlike)
        raise CheckpointError(
            f"{path}: is another architecture: {len(unlike)} of its weights do not fit, such as {name} "
            f"({_shape(theirs, name)} in the file, {_shape(ours, name)} in the model): choose the backbone and decoder "
            "that it was trained with"
        )
    kept = {name: value for name, value in theirs.items() if _shape(ours, name) == list(value.shape)}
    kept = {name: value for name, value in kept.items() if name not in of_classes}
    model.load_state_dict(kept, strict=False)
    dropped, new = sorted(theirs.keys() - kept.keys()), sorted(ours.keys() - kept.keys())
    log.info("%s: %d weights taken over", path, len(kept))
    if dropped or new:
        reason = "" if same_classes else " (it was trained on other classes)"
        log.info("%s: not taken over%s: %s; random: %s", path, reason, listed(dropped), listed(new))


def _of_single_classes(spec: Mapping[str, Any]) -> set[str]:
    """Names of the weights whose shape follows from the number of classes."""
    with torch.device("meta"):
        one, other = (
            SegmentationModel(**{**spec, "num_classes": spec["num_classes"] + extra}).state_dict() for extra in (0, 1)
        )
    return {name for name in one if one[name].shape != other[name].shape}


def _shape(weights: Mapping[str, Tensor], name: str) -> list[int] | str:
    return list(weights[name].shape) if name in weights else "absent"


def require_same_model(module: nn.Module, checkpoint: Mapping[str, Any], spec: Mapping[str, Any], path: Path) -> None:
    """Refuses to go on with a run of another architecture or of other classes.

    Args:
        module: whose weights the checkpoint should hold.
        spec: of the configured model, to name what differs.

    Raises:
        CheckpointError: naming the options that differ.
    """
    ours, theirs = module.state_dict(), checkpoint["state_dict"]
    if all(_shape(ours, name) == _shape(theirs, name) for name in ours.keys() | theirs.keys()):
        return
    trained = checkpoint["hyper_parameters"]["model"]
    differing = []
    for part in ("backbone", "decoder"):
        before, now = trained.get(part, {}), spec[part]
        keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        differing += [f"{part}.{key}={now.get(key)} (was {before.get(key)})" for key in keys]
    if trained.get("num_classes") != spec["num_classes"]:
        differing.append(f"{spec['num_classes']} classes (were {trained.get('num_classes')})")
    raise CheckpointError(
        f"{path}: is another architecture than the configured one: {', '.join(differing) or 'its weights differ'}: "
        "go on with the options of its config.yaml, or fine-tune with init_from="
    )

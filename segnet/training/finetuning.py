"""Fine-tuning: start a new run from a checkpoint's weights, also with other classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segnet.classes import Classes
from segnet.errors import CheckpointError, listed
from segnet.models.checkpoint import model_weights
from segnet.models.segmentation_model import SegmentationModel

NEEDED = ("backbone.", "decoder.")  # other parts of a model, such as an auxiliary head, may be absent on either side


def start_from(
    model: SegmentationModel,
    classes: Classes,
    checkpoint: Mapping[str, Any],
    path: Path,
    auxiliary_head: nn.Module | None = None,
) -> list[str]:
    """Load all weights of a checkpoint that match the model.

    The classifier's rows are matched by class name. Classes may be added, removed or reordered: the common classes
    keep their trained rows. Parts other than backbone and decoder may be absent on either side.

    Args:
        model: the new run's model.
        classes: the new run's classes.
        checkpoint: the content of `path`, from `segnet.models.checkpoint.read_checkpoint`.
        path: file name for messages.
        auxiliary_head: the new run's auxiliary head, if any.

    Returns:
        Lines for the log: what was loaded, and what was not.

    Raises:
        CheckpointError: backbone or decoder have another architecture.
    """
    theirs = model_weights(checkpoint["state_dict"])
    before = [str(name) for name in checkpoint["hyper_parameters"]["classes"]["names"]]
    names = list(classes.names)
    ours = model.state_dict()
    by_class = _class_dimensions(checkpoint["hyper_parameters"]["model"]) if names != before else {}
    unlike = [
        name
        for name in ours.keys() | theirs.keys()
        if name.startswith(NEEDED) and name not in by_class and _shape(ours, name) != _shape(theirs, name)
    ]
    if unlike:
        name = min(unlike)
        raise CheckpointError(
            f"{path}: has another architecture: {len(unlike):,} of its weights do not fit, such as {name} "
            f"({_shape(theirs, name)} in the file, {_shape(ours, name)} in the model): choose the backbone and decoder "
            "that it was trained with"
        )
    kept = _fitting(ours, theirs, by_class, names, before)
    model.load_state_dict(kept, strict=False)
    lines = []
    if auxiliary_head is not None:
        count = _load_head(auxiliary_head, checkpoint["state_dict"], names, before)
        lines.append(f"{path}: {count} of {len(auxiliary_head.state_dict())} weights of the auxiliary head loaded")
    dropped, new = sorted(theirs.keys() - kept.keys()), sorted(ours.keys() - kept.keys())
    lines.append(f"{path}: {len(kept)} weights loaded")
    if names != before:
        common, added = set(names) & set(before), [name for name in names if name not in before]
        lines.append(f"{path}: {len(common)} of {len(names)} classes matched by name; new: {listed(added)}")
    if dropped or new:
        lines.append(f"{path}: not loaded: {listed(dropped)}; randomly initialized: {listed(new)}")
    return lines


def _load_head(head: nn.Module, state: Mapping[str, Tensor], names: list[str], before: list[str]) -> int:
    """Load the matching weights of an auxiliary head; return their number. Arguments as for `_fitting`."""
    prefix = "auxiliary_head."
    weights = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    own = head.state_dict()
    rows = {name: 0 for name in own if name.startswith("classifier.")} if names != before else {}
    fitting = _fitting(own, weights, rows, names, before)
    head.load_state_dict(fitting, strict=False)
    return len(fitting)


def _fitting(
    ours: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    by_class: Mapping[str, int],
    names: list[str],
    before: list[str],
) -> dict[str, Tensor]:
    """Return the checkpoint's weights that match in shape, with the rows of classes moved to their new ids.

    Args:
        by_class: weight name -> its class dimension.
        names, before: classes of the new run and of the checkpoint.
    """
    common = [name for name in names if name in before]
    target = torch.tensor([names.index(name) for name in common], dtype=torch.long)
    source = torch.tensor([before.index(name) for name in common], dtype=torch.long)
    kept = {}
    for name, value in theirs.items():
        dimension = by_class.get(name)
        if dimension is None and _shape(ours, name) == list(value.shape):
            kept[name] = value
        elif dimension is not None and common and name in ours:
            mine = ours[name].detach().clone()
            rows = value.to(mine).index_select(dimension, source)
            if mine.index_select(dimension, target).shape == rows.shape:
                kept[name] = mine.index_copy(dimension, target, rows)
    return kept


def _class_dimensions(spec: Mapping[str, Any]) -> dict[str, int]:
    """Map the names of weights that depend on the number of classes to their class dimension."""
    with torch.device("meta"):
        one, other = (
            SegmentationModel(**{**spec, "num_classes": spec["num_classes"] + extra}).state_dict() for extra in (0, 1)
        )
    unlike = {name: [a != b for a, b in zip(one[name].shape, other[name].shape, strict=True)] for name in one}
    return {name: differs.index(True) for name, differs in unlike.items() if any(differs)}


def _shape(weights: Mapping[str, Tensor], name: str) -> list[int] | str:
    return list(weights[name].shape) if name in weights else "absent"


def require_same_model(module: nn.Module, checkpoint: Mapping[str, Any], spec: Mapping[str, Any], path: Path) -> None:
    """Check that a checkpoint to resume has the configured architecture and classes.

    Args:
        module: the configured task.
        spec: the configured model's spec, from which the message names the different options.

    Raises:
        CheckpointError: a weight is absent or has another shape; the message names the different options.
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
        f"{path}: its architecture differs from the configured one: {', '.join(differing) or 'other weights'}: "
        "resume with the options of its config.yaml, or fine-tune with init_from="
    )

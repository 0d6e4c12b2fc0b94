"""Segmentation losses: from logits and masks to a scalar.

The contract: a loss is an ``nn.Module`` built with ``ignore_index`` (ignored mask value) and ``num_classes``. It has

* ``forward(logits, mask, align_corners=False)``: logits (B, num_classes, h, w), float, and mask (B, H, W), integer
  -> scalar, float32. Logits of another size are resized bilinearly to the mask's size.

Losses with ``multilabel = True`` are for several classes per pixel, and take masks (B, num_classes, H, W) instead; see
`segnet.losses.multilabel`. All others need exactly one class per pixel. `build_loss` checks that a loss fits the task.

Ignored pixels affect neither the loss nor the gradients. If all pixels are ignored, the loss and its gradients are 0.
In distributed training each process computes the loss of its own batch, and gradients are averaged.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

from torch import Tensor, nn

from segnet.classes import MULTICLASS, MULTILABEL, Classes
from segnet.components import build, did_you_mean
from segnet.errors import ConfigError
from segnet.losses.multilabel import BCEDice
from segnet.losses.pixels import OHEM, CrossEntropy, Focal
from segnet.losses.regions import Dice, LovaszSoftmax, Tversky
from segnet.losses.rmi import RMI

CLASS_WEIGHT = "class_weight"  # option of the losses that weight classes


class WeightedSum(nn.Module):
    """Weighted sum of several losses.

    Args:
        terms: name of a loss -> its ``weight`` (1 unless given) and its options.
        class_weight: one factor per class, for the terms that have class weights, unless a term sets its own.

    Raises:
        ConfigError: no terms, an unknown loss or option, a weight below 0, or class weights that no term has.
    """

    def __init__(
        self,
        ignore_index: int,
        num_classes: int,
        *,
        terms: Mapping[str, Any],
        class_weight: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(terms, Mapping) or not terms:
            raise ConfigError(f"loss.terms={terms} names no losses: set for example loss.terms.dice.weight=0.5")
        weighting = {name for name in terms if name in LOSSES and CLASS_WEIGHT in signature(LOSSES[name]).parameters}
        if class_weight is not None and not weighting:
            raise ConfigError(
                f"loss.class_weight: none of the terms {', '.join(map(str, terms))} has class weights: "
                "remove it with ~loss.class_weight, or add loss.terms.cross_entropy.weight=0.5"
            )
        self.weights: list[float] = []
        self.terms = nn.ModuleList()
        for name, given in terms.items():
            if name not in LOSSES:
                raise ConfigError(f"loss.terms.{name} is unknown.{did_you_mean(str(name), LOSSES)}")
            options = dict(given or {})
            weight = options.pop("weight", 1.0)
            if not isinstance(weight, int | float) or not 0 <= weight < math.inf:
                raise ConfigError(f"loss.terms.{name}.weight={weight} must be 0 or more")
            self.weights.append(weight)
            if name in weighting and options.get(CLASS_WEIGHT) is None:
                options[CLASS_WEIGHT] = class_weight
            spec = {**options, "name": name}
            self.terms.append(
                build(f"loss.terms.{name}", LOSSES, spec, ignore_index=ignore_index, num_classes=num_classes)
            )

    def forward(self, logits: Tensor, mask: Tensor, align_corners: bool = False) -> Tensor:
        weighted = zip(self.weights, self.terms, strict=True)
        values: list[Tensor] = [weight * term(logits, mask, align_corners) for weight, term in weighted]
        return sum(values[1:], values[0])


def build_loss(spec: Mapping[str, Any], classes: Classes) -> nn.Module:
    """Build the loss of a spec for the task of the classes.

    Raises:
        ConfigError: an unknown loss or option, or a loss for the other task.
    """
    num_classes = len(classes.names)
    loss = build("loss", LOSSES, spec, ignore_index=classes.ignore_index, num_classes=num_classes)
    named = spec.get("terms") if isinstance(loss, WeightedSum) else {spec["name"]: None}
    for name in named or {}:
        if getattr(LOSSES[str(name)], "multilabel", False) != classes.is_multilabel:
            what = "one class per pixel" if classes.is_multilabel else "several classes per pixel"
            other = f"loss=bce_dice (task={MULTILABEL} chooses it)" if classes.is_multilabel else "loss=cross_entropy"
            task = MULTILABEL if classes.is_multilabel else MULTICLASS
            raise ConfigError(f"loss={name} is for {what}, but the dataset's task is {task}: use {other}")
    return loss


LOSSES: dict[str, Callable[..., nn.Module]] = {
    "bce_dice": BCEDice,
    "cross_entropy": CrossEntropy,
    "dice": Dice,
    "focal": Focal,
    "lovasz": LovaszSoftmax,
    "ohem": OHEM,
    "rmi": RMI,
    "sum": WeightedSum,
    "tversky": Tversky,
}

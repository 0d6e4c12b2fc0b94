"""Losses of several classes per pixel: each class is a binary segmentation with a sigmoid of its own.

The contract is that of `segnet.losses`, with masks (B, num_classes, H, W) of 0, 1 and `ignore_index`. A pixel that is
ignored in a plane affects neither the loss of its class nor the gradients. A class without a labeled pixel in the batch
is left out of the mean over classes.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segnet.errors import ConfigError
from segnet.losses.resized import resize_logits


class BCEDice(nn.Module):
    """Binary cross entropy plus soft Dice loss, of each class, averaged over the classes.

    The cross entropy of a class is the mean over its labeled pixels. Its Dice loss spans all images of the batch, and
    is left out if the batch has no pixel of the class: the sum of small probabilities would dominate it. Both terms are
    those of nnU-Net's training of overlapping regions (Isensee et al., "nnU-Net for Brain Tumor Segmentation", 2020,
    arXiv 2011.00848), there with a smoothing term of 1e-5.

    Args:
        ignore_index, num_classes: see `segnet.losses`.
        bce_weight, dice_weight: factors on the two terms.
        positive_weight: factor on the cross entropy of pixels that have the class: one number, or one per class.
        class_weight: one factor per class on its loss; the mean over classes is then weighted.
        smooth: added to numerator and denominator of the Dice coefficient.

    Raises:
        ConfigError: a value out of range.
    """

    multilabel = True
    positive_weight: Tensor
    class_weight: Tensor

    def __init__(
        self,
        ignore_index: int,
        num_classes: int,
        *,
        bce_weight: float = 1.0,
        dice_weight: float = 1.0,
        positive_weight: float | Sequence[float] = 1.0,
        class_weight: Sequence[float] | None = None,
        smooth: float = 1.0,
    ) -> None:
        super().__init__()
        for name, value in (("bce_weight", bce_weight), ("dice_weight", dice_weight)):
            if not 0 <= value < math.inf:
                raise ConfigError(f"loss.{name}={value} must be 0 or more")
        if not bce_weight + dice_weight > 0:
            raise ConfigError("loss.bce_weight=0 and loss.dice_weight=0 leave no loss: set one of them")
        if not 0 < smooth < math.inf:
            raise ConfigError(f"loss.smooth={smooth} must be above 0")
        self.ignore_index, self.smooth = ignore_index, smooth
        self.bce_weight, self.dice_weight = bce_weight, dice_weight
        positive = [positive_weight] * num_classes if isinstance(positive_weight, int | float) else positive_weight
        positives = _per_class("positive_weight", positive, num_classes)
        weights = _per_class("class_weight", [1.0] * num_classes if class_weight is None else class_weight, num_classes)
        # Not persistent: a checkpoint stores them in its spec only.
        self.register_buffer("positive_weight", positives, persistent=False)
        self.register_buffer("class_weight", weights, persistent=False)

    def forward(self, logits: Tensor, mask: Tensor, align_corners: bool = False) -> Tensor:
        logits = resize_logits(logits, mask, align_corners)
        counted = (mask != self.ignore_index).to(logits.dtype)
        truth = (mask == 1).to(logits.dtype)
        labeled, positives = counted.sum((0, 2, 3)), truth.sum((0, 2, 3))
        loss = self.bce_weight * self._cross_entropy(logits, truth, counted, labeled)
        if self.dice_weight:
            hits, found = _soft_sums(logits, truth, counted)
            dice = 1 - (2 * hits + self.smooth) / (found + positives + self.smooth)
            loss = loss + self.dice_weight * dice * (positives > 0)
        weight = self.class_weight.to(logits.dtype) * (labeled > 0)
        return (weight * loss).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)

    def _cross_entropy(self, logits: Tensor, truth: Tensor, counted: Tensor, labeled: Tensor) -> Tensor:
        """The mean over the labeled pixels of each class: (num_classes,)."""
        positive = self.positive_weight.to(logits.dtype)[:, None, None]
        losses = F.binary_cross_entropy_with_logits(logits, truth, counted, reduction="none", pos_weight=positive)
        return losses.sum((0, 2, 3)) / labeled.clamp(min=1)


def _soft_sums(logits: Tensor, truth: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Soft true positives, and sums of the probabilities of labeled pixels, of each class: both (num_classes,)."""
    probabilities = logits.sigmoid() * counted
    return (probabilities * truth).sum((0, 2, 3)), probabilities.sum((0, 2, 3))


def _per_class(name: str, values: Sequence[float], num_classes: int) -> Tensor:
    """Check a factor of each class.

    Raises:
        ConfigError: another number of values, or one that is no factor.
    """
    if len(values) != num_classes:
        raise ConfigError(
            f"loss.{name} has {len(values)} values, but there are {num_classes} classes: give one value per class"
        )
    if not all(0 <= value < math.inf for value in values) or not any(values):
        raise ConfigError(f"loss.{name}={list(values)} must be 0 or more, and not all 0")
    return torch.tensor(values, dtype=torch.float32)

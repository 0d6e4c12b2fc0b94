"""Pixel-wise losses: cross entropy, OHEM and focal loss."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segnet.errors import ConfigError
from segnet.losses.resized import CrossEntropyOptions, cross_entropy_map, cross_entropy_sum


class _PixelLoss(nn.Module):
    """Base class with class weights.

    Args:
        ignore_index: ignored mask value.
        num_classes: channels of the logits.
        class_weight: one factor per class for its pixels; the mean over pixels is then weighted.
    """

    class_weight: Tensor | None

    def __init__(self, ignore_index: int, num_classes: int, *, class_weight: Sequence[float] | None) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        if class_weight is not None:
            if len(class_weight) != num_classes:
                raise ConfigError(
                    f"loss.class_weight has {len(class_weight)} values, but there are {num_classes} classes: "
                    "give one value per class"
                )
            if not all(0 <= weight < math.inf for weight in class_weight) or not any(class_weight):
                raise ConfigError(f"loss.class_weight={list(class_weight)} must be 0 or more, and not all 0")
        weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        # Not persistent: a checkpoint stores class weights in its spec only.
        self.register_buffer("class_weight", weight, persistent=False)

    def _weights(self, mask: Tensor) -> Tensor:
        """Return the weight of each pixel: float32 in the mask's shape, 0 for ignored pixels."""
        counted = mask != self.ignore_index
        if self.class_weight is None:
            return counted.float()
        return self.class_weight[mask.long().where(counted, 0)] * counted


def _mean(total: Tensor, weight: Tensor) -> Tensor:
    """Divide total by weight; 0 if the weight is 0."""
    return total / weight.where(weight > 0, 1)


class CrossEntropy(_PixelLoss):
    """Cross entropy, averaged over the pixels that are not ignored.

    Args:
        ignore_index, num_classes: see `segnet.losses`.
        class_weight: one factor per class for its pixels; the mean over pixels is then weighted.
        label_smoothing: fraction of the target distributed evenly over all classes (arXiv 1512.00567, section 7).

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(
        self,
        ignore_index: int,
        num_classes: int,
        *,
        class_weight: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(ignore_index, num_classes, class_weight=class_weight)
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"loss.label_smoothing={label_smoothing} must be a fraction in [0, 1)")
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, mask: Tensor, align_corners: bool = False) -> Tensor:
        options = CrossEntropyOptions(self.ignore_index, align_corners, self.class_weight, self.label_smoothing)
        return _mean(cross_entropy_sum(logits, mask, options), self._weights(mask).sum())


class OHEM(_PixelLoss):
    """Online hard example mining (OHEM, arXiv 1604.03540): cross entropy of the hard pixels only.

    A pixel is hard if the probability of its true class is below `thresh`. At least the `min_kept` hardest pixels are
    kept. PaddleSeg and mmsegmentation define OHEM this way too, with two differences: PaddleSeg keeps one pixel less,
    and mmsegmentation averages over all pixels instead of the kept ones.

    Args:
        ignore_index, num_classes: see `segnet.losses`.
        thresh: probability of the true class below which a pixel is hard; None: only the `min_kept` hardest (top-k).
        min_kept: smallest number of kept pixels per image of the batch [pixels].
        class_weight: one factor per class for its pixels; the mean over pixels is then weighted.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(
        self,
        ignore_index: int,
        num_classes: int,
        *,
        thresh: float | None = 0.7,
        min_kept: int = 100_000,
        class_weight: Sequence[float] | None = None,
    ) -> None:
        super().__init__(ignore_index, num_classes, class_weight=class_weight)
        if thresh is not None and not 0 < thresh <= 1:
            raise ConfigError(
                f"loss.thresh={thresh} must be a probability in (0, 1], or null to keep only the hardest pixels"
            )
        if min_kept < 1:
            raise ConfigError(f"loss.min_kept={min_kept} must be 1 pixel or more")
        self.easiest = math.inf if thresh is None else -math.log(thresh)  # pixels of a higher cross entropy are hard
        self.min_kept = min_kept

    def forward(self, logits: Tensor, mask: Tensor, align_corners: bool = False) -> Tensor:
        options = CrossEntropyOptions(self.ignore_index, align_corners)
        losses = cross_entropy_map(logits, mask, options)
        counted = (mask != self.ignore_index).reshape(-1)
        order = losses.reshape(-1).where(counted, -1).argsort(descending=True, stable=True)
        kept = torch.zeros_like(counted)
        kept[order[: self.min_kept * len(logits)]] = True
        kept = kept.view_as(losses) | (losses > self.easiest)
        weights = self._weights(mask) * kept
        return _mean(cross_entropy_sum(logits, mask, options, pixel_weight=weights), weights.sum())


class Focal(_PixelLoss):
    """Softmax focal loss (arXiv 1708.02002): (1 - p) ** gamma times cross entropy, p the true class's probability.

    Unlike the paper's loss, it is averaged over the pixels that are not ignored. With gamma 0 it is cross entropy.

    Args:
        ignore_index, num_classes: see `segnet.losses`.
        gamma: focusing parameter; higher values reduce the loss of well-classified pixels more.
        class_weight: the paper's alpha, one factor per class; the mean over pixels is then weighted.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(
        self,
        ignore_index: int,
        num_classes: int,
        *,
        gamma: float = 2.0,
        class_weight: Sequence[float] | None = None,
    ) -> None:
        super().__init__(ignore_index, num_classes, class_weight=class_weight)
        if not 0 <= gamma < math.inf:
            raise ConfigError(f"loss.gamma={gamma} must be 0 or more")
        self.gamma = gamma

    def forward(self, logits: Tensor, mask: Tensor, align_corners: bool = False) -> Tensor:
        weights = self._weights(mask)
        options = CrossEntropyOptions(self.ignore_index, align_corners)
        total = cross_entropy_sum(logits, mask, options, pixel_weight=weights, function=self._focused)
        return _mean(total, weights.sum())

    def _focused(self, losses: Tensor) -> Tensor:
        # expm1 avoids cancellation in 1 - exp(-loss); the minimum keeps the gradient finite for gamma < 1.
        return losses * (-torch.expm1(-losses)).clamp(min=1e-12) ** self.gamma

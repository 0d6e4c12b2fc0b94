"""Losses that are means over pixels: cross entropy, and those that mind its hard pixels more."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segnet.errors import ConfigError
from segnet.losses.resized import CrossEntropyOptions, cross_entropy_map, cross_entropy_sum


class _PixelLoss(nn.Module):
    """Base: holds the weights of the classes.

    Args:
        ignore_index: mask value that does not count.
        num_classes: channels of the logits.
        class_weight: one factor a class, on the pixels of that class; the mean is then a weighted one.
    """

    class_weight: Tensor | None

    def __init__(self, ignore_index: int, num_classes: int, *, class_weight: Sequence[float] | None) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        if class_weight is not None:
            if len(class_weight) != num_classes:
                raise ConfigError(
                    f"loss.class_weight has {len(class_weight)} values, but there are {num_classes} classes: "
                    "give one for each"
                )
            if not all(0 <= weight < math.inf for weight in class_weight) or not any(class_weight):
                raise ConfigError(f"loss.class_weight={list(class_weight)} must be 0 or more, and not all 0")
        weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        # Not persistent: the stored spec is their only source.
        self.register_buffer("class_weight", weight, persistent=False)

    def _weights(self, mask: Tensor) -> Tensor:
        """Weight of each pixel, in the shape of the mask, float32: 0 where it is ignored."""
        counted = mask != self.ignore_index
        if self.class_weight is None:
            return counted.float()
        return self.class_weight[mask.long().where(counted, 0)] * counted


def _mean(total: Tensor, weight: Tensor) -> Tensor:
    """total / weight, and 0 where nothing weighs anything."""
    return total / weight.where(weight > 0, 1)


class CrossEntropy(_PixelLoss):
    """Cross entropy, the mean over the pixels that count.

    Args:
        ignore_index, num_classes: see `segnet.losses`.
        class_weight: one factor a class, on the pixels of that class; the mean is then a weighted one.
        label_smoothing: share of the truth that is spread evenly over all classes (arXiv 1512.00567, section 7).

    Raises:
        ConfigError: a value outside these.
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
            raise ConfigError(f"loss.label_smoothing={label_smoothing} is not a share in [0, 1)")
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, mask: Tensor, align_corners: bool = False) -> Tensor:
        options = CrossEntropyOptions(self.ignore_index, align_corners, self.class_weight, self.label_smoothing)
        return _mean(cross_entropy_sum(logits, mask, options), self._weights(mask).sum())


class OHEM(_PixelLoss):
    """Online hard example mining (arXiv 1604.03540): cross entropy of the hard pixels alone.

    Hard are pixels whose true class has a probability below `thresh`, and in any case the `min_kept` hardest: the OHEM
    of PaddleSeg and mmsegmentation. It differs from theirs in that exactly as many are kept (PaddleSeg: one less), and
    that the mean is over these (mmsegmentation: over all pixels).

    Args:
        ignore_index, num_classes: see `segnet.losses`.
        thresh: probability of the true class; None: only the `min_kept` hardest count (top-k).
        min_kept: times the images of the batch [pixels].
        class_weight: one factor a class, on the pixels of that class; the mean is then a weighted one.

    Raises:
        ConfigError: a value outside these.
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
            raise ConfigError(f"loss.thresh={thresh} is not a probability in (0, 1]; null keeps the hardest alone")
        if min_kept < 1:
            raise ConfigError(f"loss.min_kept={min_kept} is not a number of pixels, 1 or more")
        self.easiest = math.inf if thresh is None else -math.log(thresh)  # cross entropy from which a pixel is hard
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
    """Focal loss (arXiv 1708.02002) of a softmax: cross entropy times (1 - p) ** gamma, p that of the true class.

    It differs from the paper's in that it is the mean over the pixels that count; at gamma 0 it is cross entropy.

    Args:
        ignore_index, num_classes: see `segnet.losses`.
        gamma: how much less well-classified pixels count.
        class_weight: the paper's alpha, one factor a class; the mean is then a weighted one.

    Raises:
        ConfigError: a value outside these.
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
        # 1 - exp(-loss) without cancellation; the floor keeps the slope of the power finite where gamma < 1.
        return losses * (-torch.expm1(-losses)).clamp(min=1e-12) ** self.gamma

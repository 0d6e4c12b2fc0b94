"""Losses that are means over pixels: cross entropy, and those that mind its hard pixels more."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segnet.errors import ConfigError


class _PixelLoss(nn.Module):
    """Base: flattens the pixels, and holds the weights of the classes.

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

    def _flatten(self, logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K, H, W) and (B, H, W) -> (N, K) float32 and (N,) int64."""
        # Flattened: the two-dimensional kernel of cross entropy is not deterministic on CUDA.
        return logits.float().permute(0, 2, 3, 1).reshape(-1, logits.shape[1]), mask.reshape(-1).long()

    def _weights(self, target: Tensor) -> Tensor:
        """Weight of each pixel (N,), float32: 0 where it is ignored."""
        counted = target != self.ignore_index
        if self.class_weight is None:
            return counted.float()
        return self.class_weight[target.where(counted, 0)] * counted


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

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        flat, target = self._flatten(logits, mask)
        total = F.cross_entropy(
            flat,
            target,
            weight=self.class_weight,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            reduction="sum",
        )
        return _mean(total, self._weights(target).sum())


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

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        flat, target = self._flatten(logits, mask)
        counted = target != self.ignore_index
        losses = F.cross_entropy(flat, target, ignore_index=self.ignore_index, reduction="none")[counted]
        kept = torch.zeros_like(losses, dtype=torch.bool)
        kept[losses.detach().argsort(descending=True, stable=True)[: self.min_kept * len(logits)]] = True
        weights = self._weights(target[counted]) * (kept | (losses.detach() > self.easiest))
        return _mean((losses * weights).sum(), weights.sum())


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

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        flat, target = self._flatten(logits, mask)
        losses = F.cross_entropy(flat, target, ignore_index=self.ignore_index, reduction="none")
        # 1 - exp(-loss) without cancellation; the floor keeps the slope of the power finite where gamma < 1.
        missed = (-torch.expm1(-losses)).clamp(min=1e-12)
        weights = self._weights(target)
        return _mean((losses * missed**self.gamma * weights).sum(), weights.sum())

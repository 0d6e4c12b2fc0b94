"""Losses of the overlap of predicted and true regions: soft counterparts of the Dice coefficient and the IoU.

Each class has one region a batch, all its images together.
"""

import math

import torch
from torch import Tensor, nn

from segnet.errors import ConfigError
from segnet.losses.resized import VALUES_AT_ONCE, resize_logits

MANY_CLASSES = 20  # from as many on, a batch rarely holds them all


class Tversky(nn.Module):
    """Tversky loss (arXiv 1706.05721): 1 - TP / (TP + alpha FP + beta FN), the mean over classes.

    TP, FP and FN are sums of probabilities. At alpha = beta = 0.5 it is the Dice loss, at 1 the Jaccard loss.

    Args:
        ignore_index, num_classes: see `segnet.losses`.
        alpha: price of a false positive.
        beta: price of a false negative.
        smooth: added above and below the fraction bar, so that an absent class that is not predicted is no loss.
        present_only: whether the mean is over the classes in the masks of the batch, as for Lovasz-Softmax; None: from
            20 classes on. The few probabilities that each of many absent classes gets add up over all pixels of a
            batch, far above `smooth`: each absent class would add a loss of nearly 1.

    Raises:
        ConfigError: a value outside these.
    """

    def __init__(
        self,
        ignore_index: int,
        num_classes: int,
        *,
        alpha: float = 0.3,
        beta: float = 0.7,
        smooth: float = 1.0,
        present_only: bool | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("alpha", alpha), ("beta", beta)):
            if not 0 <= value < math.inf:
                raise ConfigError(f"loss.{name}={value} must be 0 or more")
        _check_smooth(smooth)
        self.ignore_index = ignore_index
        self.alpha, self.beta, self.smooth = alpha, beta, smooth
        self.present_only = num_classes >= MANY_CLASSES if present_only is None else present_only

    def forward(self, logits: Tensor, mask: Tensor, align_corners: bool = False) -> Tensor:
        hits, false_positives, false_negatives = _soft_counts(
            resize_logits(logits, mask, align_corners), mask, self.ignore_index
        )
        missed = self.alpha * false_positives + self.beta * false_negatives
        return _mean_over_classes(missed / (hits + missed + self.smooth), hits + false_negatives, self.present_only)


class Dice(nn.Module):
    """Soft Dice loss (arXiv 1606.04797): 1 - 2 TP / (2 TP + FP + FN), the mean over classes.

    As PaddleSeg's, without the squares of the paper's denominator.

    Args:
        ignore_index, num_classes: see `segnet.losses`.
        smooth: added above and below the fraction bar, so that an absent class that is not predicted is no loss.
        present_only: whether the mean is over the classes in the masks of the batch, as for Lovasz-Softmax; None: from
            20 classes on. The few probabilities that each of many absent classes gets add up over all pixels of a
            batch, far above `smooth`: each absent class would add a loss of nearly 1.

    Raises:
        ConfigError: a value outside these.
    """

    def __init__(
        self, ignore_index: int, num_classes: int, *, smooth: float = 1.0, present_only: bool | None = None
    ) -> None:
        super().__init__()
        _check_smooth(smooth)
        self.ignore_index, self.smooth = ignore_index, smooth
        self.present_only = num_classes >= MANY_CLASSES if present_only is None else present_only

    def forward(self, logits: Tensor, mask: Tensor, align_corners: bool = False) -> Tensor:
        hits, false_positives, false_negatives = _soft_counts(
            resize_logits(logits, mask, align_corners), mask, self.ignore_index
        )
        missed = false_positives + false_negatives
        return _mean_over_classes(missed / (2 * hits + missed + self.smooth), hits + false_negatives, self.present_only)


def _mean_over_classes(losses: Tensor, truth: Tensor, present_only: bool) -> Tensor:
    """The mean of the losses of each class (K,), of those with true pixels (K,) if asked; 0 without any."""
    if not present_only:
        return losses.mean()
    present = truth.detach().round() > 0  # sums of hits and misses: whole numbers but for rounding
    return (losses * present).sum() / present.sum().clamp(min=1)


class LovaszSoftmax(nn.Module):
    """Lovasz-Softmax loss (arXiv 1705.08790): the Lovasz extension of 1 - IoU, the mean over the classes in the truth.

    Args:
        ignore_index, num_classes: see `segnet.losses`.
    """

    def __init__(self, ignore_index: int, num_classes: int) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, mask: Tensor, align_corners: bool = False) -> Tensor:
        target = mask.reshape(-1).long()
        counted = target != self.ignore_index
        target = target[counted]
        probabilities = resize_logits(logits, mask, align_corners).softmax(1).transpose(0, 1)
        probabilities = probabilities.reshape(logits.shape[1], -1)[:, counted]
        present = target.unique()
        if not len(present):
            return probabilities.sum()  # of no pixels, which is 0
        groups = present.split(max(1, VALUES_AT_ONCE // len(target)))
        losses = [_lovasz_extension(probabilities[group], target == group[:, None]) for group in groups]
        return torch.cat(losses).mean()


def _lovasz_extension(probabilities: Tensor, truth: Tensor) -> Tensor:
    """Algorithm 1 of the paper: errors in falling order, each times what it adds to 1 - IoU.

    Args:
        probabilities: (K, N) of some classes: together, because torch sorts rows side by side, but not within one.
        truth: (K, N) bool, the pixels of each class.

    Returns:
        (K,) float32.
    """
    errors, order = (probabilities - truth.float()).abs().sort(dim=1, descending=True)
    truth = truth.gather(1, order).long()  # counts: a cumulated sum of floats is not deterministic on CUDA
    size = truth.sum(1, keepdim=True)
    union = size + (1 - truth).cumsum(1)
    loss = 1 - (size - truth.cumsum(1)).double() / union  # of all errors up to here; differences of it are tiny
    return (errors * torch.diff(loss, prepend=loss.new_zeros(len(loss), 1)).float()).sum(1)


def _soft_counts(logits: Tensor, mask: Tensor, ignore_index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Soft true positives, false positives and false negatives of each class (K,), float32."""
    counted = mask != ignore_index
    probabilities = logits.softmax(1) * counted[:, None]
    classes = torch.arange(logits.shape[1], device=mask.device)[:, None, None]
    truth = (mask[:, None] == classes) & counted[:, None]  # one bit a class and pixel: integers would take 8 bytes
    dims = (0, 2, 3)
    hits = (probabilities * truth).sum(dims)
    return hits, probabilities.sum(dims) - hits, truth.sum(dims).float() - hits


def _check_smooth(smooth: float) -> None:
    """Raises:
    ConfigError: no smoothing, or a negative one.
    """
    if not 0 < smooth < math.inf:
        raise ConfigError(f"loss.smooth={smooth} must be above 0")

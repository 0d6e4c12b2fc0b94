"""Region losses: differentiable versions of the Dice coefficient, the Tversky index and the IoU.

A class's region spans all images of the batch.
"""

import math

import torch
from torch import Tensor, nn

from segnet.errors import ConfigError
from segnet.losses.resized import VALUES_AT_ONCE, resize_logits

MANY_CLASSES = 20  # with 20 or more classes, a batch rarely contains all of them


class Tversky(nn.Module):
    """Tversky loss (arXiv 1706.05721): 1 - TP / (TP + alpha FP + beta FN), averaged over classes.

    TP, FP and FN are sums of probabilities. With alpha = beta = 0.5 it is the Dice loss, with 1 the Jaccard loss.

    Args:
        ignore_index, num_classes: see `segnet.losses`.
        alpha: weight of false positives.
        beta: weight of false negatives.
        smooth: added to numerator and denominator; an absent class that is not predicted then has loss 0.
        present_only: average over the classes in the batch's masks only, as Lovasz-Softmax does; None: with 20 or more
            classes. An absent class's small probabilities add up over all pixels to far more than `smooth`. It would
            contribute a loss of nearly 1.

    Raises:
        ConfigError: a value out of range.
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
    """Soft Dice loss (arXiv 1606.04797): 1 - 2 TP / (2 TP + FP + FN), averaged over classes.

    Like PaddleSeg's, it omits the squares in the paper's denominator.

    Args:
        ignore_index, num_classes: see `segnet.losses`.
        smooth: added to numerator and denominator; an absent class that is not predicted then has loss 0.
        present_only: average over the classes in the batch's masks only, as Lovasz-Softmax does; None: with 20 or more
            classes. An absent class's small probabilities add up over all pixels to far more than `smooth`. It would
            contribute a loss of nearly 1.

    Raises:
        ConfigError: a value out of range.
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
    """Average the losses per class (K,), optionally over classes with true pixels only; 0 if there are none."""
    if not present_only:
        return losses.mean()
    present = truth.detach().round() > 0  # sums of hits and misses are integers except for rounding
    return (losses * present).sum() / present.sum().clamp(min=1)


class LovaszSoftmax(nn.Module):
    """Lovasz-Softmax loss (arXiv 1705.08790): Lovasz extension of 1 - IoU, averaged over the classes in the truth.

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
            return probabilities.sum()  # 0, the sum over no pixels
        groups = present.split(max(1, VALUES_AT_ONCE // len(target)))
        losses = [_lovasz_extension(probabilities[group], target == group[:, None]) for group in groups]
        return torch.cat(losses).mean()


def _lovasz_extension(probabilities: Tensor, truth: Tensor) -> Tensor:
    """Algorithm 1 of the paper: sort errors in descending order, and weight each by its increment of 1 - IoU.

    Args:
        probabilities: (K, N) of several classes; torch sorts rows in parallel, but not within a row.
        truth: (K, N) bool, the pixels of each class.

    Returns:
        (K,) float32.
    """
    errors, order = (probabilities - truth.float()).abs().sort(dim=1, descending=True)
    truth = truth.gather(1, order).long()  # integers: cumsum of floats is not deterministic on CUDA
    size = truth.sum(1, keepdim=True)
    union = size + (1 - truth).cumsum(1)
    loss = 1 - (size - truth.cumsum(1)).double() / union  # float64, because the differences are tiny
    return (errors * torch.diff(loss, prepend=loss.new_zeros(len(loss), 1)).float()).sum(1)


def _soft_counts(logits: Tensor, mask: Tensor, ignore_index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the soft true positives, false positives and false negatives per class (K,), float32."""
    counted = mask != ignore_index
    probabilities = logits.softmax(1) * counted[:, None]
    classes = torch.arange(logits.shape[1], device=mask.device)[:, None, None]
    truth = (mask[:, None] == classes) & counted[:, None]  # bool needs 1 byte per element; int64 needs 8
    dims = (0, 2, 3)
    hits = (probabilities * truth).sum(dims)
    return hits, probabilities.sum(dims) - hits, truth.sum(dims).float() - hits


def _check_smooth(smooth: float) -> None:
    """Check the smoothing term.

    Raises:
        ConfigError: it is 0, negative or not finite.
    """
    if not 0 < smooth < math.inf:
        raise ConfigError(f"loss.smooth={smooth} must be above 0")

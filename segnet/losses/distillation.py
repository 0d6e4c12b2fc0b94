"""Distillation losses: from the logits of a student and of its teacher to a scalar.

The contract: a loss is an ``nn.Module`` built with its options. It has

* ``weight``: factor on the loss in the sum with the loss of the masks.
* ``forward(logits, targets)``: logits of student and teacher, both (B, K, h, w), float -> scalar, at least float32. The
  gradient is that of the student's logits.

All pixels count, also ignored ones: a teacher predicts those, too.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from segnet.errors import ConfigError

SMALLEST_NORM = 1e-8  # added to the product of two norms, as in DIST's published code


class ChannelWise(nn.Module):
    """Channel-wise distillation (CWD): each class's logits as a distribution over the pixels of an image.

    The Kullback-Leibler divergence of the student's distribution from the teacher's, averaged over images and classes,
    times the squared temperature. Source: Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction", ICCV
    2021 (arXiv 2011.13256), on the logits; weight and temperature are those of its published script.

    Args:
        weight: factor on the loss.
        temperature: divides the logits; higher values give more weight to the pixels of smaller logits.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(self, *, weight: float = 3.0, temperature: float = 4.0) -> None:
        super().__init__()
        _require_positive(weight=weight, temperature=temperature)
        self.weight, self.temperature = weight, temperature

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        found, expected = (
            (_float32(values).flatten(2) / self.temperature).log_softmax(2) for values in (logits, targets)
        )
        divergence = (expected.exp() * (expected - found)).sum(2)
        mean: Tensor = divergence.mean()
        return self.temperature**2 * mean


class DIST(nn.Module):
    """DIST: the correlations of student and teacher instead of their values, for a teacher that is much stronger.

    One minus Pearson's correlation of probabilities, between the classes of a pixel (averaged over the pixels) and
    between the pixels of a class (averaged over the classes). Source: Huang et al., "Knowledge Distillation from A
    Stronger Teacher", NeurIPS 2022 (arXiv 2205.10536); the weights are those of its published code for segmentation.

    Args:
        weight: factor on the loss.
        inter_class: factor on the part between the classes of a pixel; beta in the paper.
        intra_class: factor on the part between the pixels of a class, over all images of the batch; gamma in the paper.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(self, *, weight: float = 1.0, inter_class: float = 1.0, intra_class: float = 1.0) -> None:
        super().__init__()
        _require_positive(weight=weight, inter_class=inter_class, intra_class=intra_class)
        self.weight, self.inter_class, self.intra_class = weight, inter_class, intra_class

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        found, expected = (_float32(values).softmax(1).transpose(0, 1).flatten(1) for values in (logits, targets))
        inter: Tensor = 1 - _correlation(found, expected, 0).mean()
        intra: Tensor = 1 - _correlation(found, expected, 1).mean()
        return self.inter_class * inter + self.intra_class * intra


DISTILLATIONS: dict[str, Callable[..., nn.Module]] = {"cwd": ChannelWise, "dist": DIST}


def _float32(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _correlation(one: Tensor, other: Tensor, dim: int) -> Tensor:
    """Pearson's correlation of two matrices along a dimension."""
    one, other = (values - values.mean(dim, keepdim=True) for values in (one, other))
    norms: Tensor = one.norm(dim=dim) * other.norm(dim=dim)
    return (one * other).sum(dim) / (norms + SMALLEST_NORM)


def _require_positive(**options: float) -> None:
    """Check factors and temperatures.

    Raises:
        ConfigError: one is 0, negative or not finite.
    """
    for name, value in options.items():
        if not 0 < value < math.inf:
            raise ConfigError(f"distillation.{name}={value} must be above 0")

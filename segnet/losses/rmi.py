"""Region mutual information (RMI) loss: the shapes of a class's regions, not only its single pixels.

Source: Zhao et al., "Region Mutual Information Loss for Semantic Segmentation", NeurIPS 2019 (arXiv 1910.12037), in
combination with cross entropy. Defaults and weights (0.5 and 0.5, conf/loss/ce_rmi.yaml) are those of PaddleSeg, whose
DeepLabV3+ with ResNet50_vd gains 0.8 points of mIoU on Cityscapes from it.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from segnet.components import did_you_mean
from segnet.errors import ConfigError
from segnet.losses.resized import resize_logits

POOLS: dict[str, Callable[..., Tensor]] = {"average": F.avg_pool2d, "max": F.max_pool2d}
RIDGE = 5e-4  # added to the diagonals, so that the matrices of constant regions are positive definite; the paper's code
PLANES_AT_ONCE = 2**21  # limit on pixels of class planes in memory at a time; one plane is the minimum


class RMI(nn.Module):
    """Region mutual information loss: the lower bound of equation 14, per image and class.

    Each square region of a class's probabilities (a sigmoid) and of its true mask is a vector. The loss is the entropy
    of the true vectors that a linear prediction from the probabilities leaves: 0.5 log det(covariance) / dimensions,
    summed over the classes of an image and averaged over the images. Ignored pixels are 0 in both.

    The gradient is that of the paper's code and PaddleSeg's. The value is theirs less its constant minimum,
    0.5 log(5e-4) per class: here an absent class has 0, and a perfect prediction at most 0.5 log(2) per class.
    Covariances are float64. Images with fewer than `radius` pooled pixels on a side have no region, and loss 0.

    Args:
        ignore_index, num_classes: see `segnet.losses`.
        radius: side of a region [pooled pixels]; the covariances have radius**2 dimensions.
        pool: max (PaddleSeg) or average (the paper, with pool_size=4): pools probabilities and masks before.
        pool_size: side and stride of the pooling [pixels]; 1: none.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(
        self, ignore_index: int, num_classes: int, *, radius: int = 3, pool: str = "max", pool_size: int = 3
    ) -> None:
        super().__init__()
        if pool not in POOLS:
            raise ConfigError(f"loss.pool={pool} is unknown.{did_you_mean(pool, POOLS)}")
        for name, value in (("radius", radius), ("pool_size", pool_size)):
            if not 1 <= value <= 10:
                raise ConfigError(f"loss.{name}={value} must be between 1 and 10 pixels")
        self.ignore_index = ignore_index
        self.radius, self.pool, self.pool_size = radius, pool, pool_size

    def forward(self, logits: Tensor, mask: Tensor, align_corners: bool = False) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            total: Tensor = _PlaneSum.apply(logits, mask, self, align_corners)  # type: ignore[no-untyped-call]
        return total / len(mask)

    def of_planes(self, logits: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
        """Sum the loss of classes of one image: a scalar, float64.

        Args:
            logits: (K, H, W), at least float32.
            truth, counted: bool, (K, H, W) pixels of each class and (H, W) pixels that are not ignored.
        """
        probabilities = self._regions(logits.sigmoid() * counted)
        labels = self._regions(truth.to(logits.dtype))
        # Schur complement: log det(truth - its prediction) = log det(both) - log det(probabilities). A single Cholesky
        # factor of both has the two as parts of its diagonal, and needs no inverse.
        vectors = torch.cat([probabilities, labels], dim=1)
        count, size = probabilities.shape[2], probabilities.shape[1]
        mean = vectors.mean(2, keepdim=True)
        covariance = vectors @ vectors.mT - count * (mean @ mean.mT)  # exact enough: values are in [0, 1]
        ridge = RIDGE * torch.eye(2 * size, dtype=vectors.dtype, device=vectors.device)
        # cholesky_ex: logits that are not finite are no error here, but give a loss that is not finite.
        factor, failed = torch.linalg.cholesky_ex(covariance + ridge)
        left = factor.diagonal(dim1=1, dim2=2)[:, size:].log() - 0.5 * math.log(RIDGE)
        total: Tensor = left.where(failed[:, None] == 0, math.nan).sum() / size
        return total

    def _regions(self, planes: Tensor) -> Tensor:
        """Pool planes (K, H, W), and list their regions as vectors: (K, radius**2, regions), float64."""
        if self.pool_size > 1:
            planes = POOLS[self.pool](planes[None], self.pool_size, self.pool_size, self.pool_size // 2)[0]
        planes = planes.double()
        height, width = (max(0, side - self.radius + 1) for side in planes.shape[1:])
        offsets = range(self.radius)
        parts = [planes[:, y : y + height, x : x + width].flatten(1) for y in offsets for x in offsets]
        return torch.stack(parts, dim=1)

    def has_regions(self, mask: Tensor) -> bool:
        """Whether masks (..., H, W) are large enough for a region."""
        padding = self.pool_size // 2 if self.pool_size > 1 else 0
        sides = [(side + 2 * padding - self.pool_size) // self.pool_size + 1 for side in mask.shape[-2:]]
        return min(sides) >= self.radius


class _PlaneSum(torch.autograd.Function):
    """Sum of `RMI.of_planes` over images and classes: planes at full size exist for a few classes at a time only."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, mask: Tensor, loss: RMI, align_corners: bool) -> Tensor:
        wanted, ctx.dtype = ctx.needs_input_grad[0], logits.dtype
        dtype = torch.promote_types(logits.dtype, torch.float32)
        total = torch.zeros((), dtype=torch.float64, device=logits.device)
        gradient = torch.zeros_like(logits, dtype=dtype) if wanted else None
        for image, classes in _plane_chunks(mask, loss) if loss.has_regions(mask) else ():
            truth = mask[image]
            with torch.set_grad_enabled(wanted):
                small = logits[image, classes].detach().to(dtype).requires_grad_(wanted)
                large = resize_logits(small[None], truth[None], align_corners)[0]
                value = loss.of_planes(large, truth == classes[:, None, None], truth != loss.ignore_index)
            total += value.detach()
            if gradient is not None:
                gradient[image, classes] = torch.autograd.grad(value, small)[0]
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total.to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (gradient * slopes[0]).to(ctx.dtype), None, None, None


def _plane_chunks(mask: Tensor, loss: RMI) -> Iterator[tuple[int, Tensor]]:
    """Yield an image's index and a few class ids of its mask; the loss and gradient of the other classes are 0."""
    planes = max(1, PLANES_AT_ONCE // mask[0].numel())
    for image, truth in enumerate(mask.long()):
        classes = truth.unique()
        classes = classes[classes != loss.ignore_index]
        for start in range(0, len(classes), planes):
            yield image, classes[start : start + planes]

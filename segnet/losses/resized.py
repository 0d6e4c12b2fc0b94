"""Memory-efficient losses of logits smaller than the mask: full-size logits exist for a few images at a time only.

A decoder's logits have a quarter of the image's side. Resized to the image, a batch of 16 crops of 512 x 512 with 150
classes takes 2.5 GB in float32, and autograd usually keeps several such tensors. Here a few images at a time are
resized and reduced to their loss and the gradient of the small logits. The gradient is exact. Liger Kernel's fused
linear cross entropy (arXiv 2410.10989) does the same for the classifier of language models.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

FLOATS_A_REGISTER = 16  # AVX-512
VALUES_AT_ONCE = 2**25  # limit on full-size values in memory at a time; one image is the minimum


def resize_logits(logits: Tensor, mask: Tensor, align_corners: bool) -> Tensor:
    """Resize logits (B, K, h, w) bilinearly to a mask's (..., H, W): (B, K, H, W), at least float32."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if logits.shape[2:] == mask.shape[-2:]:
        return logits
    return F.interpolate(logits, size=mask.shape[-2:], mode="bilinear", align_corners=align_corners)


@dataclass(frozen=True, slots=True)
class CrossEntropyOptions:
    """Options of pixel-wise cross entropy, as in ``F.cross_entropy(..., reduction="none")``.

    Attributes:
        ignore_index: ignored mask value; its pixels have cross entropy 0.
        align_corners: the resizing's align_corners.
        class_weight: (K,), a factor for the pixels of each class.
        label_smoothing: fraction of the target distributed evenly over all classes.
    """

    ignore_index: int
    align_corners: bool
    class_weight: Tensor | None = None
    label_smoothing: float = 0.0


def cross_entropy_sum(
    logits: Tensor,
    mask: Tensor,
    options: CrossEntropyOptions,
    *,
    pixel_weight: Tensor | None = None,
    function: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Sum ``pixel_weight * function(cross entropy)`` over all pixels: a scalar, at least float32.

    Args:
        logits: (B, K, h, w), resized bilinearly to the mask's size.
        mask: (B, H, W), integer.
        pixel_weight: (B, H, W), without gradient; None: 1.
        function: an element-wise function with function(0) = 0; None: the identity.
    """
    total: Tensor = _CrossEntropySum.apply(  # type: ignore[no-untyped-call]
        logits, mask, options, pixel_weight, function
    )
    return total


@torch.no_grad()
def cross_entropy_map(logits: Tensor, mask: Tensor, options: CrossEntropyOptions) -> Tensor:
    """Compute the cross entropy of each pixel (B, H, W), without gradient; arguments as in `cross_entropy_sum`."""
    parts = []
    for some, truth, _ in _image_chunks(logits, mask, None):
        logs = _log_probabilities(_pixel_rows(resize_logits(_channels_last(some), truth, options.align_corners)))
        parts.append(_losses(logs, *_truth(truth, logs, options), options).view(truth.shape))
    return torch.cat(parts)


class _CrossEntropySum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        mask: Tensor,
        options: CrossEntropyOptions,
        pixel_weight: Tensor | None,
        function: Callable[[Tensor], Tensor] | None,
    ) -> Tensor:
        wanted, ctx.dtype = ctx.needs_input_grad[0], logits.dtype
        sums, gradients = [], []
        for some, truth, weight in _image_chunks(logits, mask, pixel_weight):
            with torch.set_grad_enabled(wanted):
                small = _channels_last(some.detach().to(torch.promote_types(some.dtype, torch.float32)))
                small.requires_grad_(wanted)
                large = resize_logits(small, truth, options.align_corners)
            logs = _log_probabilities(_pixel_rows(large.detach()))
            label, true_weight, even_weight = _truth(truth, logs, options)
            losses = _losses(logs, label, true_weight, even_weight, options)
            value, slope = _value_and_slope(losses, weight, function, wanted)
            sums.append(value)
            if wanted:
                gradient = _gradient(logs, label, slope * true_weight, slope * even_weight, options)
                gradient = gradient.view(len(truth), *truth.shape[1:], -1).permute(0, 3, 1, 2)
                gradients.append(torch.autograd.grad(large, small, gradient)[0])
        if wanted:
            ctx.save_for_backward(torch.cat(gradients))
        return torch.stack(sums).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (gradient * slopes[0]).to(ctx.dtype), None, None, None, None


def _image_chunks(
    logits: Tensor, mask: Tensor, pixel_weight: Tensor | None
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Yield logits, mask and flat pixel weights of a few images at a time."""
    count = max(1, VALUES_AT_ONCE // (logits.shape[1] * mask[0].numel()))
    for start in range(0, len(mask), count):
        part = slice(start, start + count)
        yield logits[part], mask[part], None if pixel_weight is None else pixel_weight[part].reshape(-1)


def _channels_last(logits: Tensor) -> Tensor:
    """Convert to channels_last, so that a softmax over the channels needs no copy."""
    return logits.contiguous(memory_format=torch.channels_last)


def _pixel_rows(logits: Tensor) -> Tensor:
    """Reshape (B, K, H, W) to one row per pixel: (N, K)."""
    return logits.permute(0, 2, 3, 1).reshape(-1, logits.shape[1])


def _log_probabilities(logits: Tensor) -> Tensor:
    """Log-softmax over the columns, (N, K) -> (N, K).

    torch's own is not vectorized on a CPU if K is below the register's width; it takes three times as long.
    """
    if logits.device.type == "cpu" and logits.shape[1] < FLOATS_A_REGISTER:
        shifted = logits - logits.amax(1, keepdim=True)
        return shifted.sub_(shifted.exp().sum(1, keepdim=True).log_())
    return logits.log_softmax(1)


def _truth(mask: Tensor, like: Tensor, options: CrossEntropyOptions) -> tuple[Tensor, Tensor, Tensor]:
    """Return per pixel (N,): class (0 if ignored), weight of that class, label smoothing's weight of every class."""
    mask = mask.reshape(-1)
    counted = mask != options.ignore_index
    label = mask.long().where(counted, 0)
    weight = counted.to(like.dtype)
    true_weight = (1 - options.label_smoothing) * weight
    if options.class_weight is not None:
        true_weight = true_weight * options.class_weight[label]
    return label, true_weight, weight * (options.label_smoothing / like.shape[1])


def _losses(
    logs: Tensor, label: Tensor, true_weight: Tensor, even_weight: Tensor, options: CrossEntropyOptions
) -> Tensor:
    """Compute the cross entropy per pixel (N,) from log-probabilities (N, K)."""
    losses = -true_weight * logs.gather(1, label[:, None])[:, 0]
    if options.label_smoothing:
        weight = options.class_weight
        losses -= even_weight * (logs.sum(1) if weight is None else logs @ weight.to(logs.dtype))
    return losses


def _value_and_slope(
    losses: Tensor, weight: Tensor | None, function: Callable[[Tensor], Tensor] | None, wanted: bool
) -> tuple[Tensor, Tensor]:
    """Return the weighted sum of function(losses), losses (N,), and its gradient (N,), if that is wanted."""
    if weight is None:
        weight = torch.ones_like(losses)
    if function is None:
        return (weight * losses).sum(), weight
    if not wanted:  # a validation: inference mode allows no gradient at all
        return (weight * function(losses)).sum(), weight
    with torch.enable_grad():
        losses = losses.detach().requires_grad_()
        value = (weight * function(losses)).sum()
    return value.detach(), torch.autograd.grad(value, losses)[0]


def _gradient(
    logs: Tensor, label: Tensor, true_weight: Tensor, even_weight: Tensor, options: CrossEntropyOptions
) -> Tensor:
    """Gradient of the resized logits (N, K): sum(q) p - q, q the weighted target. Overwrites the log-probabilities."""
    weight = options.class_weight
    gradient = logs.exp_()
    weight_sum = logs.shape[1] if weight is None else weight.sum()
    gradient *= (true_weight + even_weight * weight_sum)[:, None]
    if options.label_smoothing:
        gradient -= even_weight[:, None] if weight is None else even_weight[:, None] * weight
    # Index assignment, one element per pixel: torch has a deterministic kernel on every device, but not for scatter.
    element = (torch.arange(len(label), device=label.device), label)
    gradient[element] = gradient[element] - true_weight
    return gradient

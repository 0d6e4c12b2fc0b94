"""Losses of logits that are smaller than the mask, without keeping them in its size.

A decoder's logits have a quarter of the image's side. Resized to it, a batch of 16 crops of 512 x 512 with 150 classes
takes 2.5 GB in float32, and the usual way holds that several times over. Here a few images at a time are resized,
reduced to their loss and to the gradient of the small logits, and forgotten. The gradient is exact. The idea is that of
Liger Kernel's fused linear cross entropy (arXiv 2410.10989), which does so with the classifier of language models.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

FLOATS_A_REGISTER = 16  # AVX-512
VALUES_AT_ONCE = 2**25  # how many values are held in the mask's size at a time, one image at least


def resize_logits(logits: Tensor, mask: Tensor, align_corners: bool) -> Tensor:
    """Logits (B, K, h, w) -> (B, K, H, W), bilinear, in float32 at least; mask (B, H, W)."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if logits.shape[2:] == mask.shape[1:]:
        return logits
    return F.interpolate(logits, size=mask.shape[1:], mode="bilinear", align_corners=align_corners)


@dataclass(frozen=True, slots=True)
class CrossEntropyOptions:
    """Of the cross entropy of a pixel, as ``F.cross_entropy(..., reduction="none")`` has them.

    Attributes:
        ignore_index: mask value that does not count: its pixels have cross entropy 0.
        align_corners: of the resizing.
        class_weight: (K,), a factor on the pixels of each class.
        label_smoothing: share of the truth that is spread evenly over all classes.
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
    """Sum over the pixels of ``pixel_weight * function(cross entropy)``: a scalar, float32 at least.

    Args:
        logits: (B, K, h, w), resized bilinearly to the mask's size.
        mask: (B, H, W), integer.
        pixel_weight: (B, H, W), which gets no gradient; None: 1.
        function: of each pixel's value alone, 0 at 0; None: the identity.
    """
    total: Tensor = _CrossEntropySum.apply(  # type: ignore[no-untyped-call]
        logits, mask, options, pixel_weight, function
    )
    return total


@torch.no_grad()
def cross_entropy_map(logits: Tensor, mask: Tensor, options: CrossEntropyOptions) -> Tensor:
    """Cross entropy of each pixel (B, H, W), arguments as above, without a gradient."""
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
            value, slope = _value_and_slope(losses, weight, function)
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
    """A few images at a time."""
    count = max(1, VALUES_AT_ONCE // (logits.shape[1] * mask[0].numel()))
    for start in range(0, len(mask), count):
        part = slice(start, start + count)
        yield logits[part], mask[part], None if pixel_weight is None else pixel_weight[part].reshape(-1)


def _channels_last(logits: Tensor) -> Tensor:
    """The same values with those of a pixel side by side: a softmax over them needs no copy then."""
    return logits.contiguous(memory_format=torch.channels_last)


def _pixel_rows(logits: Tensor) -> Tensor:
    """(B, K, H, W) -> (N, K)."""
    return logits.permute(0, 2, 3, 1).reshape(-1, logits.shape[1])


def _log_probabilities(logits: Tensor) -> Tensor:
    """Their log-softmax, (N, K) -> (N, K).

    torch's own goes value by value on a CPU where a pixel's do not fill a vector register: three times as long.
    """
    if logits.device.type == "cpu" and logits.shape[1] < FLOATS_A_REGISTER:
        shifted = logits - logits.amax(1, keepdim=True)
        return shifted.sub_(shifted.exp().sum(1, keepdim=True).log_())
    return logits.log_softmax(1)


def _truth(mask: Tensor, like: Tensor, options: CrossEntropyOptions) -> tuple[Tensor, Tensor, Tensor]:
    """Of each pixel (N,): its class (0 where ignored), the weight of that, and the weight of all classes alike."""
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
    """Log-probabilities (N, K) -> cross entropy of each pixel (N,)."""
    losses = -true_weight * logs.gather(1, label[:, None])[:, 0]
    if options.label_smoothing:
        weight = options.class_weight
        losses -= even_weight * (logs.sum(1) if weight is None else logs @ weight.to(logs.dtype))
    return losses


def _value_and_slope(
    losses: Tensor, weight: Tensor | None, function: Callable[[Tensor], Tensor] | None
) -> tuple[Tensor, Tensor]:
    """The weighted sum of a function of the losses (N,), and its gradient (N,)."""
    if weight is None:
        weight = torch.ones_like(losses)
    if function is None:
        return (weight * losses).sum(), weight
    with torch.enable_grad():
        losses = losses.detach().requires_grad_()
        value = (weight * function(losses)).sum()
    return value.detach(), torch.autograd.grad(value, losses)[0]


def _gradient(
    logs: Tensor, label: Tensor, true_weight: Tensor, even_weight: Tensor, options: CrossEntropyOptions
) -> Tensor:
    """Of the resized logits (N, K), in the place of their log-probabilities: sum(q) p - q, q the weighted truth."""
    weight = options.class_weight
    gradient = logs.exp_()
    weight_sum = logs.shape[1] if weight is None else weight.sum()
    gradient *= (true_weight + even_weight * weight_sum)[:, None]
    if options.label_smoothing:
        gradient -= even_weight[:, None] if weight is None else even_weight[:, None] * weight
    # One place a pixel: put, for which torch has a deterministic way on every device, as it has not for scatter.
    place = (torch.arange(len(label), device=label.device), label)
    gradient[place] = gradient[place] - true_weight
    return gradient

"""Losses: logits and masks in, a scalar out. All honour `ignore_index` and are finite when every pixel is ignored."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CrossEntropy(nn.Module):
    """Cross entropy, the mean over the pixels that count; 0 with zero gradient when none does.

    Args:
        ignore_index: mask value that does not count.
    """

    def __init__(self, ignore_index: int) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Logits (B, K, H, W), float, and mask (B, H, W), integer -> scalar, float32."""
        # Flattened: the two-dimensional kernel is not deterministic on CUDA.
        flat = logits.float().permute(0, 2, 3, 1).reshape(-1, logits.shape[1])
        target = mask.reshape(-1).long()
        total = F.cross_entropy(flat, target, ignore_index=self.ignore_index, reduction="sum")
        return total / torch.count_nonzero(target != self.ignore_index).clamp(min=1)


LOSSES: dict[str, Callable[..., nn.Module]] = {
    "cross_entropy": CrossEntropy,
}

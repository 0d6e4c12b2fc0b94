"""UPerNet: "Unified Perceptual Parsing for Scene Understanding", 2018, arXiv 1807.10221.

Pyramid pooling (PSPNet, arXiv 1612.01105) of the last features, and a feature pyramid (FPN, arXiv 1612.03144) over all
features. Layout and defaults are those of mmsegmentation's UPerHead. It suits backbones of output stride 32, such as
ConvNeXt and Swin: the features of every stage contribute.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segnet.errors import ConfigError
from segnet.models.layers import ConvNormAct, check_width, initialize
from segnet.models.norms import NormFactory, norm_layer, pooled_norm

MAX_SCALE = 64  # limit on a grid's side, against absurd values in damaged checkpoints


class UPerNet(nn.Module):
    """UPerNet decoder; see `segnet.models.decoders` for the contract. It takes a backbone of any output stride.

    Args:
        decoder_channels: width of all its layers.
        pool_scales: sides of the grids of pyramid pooling [cells].
        dropout: dropout probability before the classifier.
        align_corners: align_corners of all bilinear resizing.
        norm: spec from `segnet.models.norms.NORMS`; None is batch norm.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        *,
        decoder_channels: int = 512,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
        align_corners: bool = False,
        norm: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_width("decoder_channels", decoder_channels)
        if not pool_scales or not all(isinstance(scale, int) and 1 <= scale <= MAX_SCALE for scale in pool_scales):
            raise ConfigError(f"decoder.pool_scales={list(pool_scales)} must be sides of grids, each 1-{MAX_SCALE}")
        if not 0 <= dropout < 1:
            raise ConfigError(f"decoder.dropout={dropout} must be a probability in [0, 1)")
        self.align_corners = align_corners
        make_norm = norm_layer(norm)
        conv = partial(ConvNormAct, norm=make_norm)
        self.pyramid = nn.ModuleList(
            GridPooling(channels[-1], decoder_channels, scale, norm=make_norm) for scale in pool_scales
        )
        self.top = conv(channels[-1] + len(pool_scales) * decoder_channels, decoder_channels, 3)
        self.laterals = nn.ModuleList(conv(width, decoder_channels, 1) for width in channels[:-1])
        self.smooth = nn.ModuleList(conv(decoder_channels, decoder_channels, 3) for _ in channels[:-1])
        self.fuse = conv(len(channels) * decoder_channels, decoder_channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(decoder_channels, num_classes, 1)
        initialize(self)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Compute logits at the first stage's stride from the backbone's features."""
        last = features[-1]
        pooled = [self._resize(branch(last), last) for branch in self.pyramid]
        levels: list[Tensor] = [self.top(torch.cat([last, *pooled], dim=1))]
        for lateral, feature in zip(reversed(self.laterals), reversed(features[:-1]), strict=True):
            levels.insert(0, lateral(feature) + self._resize(levels[0], feature))
        smooth = [layer(level) for layer, level in zip(self.smooth, levels[:-1], strict=True)]
        same_size = [self._resize(level, levels[0]) for level in (*smooth, levels[-1])]
        logits: Tensor = self.classifier(self.dropout(self.fuse(torch.cat(same_size, dim=1))))
        return logits

    def _resize(self, x: Tensor, target: Tensor) -> Tensor:
        return F.interpolate(x, size=target.shape[2:], mode="bilinear", align_corners=self.align_corners)


class GridPooling(nn.Module):
    """Means over the cells of a grid of scale x scale, then a 1x1 convolution, norm and ReLU.

    The cells are those of adaptive average pooling. The means are matrix products, because adaptive pooling has no
    deterministic backward pass on CUDA and no counterpart in ONNX for images of any size.
    """

    def __init__(self, in_channels: int, out_channels: int, scale: int, *, norm: NormFactory = nn.BatchNorm2d) -> None:
        super().__init__()
        self.scale = scale
        self.project = ConvNormAct(in_channels, out_channels, 1, norm=norm)
        if scale == 1:
            self.project.norm = pooled_norm(self.project.norm, out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """Pool features (B, C, H, W) to (B, out_channels, scale, scale)."""
        rows, columns = (_means(size, self.scale, features) for size in features.shape[2:])
        output: Tensor = self.project(rows @ features @ columns.T)
        return output


def _means(size: int, cells: int, like: Tensor) -> Tensor:
    """Return the matrix (cells, size) that averages the positions of each cell; dtype and device of `like`."""
    cell = torch.arange(cells, device=like.device)[:, None]
    position = torch.arange(size, device=like.device)
    # Cell i has the positions from floor(i * size / cells) to ceil((i + 1) * size / cells), without the last.
    inside = ((position + 1) * cells > cell * size) & (position * cells < (cell + 1) * size)
    weights = inside.to(like.dtype)
    return weights / weights.sum(dim=1, keepdim=True)

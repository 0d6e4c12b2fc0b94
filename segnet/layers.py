"""Layers that two or more families use; what one family needs stays in its own file."""

import torch
from torch import Tensor, nn


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, ReLU; padded so that at stride 1 the size stays.

    Args:
        stride, dilation: of the convolution [pixels].
        groups: `in_channels` for a depthwise convolution.
        act: whether the ReLU follows.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        act: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(out_channels)
        if act:
            self.act = nn.ReLU(inplace=True)


class SeparableConv(nn.Sequential):
    """Depthwise 3x3 convolution and norm, then a pointwise ConvNormAct; no ReLU between (arXiv 1610.02357)."""

    def __init__(self, in_channels: int, out_channels: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.depthwise = ConvNormAct(in_channels, in_channels, 3, dilation=dilation, groups=in_channels, act=False)
        self.pointwise = ConvNormAct(in_channels, out_channels, 1)


class PooledBatchNorm(nn.BatchNorm2d):
    """Batch norm over globally pooled features that also trains on a batch of one image.

    One image gives one value a channel, from which no variance can be estimated: torch refuses it. Such a batch is
    normalised with the running statistics and leaves them as they are. Conversion to SyncBatchNorm replaces this class.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.shape[0] == 1:
            return nn.functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(input)


class ImagePooling(nn.Module):
    """Image-level features (ParseNet, arXiv 1506.04579; DeepLabV3): mean over the image, 1x1 convolution, broadcast."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.project = ConvNormAct(in_channels, out_channels, 1)
        self.project.norm = PooledBatchNorm(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out_channels, H, W), constant over the image."""
        # A mean: the backward of an adaptive average pool is not deterministic on CUDA.
        pooled = self.project(features.mean(dim=(2, 3), keepdim=True))
        return pooled.expand(-1, -1, *features.shape[2:])


@torch.no_grad()
def initialise(module: nn.Module) -> None:
    """He initialisation (arXiv 1502.01852, fan in) of all convolutions below `module`; norms start as the identity."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

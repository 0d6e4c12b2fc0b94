"""DeepLabs of other projects, reimplemented from their constructors with the same parameter names.

Sources: PaddleSeg's paddleseg/models/deeplab.py, models/layers/pyramid_pool.py and layer_libs.py.
"""

import torch
from foreign_resnets import PaddleNorm
from torch import nn
from torch.nn import functional as F


class ConvBNReLU(nn.Module):
    """PaddleSeg's: its convolutions have a bias."""

    def __init__(self, before, after, size, dilation=1, groups=1, *, act=True, bias=True):
        super().__init__()
        padding = dilation * (size // 2)
        self._conv = nn.Conv2d(before, after, size, 1, padding, dilation, groups, bias)
        self._batch_norm = PaddleNorm(after)
        self.act = act

    def forward(self, x):
        x = self._batch_norm(self._conv(x))
        return x.relu() if self.act else x


class SeparableConvBNReLU(nn.Module):
    def __init__(self, before, after, size, dilation=1):
        super().__init__()
        self.depthwise_conv = ConvBNReLU(before, before, size, dilation, before, act=False)
        self.piontwise_conv = ConvBNReLU(before, after, 1)

    def forward(self, x):
        return self.piontwise_conv(self.depthwise_conv(x))


class ASPPModule(nn.Module):
    def __init__(self, ratios, before, after, separable):
        super().__init__()
        self.aspp_blocks = nn.ModuleList(
            ConvBNReLU(before, after, 1)
            if ratio == 1
            else (SeparableConvBNReLU if separable else ConvBNReLU)(before, after, 3, ratio)
            for ratio in ratios
        )
        self.global_avg_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvBNReLU(before, after, 1, bias=False))
        self.conv_bn_relu = ConvBNReLU(after * (len(ratios) + 1), after, 1)

    def forward(self, x):
        pooled = self.global_avg_pool(x).expand(-1, -1, *x.shape[2:])
        return self.conv_bn_relu(torch.cat([*(block(x) for block in self.aspp_blocks), pooled], dim=1))


class DeepLab(nn.Module):
    """PaddleSeg's DeepLabV3P (`plus`) and DeepLabV3."""

    def __init__(self, backbone, channels, plus, num_classes=19, width=256, low=48, ratios=(1, 3, 6, 9)):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Module()
        self.head.aspp = ASPPModule(ratios, channels[-1], width, separable=plus)
        if plus:
            self.head.decoder = nn.Module()
            self.head.decoder.conv_bn_relu1 = ConvBNReLU(channels[0], low, 1)
            self.head.decoder.conv_bn_relu2 = SeparableConvBNReLU(width + low, width, 3)
            self.head.decoder.conv_bn_relu3 = SeparableConvBNReLU(width, width, 3)
            self.head.decoder.conv = nn.Conv2d(width, num_classes, 1)
        else:
            self.head.cls = nn.Conv2d(width, num_classes, 1)

    def forward(self, images):
        features = self.backbone(images)
        x = self.head.aspp(features[-1])
        if hasattr(self.head, "cls"):
            x = self.head.cls(x)
        else:
            decoder = self.head.decoder
            low = decoder.conv_bn_relu1(features[0])
            x = torch.cat([F.interpolate(x, low.shape[2:], mode="bilinear"), low], dim=1)
            x = decoder.conv(decoder.conv_bn_relu3(decoder.conv_bn_relu2(x)))
        return F.interpolate(x, images.shape[2:], mode="bilinear")

"""A reference for converted models: mmsegmentation's DeepLabV3 and DeepLabV3+, reimplemented with its names.

Sources: mmseg/models/backbones/resnet.py, mmseg/models/utils/res_layer.py, mmseg/models/decode_heads/aspp_head.py and
sep_aspp_head.py, mmcv/cnn/bricks/depthwise_separable_conv_module.py. Narrow, so that tests are quick.
"""

import torch
from torch import nn
from torch.nn import functional as F


class ConvModule(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, dilation=1, groups=1):
        super().__init__()
        padding = dilation * (kernel_size // 2)
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=padding, dilation=dilation, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class DepthwiseSeparableConvModule(nn.Module):
    def __init__(self, in_channels, out_channels, dilation=1):
        super().__init__()
        self.depthwise_conv = ConvModule(in_channels, in_channels, 3, dilation, groups=in_channels)
        self.pointwise_conv = ConvModule(in_channels, out_channels, 1)

    def forward(self, x):
        return self.pointwise_conv(self.depthwise_conv(x))


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, in_channels, planes, stride, dilation, downsample):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, planes, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, in_channels, planes, stride, dilation, downsample):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = downsample

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(out)))))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


def res_layer(block, in_channels, planes, num_blocks, stride, dilation, avg_down, multi_grid):
    downsample = None
    if stride != 1 or in_channels != planes * block.expansion:
        pool = [nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)] if avg_down else []
        conv = nn.Conv2d(in_channels, planes * block.expansion, 1, 1 if avg_down else stride, bias=False)
        downsample = nn.Sequential(*pool, conv, nn.BatchNorm2d(planes * block.expansion))
    # contract_dilation=True
    dilations = multi_grid or [dilation // 2 if dilation > 1 else dilation, *[dilation] * (num_blocks - 1)]
    layers = [block(in_channels, planes, stride, dilations[0], downsample)]
    for index in range(1, num_blocks):
        layers.append(block(planes * block.expansion, planes, 1, dilations[index], None))
    return nn.Sequential(*layers)


class ResNetV1c(nn.Module):
    """V1d with `avg_down`; d8 or d16."""

    def __init__(self, block, depths, output_stride, avg_down, width, multi_grid):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width // 2, 3, 2, 1, bias=False),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(),
            nn.Conv2d(width // 2, width // 2, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(),
            nn.Conv2d(width // 2, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        strides, dilations = {8: ((1, 2, 1, 1), (1, 1, 2, 4)), 16: ((1, 2, 2, 1), (1, 1, 1, 2))}[output_stride]
        in_channels = width
        for index, (stride, dilation) in enumerate(zip(strides, dilations, strict=True)):
            planes = width * 2**index
            grid = multi_grid if index == 3 else None
            layer = res_layer(block, in_channels, planes, depths[index], stride, dilation, avg_down, grid)
            self.add_module(f"layer{index + 1}", layer)
            in_channels = planes * block.expansion

    def forward(self, x):
        x = F.max_pool2d(self.stem(x), 3, 2, 1)
        features = []
        for index in range(1, 5):
            x = getattr(self, f"layer{index}")(x)
            features.append(x)
        return features


class ASPPHead(nn.Module):
    """DeepLabV3's; with `c1_channels` that of DeepLabV3+, whose convolutions are depthwise-separable."""

    def __init__(self, in_channels, channels, num_classes, output_stride, c1_in_channels=0, c1_channels=0):
        super().__init__()
        dilations = {8: (1, 12, 24, 36), 16: (1, 6, 12, 18)}[output_stride]
        self.image_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvModule(in_channels, channels, 1))
        self.aspp_modules = nn.ModuleList()
        for dilation in dilations:
            if dilation == 1:
                module = ConvModule(in_channels, channels, 1)
            elif c1_channels:
                module = DepthwiseSeparableConvModule(in_channels, channels, dilation)
            else:
                module = ConvModule(in_channels, channels, 3, dilation)
            self.aspp_modules.append(module)
        self.bottleneck = ConvModule(5 * channels, channels, 3)
        if c1_channels:
            self.c1_bottleneck = ConvModule(c1_in_channels, c1_channels, 1)
            self.sep_bottleneck = nn.Sequential(
                DepthwiseSeparableConvModule(channels + c1_channels, channels),
                DepthwiseSeparableConvModule(channels, channels),
            )
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features):
        x = features[-1]
        pooled = F.interpolate(self.image_pool(x), x.shape[2:], mode="bilinear", align_corners=False)
        out = self.bottleneck(torch.cat([pooled, *(module(x) for module in self.aspp_modules)], dim=1))
        if hasattr(self, "c1_bottleneck"):
            low = self.c1_bottleneck(features[0])
            out = F.interpolate(out, low.shape[2:], mode="bilinear", align_corners=False)
            out = self.sep_bottleneck(torch.cat([out, low], dim=1))
        return self.conv_seg(out)


class FCNHead(nn.Module):
    """The auxiliary head, which only training uses."""

    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.convs = nn.Sequential(ConvModule(in_channels, 8, 3))
        self.conv_seg = nn.Conv2d(8, num_classes, 1)


class EncoderDecoder(nn.Module):
    """What mmsegmentation trains, with random weights and running statistics."""

    def __init__(
        self, *, block, depths, output_stride=8, avg_down=False, multi_grid=None, plus=True, num_classes=19, width=16
    ):
        super().__init__()
        self.backbone = ResNetV1c(block, depths, output_stride, avg_down, width, multi_grid)
        channels = [width * 2**index * block.expansion for index in range(4)]
        low = (channels[0], 6) if plus else (0, 0)
        self.decode_head = ASPPHead(channels[-1], 24, num_classes, output_stride, *low)
        self.auxiliary_head = FCNHead(channels[2], num_classes)
        generator = torch.Generator().manual_seed(0)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
                nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
                nn.init.normal_(module.bias, 0, 0.1, generator=generator)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, generator=generator)

    def forward(self, images):
        """Normalized images -> logits of their size."""
        logits = self.decode_head(self.backbone(images))
        return F.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=False)

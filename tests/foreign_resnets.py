"""ResNets of other projects, reimplemented from their constructors with the same parameter names.

Sources: timm/models/resnet.py; torchvision/models/resnet.py; mmseg/models/backbones/resnet.py and
mmseg/models/utils/res_layer.py; mmpretrain/models/backbones/resnet.py; PaddleSeg's paddleseg/models/backbones/
resnet_vd.py; PaddleClas's ppcls/modeling/
architectures/resnet.py (the first generation of names), ppcls/arch/backbone/legendary_models/resnet.py (the second) and
model_zoo/resnext.py. All at output stride 32; as wide as they are published, or narrow so that tests are quick.
"""

import torch
from torch import nn
from torch.nn import functional as F

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def conv(in_channels, out_channels, size, stride=1, groups=1):
    return nn.Conv2d(in_channels, out_channels, size, stride, size // 2, groups=groups, bias=False)


def average_pool(stride):
    return nn.AvgPool2d(2 if stride > 1 else 1, stride, ceil_mode=True, count_include_pad=False)


class TorchBlock(nn.Module):
    """BasicBlock and Bottleneck of timm, torchvision and mmsegmentation alike."""

    def __init__(self, basic, in_channels, planes, stride, downsample, groups, base_width):
        super().__init__()
        width = planes if basic else int(planes * base_width / 64) * groups
        layout = (
            [(in_channels, planes, 3, stride, 1), (planes, planes, 3, 1, 1)]
            if basic
            else [(in_channels, width, 1, 1, 1), (width, width, 3, stride, groups), (width, 4 * planes, 1, 1, 1)]
        )
        for number, (before, after, size, stride_of, groups_of) in enumerate(layout, 1):
            self.add_module(f"conv{number}", conv(before, after, size, stride_of, groups_of))
            self.add_module(f"bn{number}", nn.BatchNorm2d(after))
        self.count = len(layout)
        self.downsample = downsample

    def forward(self, x):
        out = x
        for number in range(1, self.count + 1):
            out = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(out))
            out = out.relu() if number < self.count else out
        return (out + (x if self.downsample is None else self.downsample(x))).relu()


def conv_downsample(before, after, stride):
    """torchvision's, timm's downsample_conv, ResNetV1c's."""
    return nn.Sequential(conv(before, after, 1, stride), nn.BatchNorm2d(after))


def timm_downsample(before, after, stride):
    """timm's downsample_avg: where nothing strides, an Identity stands for the pool."""
    pool = average_pool(stride) if stride > 1 else nn.Identity()
    return nn.Sequential(pool, conv(before, after, 1), nn.BatchNorm2d(after))


def mmseg_downsample(before, after, stride):
    """ResLayer of mmsegmentation with avg_down: always a pool, of size 1 where nothing strides."""
    return nn.Sequential(average_pool(stride), conv(before, after, 1), nn.BatchNorm2d(after))


def mmpretrain_downsample(before, after, stride):
    """ResLayer of mmpretrain with avg_down: a pool only where something strides."""
    pool = [average_pool(stride)] if stride != 1 else []
    return nn.Sequential(*pool, conv(before, after, 1), nn.BatchNorm2d(after))


class TorchResNet(nn.Module):
    """The classifier of timm, torchvision or mmsegmentation's ImageNet weights.

    Args:
        stem: "plain" (conv1, bn1), "timm" (conv1.0-6, bn1: stem_type='deep') or "mm" (stem.0-8: deep_stem=True).
        fc: whether the linear layer follows.
    """

    def __init__(self, basic, depths, stem, downsample, base=64, groups=1, base_width=64, fc=True, num_classes=1000):
        super().__init__()
        half, relu = base // 2, nn.ReLU()
        three = [
            *(conv(3, half, 3, 2), nn.BatchNorm2d(half), relu),
            *(conv(half, half, 3), nn.BatchNorm2d(half), relu),
            conv(half, base, 3),
        ]
        if stem == "mm":
            self.stem = nn.Sequential(*three, nn.BatchNorm2d(base), relu)
        else:
            self.conv1 = nn.Sequential(*three) if stem == "timm" else conv(3, base, 7, 2)
            self.bn1 = nn.BatchNorm2d(base)
        before = base
        for index, depth in enumerate(depths):
            planes = base * 2**index
            after, stride = planes * (1 if basic else 4), 1 if index == 0 else 2
            blocks = []
            for block in range(depth):
                first = block == 0
                makes = first and (stride != 1 or before != after)
                down = downsample(before, after, stride) if makes else None
                of_block = stride if first else 1
                blocks.append(TorchBlock(basic, before, planes, of_block, down, groups, base_width))
                before = after
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
        if fc:
            self.fc = nn.Linear(before, num_classes)

    def forward(self, x):
        x = self.stem(x) if hasattr(self, "stem") else self.bn1(self.conv1(x)).relu()
        x = F.max_pool2d(x, 3, 2, 1)
        features = []
        for index in range(1, 5):
            x = getattr(self, f"layer{index}")(x)
            features.append(x)
        return features


class ImageClassifier(nn.Module):
    """mmpretrain's: the names of its files begin with "backbone." and "head."."""

    def __init__(self, backbone, channels, num_classes=1000):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Module()
        self.head.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        return self.backbone(x)


class PaddleNorm(nn.Module):
    """Batch norm as Paddle names its parts; no counter."""

    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("_mean", torch.zeros(channels))
        self.register_buffer("_variance", torch.ones(channels))

    def forward(self, x):
        return F.batch_norm(x, self._mean, self._variance, self.weight, self.bias, eps=1e-5)


class PaddleLinear(nn.Module):
    """Paddle's weight is (in, out)."""

    def __init__(self, before, after):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(before, after)), nn.Parameter(torch.zeros(after))


class PaddleConvNorm(nn.Module):
    """ConvBNLayer: `_conv` and `_batch_norm` in PaddleSeg and the first PaddleClas, `conv` and `bn` in the second."""

    def __init__(self, new, before, after, size, stride=1, groups=1, *, pool=False, act=True):
        super().__init__()
        self.pool, self.act = average_pool(stride) if pool else None, act
        self.of_conv, self.of_norm = ("conv", "bn") if new else ("_conv", "_batch_norm")
        self.add_module(self.of_conv, conv(before, after, size, 1 if pool else stride, groups))
        self.add_module(self.of_norm, PaddleNorm(after))

    def forward(self, x):
        x = x if self.pool is None else self.pool(x)
        x = getattr(self, self.of_norm)(getattr(self, self.of_conv)(x))
        return x.relu() if self.act else x


class PaddleBlock(nn.Module):
    def __init__(self, new, basic, before, planes, stride, shortcut, pool, groups, width):
        super().__init__()
        after = planes * (1 if basic else 4)
        if basic:
            self.conv0 = PaddleConvNorm(new, before, planes, 3, stride)
            self.conv1 = PaddleConvNorm(new, planes, planes, 3, act=False)
        else:
            self.conv0 = PaddleConvNorm(new, before, width, 1)
            self.conv1 = PaddleConvNorm(new, width, width, 3, stride, groups)
            self.conv2 = PaddleConvNorm(new, width, after, 1, act=False)
        if not shortcut:
            self.short = PaddleConvNorm(new, before, after, 1, stride, pool=pool, act=False)

    def forward(self, x):
        out = self.conv1(self.conv0(x))
        out = self.conv2(out) if hasattr(self, "conv2") else out
        return (out + (self.short(x) if hasattr(self, "short") else x)).relu()


def letters(stage, block, long):
    """conv_name of PaddleClas: res2a, res2b, ...; in the long stage of 101 layers and more res4a, res4b1, res4b2."""
    if long and stage == 2:
        return f"res{stage + 2}a" if block == 0 else f"res{stage + 2}b{block}"
    return f"res{stage + 2}{chr(97 + block)}"


class PaddleResNet(nn.Module):
    """PaddleSeg's ResNet_vd and PaddleClas's of both generations.

    Args:
        names: "bb" (PaddleSeg; PaddleClas's first vd and ResNeXt), "res" (PaddleClas's first plain) or "blocks" (its
            second).
        vd: deep stem and pools in the shortcuts.
        head: name of the linear layer; PaddleSeg has none.
    """

    def __init__(self, basic, depths, names, vd, head=None, base=64, groups=1, width=1, num_classes=1000):
        super().__init__()
        new, half = names == "blocks", base // 2
        stem = [(3, half, 3, 2), (half, half, 3, 1), (half, base, 3, 1)] if vd else [(3, base, 7, 2)]
        convs = [PaddleConvNorm(new, *layout) for layout in stem]
        if new:
            self.stem = nn.Sequential(*convs)
        else:
            for number, layer in enumerate(convs, 1):
                self.add_module(f"conv1_{number}" if vd else "conv", layer)
        before, flat, self.order = base, 0, []
        blocks = []
        for stage, depth in enumerate(depths):
            planes = base * 2**stage
            for block in range(depth):
                first = block == 0
                stride = 2 if first and stage > 0 else 1
                pool = vd and not (stage == 0 and first)
                made = PaddleBlock(new, basic, before, planes, stride, not first, pool, groups, planes * width)
                blocks.append(made)
                if not new:
                    long = not basic and depths[2] > 6
                    self.add_module(f"bb_{stage}_{block}" if names == "bb" else letters(stage, block, long), made)
                before, flat = planes * (1 if basic else 4), flat + 1
            self.order.append(flat)
        if new:
            self.blocks = nn.Sequential(*blocks)
        self.sequence = [(made,) for made in blocks]  # tuples: torch must not name them again
        self.stem_sequence = [(layer,) for layer in convs]
        if head:
            self.add_module(head, PaddleLinear(before, num_classes))

    def forward(self, x):
        for (layer,) in self.stem_sequence:
            x = layer(x)
        x = F.max_pool2d(x, 3, 2, 1)
        features = []
        for number, (block,) in enumerate(self.sequence, 1):
            x = block(x)
            if number in self.order:
                features.append(x)
        return features


@torch.no_grad()
def randomize(model, seed=0):
    """Random weights that keep the size of what they are given, with running statistics and biases off their start."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if name.endswith(("running_var", "_variance")) or (name.endswith("weight") and value.ndim == 1):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.is_floating_point():
            fan_in = value[0].numel() if value.ndim == 4 else 100
            value.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
    return model.eval()

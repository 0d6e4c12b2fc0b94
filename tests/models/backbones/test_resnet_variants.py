"""The variants in conf/backbone: published sizes, the contract, and an independent forward pass."""

from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from segnet.models.backbones.resnet import ResNet

CONF = Path(__file__).resolve().parents[3] / "conf" / "backbone"
VARIANTS = sorted(path.stem for path in CONF.glob("resne*.yaml"))
STRIDES = {8: (4, 8, 8, 8), 16: (4, 8, 16, 16), 32: (4, 8, 16, 32)}
# with a linear classifier of 1000 classes, as torchvision publishes them
PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
}


def variant(name: str, output_stride: int, **changes) -> ResNet:
    """Build a variant from its yaml on the meta device."""
    spec = yaml.safe_load((CONF / f"{name}.yaml").read_text())["backbone"]
    assert spec.pop("name") == "resnet"
    with torch.device("meta"):
        return ResNet(**{**spec, "output_stride": output_stride, "norm": None, **changes})


def num_weights(name: str) -> int:
    return sum(p.numel() for p in variant(name, 32).parameters())


def test_every_variant_has_a_config():
    depths = ("18", "34", "50", "101", "152")
    assert set(VARIANTS) == {
        *(f"resnet{depth}{suffix}" for depth in depths for suffix in ("", "_v1c", "_vd")),
        "resnet200_vd",
        *("resnext50_32x4d", "resnext101_32x8d", "resnext50_vd_32x4d", "resnext101_vd_32x4d"),
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts_match_the_published_ones(name):
    channels = variant(name, 32).channels[-1]
    assert num_weights(name) + 1000 * channels + 1000 == PUBLISHED[name]


@pytest.mark.parametrize("depth", ["18", "34", "50", "101", "152"])
def test_v1c_differs_in_the_stem_and_vd_also_in_the_shortcuts(depth):
    deep_stem = 3 * 32 * 9 + 32 * 32 * 9 + 32 * 64 * 9 + 2 * (32 + 32 + 64)
    plain_stem = 3 * 64 * 49 + 2 * 64
    assert num_weights(f"resnet{depth}_v1c") - num_weights(f"resnet{depth}") == deep_stem - plain_stem
    of_vd = {name: value.shape for name, value in variant(f"resnet{depth}_vd", 16).state_dict().items()}
    of_v1c = {name: value.shape for name, value in variant(f"resnet{depth}_v1c", 16).state_dict().items()}
    more = {name for name in of_vd if name.startswith("stages.0.0.shortcut.")} if int(depth) <= 34 else set()
    assert of_vd.keys() - of_v1c.keys() == more
    assert of_v1c.items() <= of_vd.items()


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("output_stride", STRIDES)
def test_every_variant_fulfills_the_contract_at_every_output_stride(name, output_stride):
    model = variant(name, output_stride, multi_grid=[1, 2, 4]).eval()
    assert model.strides == STRIDES[output_stride]
    for height, width in ((1, 1), (33, 97), (64, 31)):
        features = model(torch.zeros(1, 3, height, width, device="meta"))
        assert [tuple(feature.shape) for feature in features] == [
            (1, channels, -(-height // stride), -(-width // stride))
            for channels, stride in zip(model.channels, model.strides, strict=True)
        ]


@pytest.mark.parametrize("norm", ["sync_batch", "group", "layer", "instance"])
@pytest.mark.parametrize("name", ["resnet18", "resnet50_vd", "resnext50_32x4d"])
def test_every_norm_predicts_small_images(name, norm):
    model = variant(name, 16, norm={"name": norm}, base_channels=8, stem_channels=8, base_width=64, groups=1).eval()
    model = model.to_empty(device="cpu")
    for value in model.state_dict().values():
        value.fill_(0.1)
    for size in ((1, 1), (17, 5)):
        assert all(feature.isfinite().all() for feature in model(torch.ones(1, 3, *size)))


class Reference:
    """Reference ResNets of torchvision and mmsegmentation as functions of segnet's state dict.

    Strides, dilations and projections are given per block, not derived.
    """

    def __init__(self, state: dict[str, Tensor], groups: int = 1) -> None:
        self.state = state
        self.groups = groups

    def conv_norm(self, x: Tensor, name: str, stride: int = 1, dilation: int = 1, groups: int = 1) -> Tensor:
        weight = self.state[f"{name}.conv.weight"]
        x = F.conv2d(x, weight, None, stride, dilation * (weight.shape[-1] // 2), dilation, groups)
        stored = [self.state[f"{name}.norm.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *stored)

    def shortcut(self, x: Tensor, name: str, kind: str | None, stride: int) -> Tensor:
        if kind is None:
            return x
        if kind == "pool" and stride > 1:
            return self.conv_norm(F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False), f"{name}.project")
        return self.conv_norm(x, f"{name}.project", stride)

    def __call__(self, x: Tensor, layout: dict) -> list[Tensor]:
        if layout["stem"] == "conv7x7":
            x = self.conv_norm(x, "stem.0", 2).relu()
        else:
            x = self.conv_norm(x, "stem.0", 2).relu()
            x = self.conv_norm(x, "stem.1").relu()
            x = self.conv_norm(x, "stem.2").relu()
        x = F.max_pool2d(x, 3, 2, 1)
        features = []
        for stage, blocks in enumerate(layout["stages"]):
            for number, (strides, dilations, kind) in enumerate(blocks):
                name, out = f"stages.{stage}.{number}", x
                for index, (stride, dilation) in enumerate(zip(strides, dilations, strict=True)):
                    groups = self.groups if (len(strides), index) == (3, 1) else 1
                    out = self.conv_norm(out, f"{name}.conv{index + 1}", stride, dilation, groups)
                    out = out.relu() if index < len(strides) - 1 else out
                stride = strides[0] * strides[1]
                x = (out + self.shortcut(x, f"{name}.shortcut", kind, stride)).relu()
            features.append(x)
        return features


def bottleneck(stride: int, dilation: int, kind: str | None) -> tuple:
    return (1, stride, 1), (1, dilation, 1), kind


def caffe(stride: int, dilation: int, kind: str | None) -> tuple:
    return (stride, 1, 1), (1, dilation, 1), kind


def basic(stride: int, dilations: tuple[int, int], kind: str | None) -> tuple:
    return (stride, 1), dilations, kind


PLAIN = {"stem": "conv7x7", "shortcut": "conv"}
V1C = {"stem": "deep", "shortcut": "conv"}
# options -> (stride, dilation, shortcut) of every convolution and block, written down by hand
CASES = {
    "plain basic, stride 32": (
        {**PLAIN, "block": "basic", "output_stride": 32},
        [
            [basic(1, (1, 1), None), basic(1, (1, 1), None)],
            *[[basic(2, (1, 1), "conv"), basic(1, (1, 1), None)]] * 3,
        ],
    ),
    "plain bottleneck, stride 16": (
        {**PLAIN, "output_stride": 16},
        [
            [bottleneck(1, 1, "conv"), bottleneck(1, 1, None)],
            *[[bottleneck(2, 1, "conv"), bottleneck(1, 1, None)]] * 2,
            [bottleneck(1, 2, "conv"), bottleneck(1, 2, None)],
        ],
    ),
    "torchvision's dilated bottlenecks, stride 8": (
        {**PLAIN, "output_stride": 8, "contract_dilation": True},
        [
            [bottleneck(1, 1, "conv"), bottleneck(1, 1, None)],
            [bottleneck(2, 1, "conv"), bottleneck(1, 1, None)],
            [bottleneck(1, 1, "conv"), bottleneck(1, 2, None)],
            [bottleneck(1, 2, "conv"), bottleneck(1, 4, None)],
        ],
    ),
    "mmsegmentation's r50-d16-mg124, with rates as its grid": (
        {**V1C, "output_stride": 16, "contract_dilation": True, "multi_grid": [1, 2, 4]},
        [
            [bottleneck(1, 1, "conv"), bottleneck(1, 1, None)],
            *[[bottleneck(2, 1, "conv"), bottleneck(1, 1, None)]] * 2,
            [bottleneck(1, 1, "conv"), bottleneck(1, 2, None)],
        ],
    ),
    "mmsegmentation's r18-d8": (
        {**V1C, "block": "basic", "output_stride": 8, "contract_dilation": True, "basic_dilation": "first"},
        [
            [basic(1, (1, 1), None), basic(1, (1, 1), None)],
            [basic(2, (1, 1), "conv"), basic(1, (1, 1), None)],
            [basic(1, (1, 1), "conv"), basic(1, (2, 1), None)],
            [basic(1, (2, 1), "conv"), basic(1, (4, 1), None)],
        ],
    ),
    "caffe, v1c, stride 16": (
        {**V1C, "style": "caffe", "output_stride": 16},
        [
            [caffe(1, 1, "conv"), caffe(1, 1, None)],
            *[[caffe(2, 1, "conv"), caffe(1, 1, None)]] * 2,
            [caffe(1, 2, "conv"), caffe(1, 2, None)],
        ],
    ),
    "ResNeXt, vd, stride 32": (
        {"output_stride": 32, "groups": 4, "base_width": 16},
        [
            [bottleneck(1, 1, "pool"), bottleneck(1, 1, None)],
            *[[bottleneck(2, 1, "pool"), bottleneck(1, 1, None)]] * 3,
        ],
    ),
    "ResNeXt, plain, stride 8, multi-grid": (
        {**PLAIN, "output_stride": 8, "groups": 2, "base_width": 8, "multi_grid": [2, 1]},
        [
            [bottleneck(1, 1, "conv"), bottleneck(1, 1, None)],
            [bottleneck(2, 1, "conv"), bottleneck(1, 1, None)],
            [bottleneck(1, 2, "conv"), bottleneck(1, 2, None)],
            [bottleneck(1, 8, "conv"), bottleneck(1, 4, None)],
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_features_match_an_independent_forward_pass(case):
    options, stages = CASES[case]
    torch.manual_seed(0)
    model = ResNet((2, 2, 2, 2), base_channels=16, stem_channels=16, in_channels=2, **options).eval()
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif value.ndim == 1:
            value.normal_(1 if name.endswith("norm.weight") else 0, 0.1)
    x = torch.randn(2, 2, 67, 81)
    layout = {"stem": options.get("stem", "deep"), "stages": stages}
    expected = Reference(model.state_dict(), options.get("groups", 1))(x, layout)
    assert len(model.state_dict()) == len(list(model.parameters())) // 3 * 6
    for ours, theirs in zip(model(x), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)

from itertools import pairwise

import pytest
import torch
from torch import nn

from segnet.errors import ConfigError
from segnet.models.backbones.resnet import BasicBlock, Bottleneck, ResNet

DEPTHS = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
    200: ("bottleneck", (3, 12, 48, 3)),
}
STRIDES = {8: (4, 8, 8, 8), 16: (4, 8, 16, 16), 32: (4, 8, 16, 32)}
DILATIONS = {8: (1, 1, 2, 4), 16: (1, 1, 1, 2), 32: (1, 1, 1, 1)}
SIZES = [(1, 1), (1, 7), (15, 17), (33, 97), (64, 96), (65, 97), (224, 31)]


def resnet(layers: int, output_stride: int = 16, **options) -> ResNet:
    """Build on the meta device: shapes and structure without values."""
    block, depths = DEPTHS[layers]
    with torch.device("meta"):
        return ResNet(depths, block, output_stride, **options)


def dilated_convs(block: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in block.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)]


def rates(stage: nn.Module) -> list[int]:
    """Return the dilation of each block; assert that its 3x3 convolutions agree and keep the size."""
    found = []
    for block in stage:
        dilations = {conv.dilation for conv in dilated_convs(block)}
        assert len(dilations) == 1
        assert {conv.padding for conv in dilated_convs(block)} == dilations
        found.append(dilations.pop()[0])
    return found


@pytest.mark.parametrize("layers", DEPTHS)
def test_depth_counts_the_weighted_layers_and_basic_blocks_end_at_34(layers):
    model = resnet(layers)
    per_block, kind = (2, BasicBlock) if layers <= 34 else (3, Bottleneck)
    assert all(type(block) is kind for stage in model.stages for block in stage)
    assert layers == 2 + per_block * sum(len(stage) for stage in model.stages)  # stem and classifier count as one each
    assert model.channels == ((64, 128, 256, 512) if layers <= 34 else (256, 512, 1024, 2048))


def test_resnet50_vd_has_the_parameters_of_resnet50_with_the_deep_stem():
    stem = 3 * 32 * 9 + 32 * 32 * 9 + 32 * 64 * 9 + 2 * (32 + 32 + 64)
    plain_stem = 3 * 64 * 49 + 2 * 64
    plain_resnet50 = 25_557_032 - 1000 * 2049  # as published with torchvision, without its classifier
    assert sum(p.numel() for p in resnet(50).parameters()) == plain_resnet50 - plain_stem + stem


def test_the_deep_stem_is_three_3x3_convolutions_and_a_max_pool():
    stem = resnet(50).stem
    convs = [layer for layer in stem.modules() if isinstance(layer, nn.Conv2d)]
    assert [(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding) for conv in convs] == [
        (3, 32, (3, 3), (2, 2), (1, 1)),
        (32, 32, (3, 3), (1, 1), (1, 1)),
        (32, 64, (3, 3), (1, 1), (1, 1)),
    ]
    pool = stem[-1]
    assert isinstance(pool, nn.MaxPool2d)
    assert (pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode) == (3, 2, 1, False)
    assert sum(isinstance(layer, nn.ReLU) for layer in stem.modules()) == 3


@pytest.mark.parametrize("layers", DEPTHS)
@pytest.mark.parametrize("output_stride", STRIDES)
def test_only_first_blocks_project_their_shortcut_and_pool_if_they_stride(layers, output_stride):
    model = resnet(layers, output_stride)
    before = 4
    for stage, stride in zip(model.stages, STRIDES[output_stride], strict=True):
        first, *others = stage
        assert first.shortcut.project.conv.kernel_size == (1, 1)
        assert first.shortcut.project.conv.stride == (1, 1)
        assert all(isinstance(block.shortcut, nn.Identity) for block in others)
        pools = [layer for layer in stage.modules() if isinstance(layer, nn.AvgPool2d)]
        strided = [layer.stride for layer in stage.modules() if isinstance(layer, nn.Conv2d) and layer.stride != (1, 1)]
        if stride == before:
            assert pools == strided == []
        else:
            assert [(pool.kernel_size, pool.stride, pool.padding) for pool in pools] == [(2, 2, 0)]
            assert strided == [(2, 2)]
            assert first.conv2.conv.stride == (2, 2) if layers > 34 else first.conv1.conv.stride == (2, 2)
        before = stride


def test_the_pool_of_a_shortcut_rounds_up_and_excludes_padding():
    pool = ResNet((1, 1, 1, 1), "basic", 32).stages[1][0].shortcut.pool
    x = torch.arange(15.0).view(1, 1, 3, 5)
    # by hand: windows of 2x2; the last row and the last column have fewer pixels
    expected = torch.tensor([[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]])
    assert torch.equal(pool(x)[0, 0], expected)
    assert torch.equal(pool(torch.ones(1, 1, 1, 1)), torch.ones(1, 1, 1, 1))


@pytest.mark.parametrize("layers", DEPTHS)
@pytest.mark.parametrize("output_stride", STRIDES)
def test_every_block_of_a_dilated_stage_has_the_full_rate(layers, output_stride):
    model = resnet(layers, output_stride)
    assert model.strides == STRIDES[output_stride]
    for stage, dilation in zip(model.stages, DILATIONS[output_stride], strict=True):
        assert rates(stage) == [dilation] * len(stage)


@pytest.mark.parametrize("output_stride", STRIDES)
@pytest.mark.parametrize("multi_grid", [(1, 2, 4), (2, 1, 3), (1, 2, 4, 99)])
def test_multi_grid_multiplies_only_the_rates_of_the_last_stage(output_stride, multi_grid):
    model = resnet(50, output_stride, multi_grid=multi_grid)
    dilations = DILATIONS[output_stride]
    assert rates(model.stages[3]) == [dilations[3] * factor for factor in multi_grid[:3]]
    for stage, dilation in zip(model.stages[:3], dilations[:3], strict=True):
        assert rates(stage) == [dilation] * len(stage)


@pytest.mark.parametrize("layers", [18, 50])
@pytest.mark.parametrize("output_stride", STRIDES)
@pytest.mark.parametrize("size", SIZES)
def test_features_have_the_declared_channels_and_sizes(layers, output_stride, size):
    model = resnet(layers, output_stride, multi_grid=(1, 2, 4))
    features = model(torch.zeros(2, 3, *size, device="meta"))
    assert [tuple(feature.shape) for feature in features] == [
        (2, channels, -(-size[0] // stride), -(-size[1] // stride))
        for channels, stride in zip(model.channels, model.strides, strict=True)
    ]


@pytest.mark.parametrize("stem", ["deep", "conv7x7"])
def test_widths_follow_from_the_options(stem):
    model = resnet(50, 8, in_channels=5, stem=stem, stem_channels=24, base_channels=16)
    assert model.in_channels == 5
    assert model.channels == (64, 128, 256, 512)
    convs = [layer for layer in model.stem.modules() if isinstance(layer, nn.Conv2d)]
    widths = [5, 12, 12, 24] if stem == "deep" else [5, 24]
    assert [(conv.in_channels, conv.out_channels) for conv in convs] == list(pairwise(widths))
    features = model(torch.zeros(1, 5, 33, 47, device="meta"))
    assert [feature.shape[1] for feature in features] == [64, 128, 256, 512]


def test_parts_are_the_stem_and_the_stages_with_every_weight_once():
    model = resnet(18)
    assert model.parts == [model.stem, *model.stages]
    assert [p for part in model.parts for p in part.parameters()] == list(model.parameters())


@pytest.mark.parametrize(
    ("output_stride", "expected"),
    [
        (8, ([1, 1, 1], [1, 1, 1, 1], [1, 2, 2, 2, 2, 2], [2, 4, 4])),
        (16, ([1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [1, 2, 2])),
        (32, ([1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [1, 1, 1])),
    ],
)
def test_contract_dilation_halves_the_rate_of_the_first_block_of_a_dilated_stage(output_stride, expected):
    model = resnet(50, output_stride, contract_dilation=True)
    assert tuple(rates(stage) for stage in model.stages) == expected
    assert rates(resnet(50, output_stride, contract_dilation=True, multi_grid=(1, 2, 4)).stages[3]) == [1, 2, 4]


@pytest.mark.parametrize("layers", [18, 50])
def test_weight_names_and_shapes_do_not_depend_on_output_stride_or_multi_grid(layers):
    shapes = [
        {name: value.shape for name, value in model.state_dict().items()}
        for model in (
            *(resnet(layers, stride) for stride in STRIDES),
            resnet(layers, multi_grid=(1, 2, 4)),
            resnet(layers, contract_dilation=True, drop_path_rate=0.1, activation_checkpointing=True),
        )
    ]
    assert all(other == shapes[0] for other in shapes[1:])


def test_weights_start_as_he_normal_with_fan_in_and_norms_as_the_identity():
    torch.manual_seed(0)
    model = ResNet((1, 1, 1, 1), "bottleneck")
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 10_000:
            fan_in = layer.weight[0].numel()
            assert layer.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)
        if isinstance(layer, nn.BatchNorm2d):
            assert torch.equal(layer.weight, torch.ones_like(layer.weight))
            assert layer.bias.count_nonzero() == 0


def test_a_basic_block_adds_the_shortcut_before_the_last_relu():
    torch.manual_seed(1)
    block = BasicBlock(4, 4, stride=1, dilation=1, project=False).eval()
    x = torch.randn(1, 4, 6, 6)
    inner = nn.functional.conv2d(x, block.conv1.conv.weight, padding=1).div((1 + 1e-5) ** 0.5).clamp(min=0)
    outer = nn.functional.conv2d(inner, block.conv2.conv.weight, padding=1).div((1 + 1e-5) ** 0.5)
    torch.testing.assert_close(block(x), (outer + x).clamp(min=0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"output_stride": 4}, "output_stride=4"),
        ({"output_stride": 64}, "output_stride=64"),
        ({"output_stride": None}, "output_stride=None"),
        ({"block": "botleneck"}, "Did you mean 'bottleneck'?"),
        ({"depths": [3, 4, 6]}, "depths=[3, 4, 6]"),
        ({"depths": [3, 4, 6, 3, 3]}, "depths=[3, 4, 6, 3, 3]"),
        ({"depths": [3, 0, 6, 3]}, "depths=[3, 0, 6, 3]"),
        ({"depths": [3, 4, 6, 2.5]}, "depths=[3, 4, 6, 2.5]"),
        ({"depths": 50}, "depths=50"),
        ({"multi_grid": [1, 2]}, "the last stage has 3 blocks"),
        ({"multi_grid": []}, "the last stage has 3 blocks"),
        ({"multi_grid": [1, 2, 0]}, "multi_grid=[1, 2, 0]"),
        ({"multi_grid": [1, 2, 1.5]}, "multi_grid=[1, 2, 1.5]"),
        ({"multi_grid": 2}, "multi_grid=2"),
        ({"stem": "conv3x3"}, "backbone.stem=conv3x3 is unknown. Did you mean 'conv7x7'?"),
        ({"shortcut": "avg"}, "backbone.shortcut=avg is unknown. Choose from: conv, pool."),
        ({"style": "tensorflow"}, "backbone.style=tensorflow is unknown. Choose from: caffe, pytorch."),
        ({"basic_dilation": "second"}, "backbone.basic_dilation=second"),
        ({"in_channels": 0}, "backbone.in_channels=0"),
        ({"stem_channels": 1}, "backbone.stem_channels=1"),
        ({"stem_channels": 0, "stem": "conv7x7"}, "backbone.stem_channels=0"),
        ({"base_channels": 0}, "backbone.base_channels=0"),
        ({"base_channels": 2.5}, "backbone.base_channels=2.5"),
        ({"groups": 0}, "backbone.groups=0"),
        ({"base_width": -4}, "backbone.base_width=-4"),
        ({"base_width": 3, "base_channels": 16}, "backbone.base_width=3 leaves the 3x3 convolutions without channels"),
        ({"block": "basic", "groups": 32}, "backbone.groups=32 needs bottleneck blocks"),
        ({"block": "basic", "base_width": 4}, "backbone.base_width=4 needs bottleneck blocks"),
        ({"block": "basic", "style": "caffe"}, "backbone.style=caffe needs bottleneck blocks"),
        ({"basic_dilation": "first"}, "backbone.basic_dilation=first needs basic blocks"),
        ({"drop_path_rate": 1.0}, "backbone.drop_path_rate=1.0"),
        ({"drop_path_rate": -0.1}, "backbone.drop_path_rate=-0.1"),
        ({"drop_path_rate": float("nan")}, "backbone.drop_path_rate=nan"),
        ({"norm": {"name": "bacth"}}, "Did you mean 'batch'?"),
        ({"norm": "group"}, "write norm.name=group"),
    ],
)
def test_impossible_options_are_refused(options, words):
    with pytest.raises(ConfigError) as error, torch.device("meta"):
        ResNet(**{"depths": (3, 4, 6, 3), **options})
    assert isinstance(error.value, ValueError)
    assert words in str(error.value)

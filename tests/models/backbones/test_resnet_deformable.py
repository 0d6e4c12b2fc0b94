"""Modulated deformable convolution: the formula, its start, ResNets with it, and exports."""

import math

import numpy as np
import pytest
import torch
from exported import assert_export_equals_model
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from segnet.errors import ConfigError
from segnet.models.backbones.resnet import ResNet
from segnet.models.backbones.resnet.deformable import DeformableConv
from segnet.models.segmentation_model import SegmentationModel
from segnet.weights.load import load_backbone_weights
from segnet.weights.names import Weights

LAST_TWO = [False, False, True, True]
CONVOLUTIONS = [
    {},
    {"stride": 2, "padding": 1, "dilation": 1},
    {"padding": 2, "dilation": 2, "groups": 2},
    {"padding": 1, "groups": 4, "deform_groups": 2},
    {"stride": 2, "padding": 3, "dilation": 3, "deform_groups": 4, "bias": False},
]


def moved(strength: float = 1.0, **options) -> DeformableConv:
    """A convolution of 4 channels whose offsets are about `strength` pixels, in float64."""
    torch.manual_seed(0)
    conv = DeformableConv(4, 8, 3, **options).double()
    torch.nn.init.normal_(conv.offset.weight, std=strength / 6)
    torch.nn.init.normal_(conv.offset.bias, std=strength)
    return conv


def value_at(image: Tensor, y: float, x: float) -> float:
    """Bilinear interpolation of an image (H, W) with zeros outside: equations 3 and 4 of arXiv 1703.06211."""
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * image[row, column].item()
    return total


def by_loops(conv: DeformableConv, x: Tensor) -> Tensor:
    """Equation 1 of arXiv 1811.11168, one output value after the other."""
    moves = conv.offset(x)
    groups, (stride, _), (padding, _), (dilation, _) = conv.deform_groups, conv.stride, conv.padding, conv.dilation
    result = torch.zeros(len(x), conv.out_channels, *moves.shape[2:], dtype=x.dtype)
    per_group = conv.in_channels // conv.groups
    for batch, out, row, column in np.ndindex(*result.shape):
        total = 0.0 if conv.bias is None else conv.bias[out].item()
        for within in range(per_group):
            channel = out // (conv.out_channels // conv.groups) * per_group + within
            group = channel // (conv.in_channels // groups)
            for tap in range(9):
                down, right = moves[batch, 2 * (9 * group + tap) :, row, column][:2].tolist()
                factor = 2 / (1 + math.exp(-moves[batch, 18 * groups + 9 * group + tap, row, column].item()))
                y = row * stride - padding + tap // 3 * dilation + down
                x_ = column * stride - padding + tap % 3 * dilation + right
                weight = conv.weight[out, within, tap // 3, tap % 3].item()
                total += weight * factor * value_at(x[batch, channel], y, x_)
        result[batch, out, row, column] = total
    return result


@pytest.mark.parametrize("options", CONVOLUTIONS)
@torch.no_grad()
def test_the_convolution_matches_its_formula(options):
    conv = moved(**options)
    x = torch.randn(2, 4, 7, 8, dtype=torch.float64)
    torch.testing.assert_close(conv(x), by_loops(conv, x), rtol=1e-11, atol=1e-11)


def test_offsets_far_outside_the_image_give_the_bias():
    conv = moved(padding=1)
    torch.nn.init.constant_(conv.offset.bias, 1e6)
    torch.testing.assert_close(
        conv(torch.randn(1, 4, 3, 3, dtype=torch.float64)), conv.bias.view(1, -1, 1, 1).expand(1, 8, 3, 3)
    )


@pytest.mark.parametrize("options", CONVOLUTIONS[1:4])
def test_gradients_match_finite_differences(options):
    conv = moved(0.3, **options)
    x = torch.randn(1, 4, 3, 4, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in conv.named_parameters()]

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(conv, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *conv.parameters()), fast_mode=True)


@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_the_operator_of_onnx_gives_the_same(options):
    """DeformConv of opset 19, in ONNX's reference implementation; it has no factor of 2."""
    onnx = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    conv = moved(**options)
    x = torch.randn(2, 4, 7, 8, dtype=torch.float64)
    moves = conv.offset(x).detach()
    taps = 9 * conv.deform_groups
    node = onnx.helper.make_node(
        "DeformConv",
        ["x", "weight", "offset", "bias", "mask"],
        ["y"],
        kernel_shape=[3, 3],
        strides=conv.stride,
        pads=[*conv.padding, *conv.padding],
        dilations=conv.dilation,
        group=conv.groups,
        offset_group=conv.deform_groups,
    )
    bias = torch.zeros(8, dtype=torch.float64) if conv.bias is None else conv.bias
    inputs = {
        "x": x,
        "weight": conv.weight,
        "offset": moves[:, : 2 * taps],
        "bias": bias,
        "mask": 2 * moves[:, 2 * taps :].sigmoid(),
    }
    arrays = {name: value.detach().numpy() for name, value in inputs.items()}
    (expected,) = reference.ReferenceEvaluator(node).run(None, arrays)
    np.testing.assert_allclose(conv(x).detach().numpy(), expected, rtol=1e-5, atol=1e-5)  # ONNX computes in float32


def resnet(block: str, output_stride: int = 16, **options) -> ResNet:
    torch.manual_seed(0)
    sizes = {"depths": (1, 1, 1, 2), "base_channels": 8, "stem_channels": 8, "multi_grid": [1, 2]}
    return ResNet(**sizes, block=block, output_stride=output_stride, **options)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize(
    ("block", "options"),
    [("basic", {}), ("bottleneck", {}), ("bottleneck", {"groups": 4, "base_width": 16, "deform_groups": 2})],
)
def test_a_new_deformable_network_computes_what_the_plain_one_does(block, output_stride, options):
    plain_options = {name: value for name, value in options.items() if name != "deform_groups"}
    plain = resnet(block, output_stride, **plain_options).double().eval()
    model = resnet(block, output_stride, deformable_stages=LAST_TWO, **options).double().eval()
    kinds = [[type(unit.conv2.conv) is DeformableConv for unit in stage] for stage in model.stages]
    assert kinds == [[False], [False], [True], [True, True]]
    assert {name.partition(".conv2.conv.")[2].rpartition(".")[0] for name in model.added_weights} == {"offset"}
    state = {name: value.float() for name, value in plain.state_dict().items()}
    plain.load_state_dict(state)
    load_backbone_weights(model, Weights("plain.ckpt", "segnet", state))
    x = torch.randn(2, 3, 33, 47, dtype=torch.float64)
    for ours, theirs in zip(model(x), plain(x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_every_offset_learns():
    model = resnet("bottleneck", deformable_stages=LAST_TWO)
    sum(feature.square().mean() for feature in model(torch.randn(2, 3, 65, 47))).backward()
    parameters = dict(model.named_parameters())
    assert all(parameters[name].grad.abs().max() > 0 for name in model.added_weights)


def test_operations_are_those_of_both_convolutions():
    with torch.device("meta"):
        conv = DeformableConv(8, 16, 3, stride=2, padding=1, groups=2, deform_groups=2)
        x = torch.zeros(1, 8, 20, 14)
    with FlopCounterMode(display=False) as counter:
        conv(x)
    assert counter.get_total_flops() == 2 * (10 * 7) * 9 * (16 * 8 // 2 + 3 * 9 * 2 * 8)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_samples_at_the_same_positions(dtype):
    conv = moved(padding=1).float()
    x = torch.randn(1, 4, 6, 7)
    half = conv.to(dtype)(x.to(dtype))
    assert half.dtype == dtype
    expected = conv.float()(x.to(dtype).float())
    torch.testing.assert_close(half.float(), expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("format", ["onnx", "openvino", "pt2"])
@torch.no_grad()
def test_exports_give_the_same_logits(format, tmp_path):
    """With plugins too: attention pooling of any size."""
    torch.manual_seed(0)
    plugins = [
        {"name": "context", "position": "after_conv2", "ratio": 0.5, "fusion": ["channel_add", "channel_mul"]},
        {"name": "squeeze_excite", "position": "after_conv1", "ratio": 0.5},
    ]
    sizes = {"depths": [1, 1, 1, 1], "block": "basic", "base_channels": 8, "stem_channels": 8, "output_stride": 16}
    model = SegmentationModel(
        backbone={"name": "resnet", **sizes, "plugins": plugins, "deformable_stages": LAST_TWO, "deform_groups": 2},
        decoder={"name": "deeplabv3", "output_stride": 16, "aspp_channels": 8},
        num_classes=2,
        mean=[0.5] * 3,
        std=[0.5] * 3,
    ).eval()
    for name, parameter in model.named_parameters():
        if name.removeprefix("backbone.") in model.backbone.added_weights:
            torch.nn.init.normal_(parameter, std=0.5)
    assert_export_equals_model(model, ["a", "b"], format, tmp_path, sizes=((1, 65, 97), (2, 48, 33), (1, 3, 5)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"deformable_stages": [True]}, "backbone.deformable_stages=[True] must be four of true and false"),
        ({"deformable_stages": [1, 2, 3, 4]}, "backbone.deformable_stages=[1, 2, 3, 4] must be four"),
        ({"deformable_stages": LAST_TWO, "deform_groups": 3}, "backbone.deform_groups=3 must divide the channels"),
        ({"deformable_stages": LAST_TWO, "deform_groups": 0}, "backbone.deform_groups=0 must be an integer"),
        (
            {"deform_groups": 2},
            "backbone.deform_groups=2 needs deformable convolutions: set backbone.deformable_stages",
        ),
    ],
)
def test_impossible_options_are_refused(options, words):
    with pytest.raises(ConfigError) as error:
        resnet("basic", **options)
    assert words in str(error.value)


def test_a_new_layer_is_the_convolution_of_torch():
    """Without offsets, the layer is torch's convolution."""
    conv = DeformableConv(4, 8, 3, padding=2, dilation=2, groups=2).double()
    x = torch.randn(1, 4, 9, 5, dtype=torch.float64)
    expected = F.conv2d(x, conv.weight, conv.bias, padding=2, dilation=2, groups=2)
    torch.testing.assert_close(conv(x), expected, rtol=1e-12, atol=1e-12)

"""Dilated depthwise convolutions against torch's float64 convolutions, which use another kernel."""

import copy

import pytest
import torch
from tiny import components
from torch import nn
from torch.nn import functional as F

from segnet.models.depthwise import DilatedDepthwiseConv, shift_dilated_depthwise
from segnet.models.segmentation_model import SegmentationModel

CHANNELS = 4


def shifted(kernel_size=3, dilation=6, channels=CHANNELS, bias=True) -> DilatedDepthwiseConv:
    torch.manual_seed(0)
    kernel_size, dilation = ((value, value) if isinstance(value, int) else value for value in (kernel_size, dilation))
    reach = [size // 2 * step for size, step in zip(kernel_size, dilation, strict=True)]
    conv = nn.Conv2d(channels, channels, kernel_size, padding=reach, dilation=dilation, groups=channels, bias=bias)
    conv = nn.Sequential(conv)
    shift_dilated_depthwise(conv)
    assert type(conv[0]) is DilatedDepthwiseConv
    return conv[0]


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).to(memory_format=torch.channels_last)


def results(conv: nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> list[torch.Tensor]:
    """Return the output, and the gradients of input, weight and bias."""
    x = x.detach().requires_grad_()
    y = conv(x)
    wanted = [x, *conv.parameters()]
    return [y.detach(), *torch.autograd.grad(y, wanted, gradient.to(y.dtype))]


def in_float64(conv: nn.Conv2d, x: torch.Tensor, gradient: torch.Tensor) -> list[torch.Tensor]:
    plain = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
        bias=conv.bias is not None,
    )
    plain.load_state_dict(conv.state_dict())
    return results(plain.double(), x.double(), gradient.double())


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (13, 7), (40, 40)])
@pytest.mark.parametrize("dilation", [6, 18, (6, 12)])
@pytest.mark.parametrize("kernel_size", [3, (3, 5)])
@pytest.mark.parametrize("bias", [False, True])
def test_values_and_gradients_match_those_of_the_convolution(size, dilation, kernel_size, bias):
    conv = shifted(kernel_size, dilation, bias=bias)
    x = images(2, CHANNELS, *size)
    gradient = images(2, CHANNELS, *size).flip(0)
    found, expected = results(conv, x, gradient), in_float64(conv, x, gradient)
    assert len(found) == 3 + bias
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)


def test_the_gradient_matches_finite_differences():
    conv = shifted(dilation=(6, 7), channels=2).double()
    x = images(2, 2, 8, 9).double().requires_grad_()

    def function(x, *parameters):
        return torch.func.functional_call(conv, dict(zip(["weight", "bias"], parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(function, (x, *conv.parameters()))


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dilation", [2, 6, 12])
@pytest.mark.parametrize("size", [(16, 20), (33, 33)])
def test_bf16_gradients_are_close_to_float64_gradients(autocast, dilation, size):
    """oneDNN's weight gradients are wrong from a width of about 30 on: it reads foreign memory."""
    conv = shifted(dilation=dilation, channels=64, bias=False)
    with torch.no_grad():
        conv.weight.copy_(conv.weight.bfloat16())
    x, gradient = images(2, 64, *size).bfloat16(), images(2, 64, *size).flip(0).bfloat16()
    expected = in_float64(conv, x, gradient)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = results(conv if autocast else copy.deepcopy(conv).bfloat16(), x, gradient)
    assert found[0].dtype == torch.bfloat16
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.double() - theirs).abs().max() < 0.02 * theirs.abs().max()


@pytest.mark.parametrize(
    "options",
    [
        {"groups": 2},
        {"groups": 4, "dilation": 1},
        {"groups": 4, "stride": 2},
        {"groups": 4, "padding": 1},
        {"groups": 4, "padding": "same"},
        {"groups": 4, "padding_mode": "circular"},
        {"groups": 4, "kernel_size": 4, "padding": 4},
    ],
)
def test_other_convolutions_are_not_replaced(options):
    conv = nn.Sequential(nn.Conv2d(4, 4, **{"kernel_size": 3, "dilation": 2, "padding": 2, **options}))
    shift_dilated_depthwise(conv)
    assert type(conv[0]) is nn.Conv2d


def test_models_use_them_and_export_plain_convolutions():
    torch.manual_seed(0)
    model = SegmentationModel(**components(), num_classes=3, mean=[0.5] * 3, std=[0.2] * 3).eval()
    layers = [layer for layer in model.modules() if isinstance(layer, DilatedDepthwiseConv)]
    assert [layer.dilation[0] for layer in layers] == [6, 12, 18]
    exported = torch.export.export(model, (torch.zeros(1, 3, 64, 64, dtype=torch.uint8),))
    dilations = [
        tuple(node.args[5])
        for node in exported.graph.nodes
        if node.target is torch.ops.aten.conv2d.default and len(node.args) > 5
    ]
    assert {(6, 6), (12, 12), (18, 18)} <= set(dilations)


def test_small_dilations_use_torch_s_kernel_if_it_is_correct():
    conv = shifted(dilation=2)
    x = images(1, CHANNELS, 9, 9)
    expected = F.conv2d(x, conv.weight, conv.bias, 1, 2, 2, CHANNELS)
    assert torch.equal(conv(x), expected)


def test_bf16_gradients_of_a_model_align_with_float32_gradients():
    torch.manual_seed(0)
    model = SegmentationModel(**components(), num_classes=3, mean=[0.5] * 3, std=[0.2] * 3).eval()
    model.to(memory_format=torch.channels_last)  # as in training
    x = torch.randint(0, 256, (1, 3, 272, 528), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits = model(x)
        loss = F.cross_entropy(logits.float(), torch.ones(1, 272, 528, dtype=torch.long))
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    for (name, _), exact, found in zip(model.named_parameters(), *gradients, strict=True):
        assert F.cosine_similarity(exact.flatten(), found.flatten(), dim=0) > 0.98, name

from functools import partial

import pytest
import torch
from torch import nn

from segnet.errors import ConfigError
from segnet.models.layers import ASPP, ConvNormAct, ImagePooling, Normalize, SeparableConv, atrous_rates, initialize
from segnet.models.norms import NORMS, norm_layer


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2, 7])
def test_conv_norm_act_keeps_the_size_at_stride_1(kernel_size, dilation):
    layer = ConvNormAct(2, 3, kernel_size, dilation=dilation)
    assert layer(torch.zeros(2, 2, 5, 8)).shape == (2, 3, 5, 8)


def test_conv_norm_act_at_stride_2_halves_the_size_and_rounds_up():
    assert ConvNormAct(2, 3, 3, stride=2)(torch.zeros(2, 2, 7, 8)).shape == (2, 3, 4, 4)


def test_conv_norm_act_is_relu_of_norm_of_a_convolution_without_bias():
    torch.manual_seed(0)
    layer = ConvNormAct(4, 6, 3, dilation=2, groups=2).eval()
    layer.norm.running_mean.normal_()
    layer.norm.running_var.uniform_(0.5, 2)
    x = torch.randn(1, 4, 9, 9)
    plain = nn.functional.conv2d(x, layer.conv.weight, padding=2, dilation=2, groups=2)
    mean, var = (value.view(1, -1, 1, 1) for value in (layer.norm.running_mean, layer.norm.running_var))
    torch.testing.assert_close(layer(x), ((plain - mean) / (var + 1e-5).sqrt()).clamp(min=0))
    assert layer.conv.bias is None


def test_conv_norm_act_without_act_keeps_negative_values():
    torch.manual_seed(0)
    assert ConvNormAct(2, 3, 3, act=False)(torch.randn(2, 2, 5, 5)).min() < 0
    torch.manual_seed(0)
    assert ConvNormAct(2, 3, 3)(torch.randn(2, 2, 5, 5)).min() == 0


def test_separable_conv_is_depthwise_then_pointwise_with_one_relu():
    torch.manual_seed(0)
    layer = SeparableConv(4, 6, dilation=3)
    assert layer.depthwise.conv.weight.shape == (4, 1, 3, 3)
    assert layer.depthwise.conv.dilation == (3, 3)
    assert layer.pointwise.conv.weight.shape == (6, 4, 1, 1)
    x = torch.randn(2, 4, 9, 9)
    assert layer.depthwise(x).min() < 0
    assert layer(x).min() == 0
    assert layer(x).shape == (2, 6, 9, 9)


@pytest.mark.parametrize("name", ["batch", "sync_batch"])
def test_the_norm_of_image_pooling_becomes_sync_batch_norm(name):
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(ImagePooling(3, 4, norm=norm_layer({"name": name})))
    assert type(converted.project.norm) is nn.SyncBatchNorm


@pytest.mark.parametrize("name", NORMS)
def test_the_chosen_norm_is_in_every_layer_and_trains_on_one_image(name):
    torch.manual_seed(4)
    norm = norm_layer({"name": name, "eps": 0.01})
    model = nn.Sequential(
        ConvNormAct(2, 8, 3, norm=norm), SeparableConv(8, 6, norm=norm), ImagePooling(6, 4, norm=norm)
    )
    norms = [layer for layer in model.modules() if hasattr(layer, "eps")]
    assert [layer.eps for layer in norms] == [0.01] * 4
    assert {type(layer) for layer in norms[:3]} == {type(norm(4))}
    out = model.train()(torch.randn(1, 2, 7, 5))
    out.sum().backward()
    assert out.shape == (1, 4, 7, 5)
    assert all(p.grad is not None for p in model.parameters())


def test_depthwise_act_adds_a_relu_after_the_depthwise_convolution():
    torch.manual_seed(5)
    layer = SeparableConv(4, 6, depthwise_act=True)
    x = torch.randn(2, 4, 9, 9)
    assert layer.depthwise(x).min() == 0
    plain = SeparableConv(4, 6)
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x), plain.pointwise(plain.depthwise(x).clamp(min=0)))


def test_image_pooling_broadcasts_the_projected_mean():
    torch.manual_seed(2)
    layer = ImagePooling(3, 4).eval()
    x = torch.randn(2, 3, 5, 7)
    means = torch.tensor([[sum(channel.flatten().tolist()) / 35 for channel in image] for image in x])
    expected = (means @ layer.project.conv.weight.view(4, 3).T / (1 + 1e-5) ** 0.5).clamp(min=0)
    out = layer(x)
    assert out.shape == (2, 4, 5, 7)
    assert expected.max() > 0
    torch.testing.assert_close(out, expected[:, :, None, None].expand(2, 4, 5, 7))


@pytest.mark.parametrize(("output_stride", "expected"), [(8, (12, 24, 36)), (16, (6, 12, 18)), (32, (3, 6, 9))])
def test_atrous_rates_of_the_paper_scale_with_the_output_stride(output_stride, expected):
    assert atrous_rates(output_stride, (4, 8, 8, output_stride)) == expected


def test_atrous_rates_require_the_backbone_s_output_stride():
    with pytest.raises(ConfigError, match=r"output_stride=8, but the backbone ends at stride 16: .*output_stride=16$"):
        atrous_rates(8, (4, 8, 16, 16))
    with pytest.raises(ConfigError, match="output_stride=4 is unknown: choose from 8, 16, 32"):
        atrous_rates(4, (4, 4, 4, 4))


@pytest.mark.parametrize("projection_kernel", [1, 3])
def test_aspp_projects_its_branches_with_the_chosen_kernel_size(projection_kernel):
    torch.manual_seed(6)
    conv3x3 = partial(ConvNormAct, kernel_size=3)
    aspp = ASPP(3, 4, (2, 5), conv3x3=conv3x3, projection_kernel=projection_kernel).eval()
    x = torch.randn(2, 3, 7, 9)
    scale = (1 + 1e-5) ** -0.5  # a batch norm in its initial state
    kernels = [branch.conv.weight for branch in aspp.branches[:3]]
    convolved = [
        nn.functional.conv2d(x, kernels[0]),
        nn.functional.conv2d(x, kernels[1], padding=2, dilation=2),
        nn.functional.conv2d(x, kernels[2], padding=5, dilation=5),
        nn.functional.conv2d(x.mean((2, 3), keepdim=True), aspp.branches[3].project.conv.weight).expand(2, 4, 7, 9),
    ]
    together = torch.cat([(value * scale).clamp(min=0) for value in convolved], dim=1)
    weight = aspp.project.conv.weight
    assert weight.shape == (4, 16, projection_kernel, projection_kernel)
    expected = (nn.functional.conv2d(together, weight, padding=projection_kernel // 2) * scale).clamp(min=0)
    torch.testing.assert_close(aspp(x), expected)


@pytest.mark.parametrize(("kernel_size", "groups"), [(1, 1), (3, 1), (3, 64)])
def test_initialize_uses_he_normal_with_fan_in_and_zero_biases(kernel_size, groups):
    torch.manual_seed(3)
    conv = nn.Conv2d(64, 512, kernel_size, groups=groups)
    initialize(nn.Sequential(nn.Sequential(conv)))
    fan_in = 64 // groups * kernel_size**2
    assert conv.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)
    assert abs(conv.weight.mean().item()) < 0.05 * (2 / fan_in) ** 0.5
    kurtosis = (conv.weight / conv.weight.std()).pow(4).mean().item()
    assert kurtosis == pytest.approx(3, abs=0.5)  # a uniform distribution has 1.8
    assert conv.bias.count_nonzero() == 0


def test_normalize_accepts_uint8_images_of_any_number_of_channels():
    layer = Normalize([0.0, 0.2], [1.0, 0.5], in_channels=2)
    images = torch.tensor([255, 51, 204, 255], dtype=torch.uint8).view(1, 2, 1, 2)
    torch.testing.assert_close(layer(images).flatten(), torch.tensor([1.0, 0.2, 1.2, 1.6]))
    assert layer.state_dict() == {}  # the spec is the only source of mean and std

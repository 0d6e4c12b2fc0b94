import pytest
import torch
from torch import nn

from segnet.layers import ConvNormAct, ImagePooling, SeparableConv, initialise
from segnet.norms import PooledBatchNorm


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


def test_conv_norm_act_without_act_lets_negative_values_pass():
    torch.manual_seed(0)
    assert ConvNormAct(2, 3, 3, act=False)(torch.randn(2, 2, 5, 5)).min() < 0
    torch.manual_seed(0)
    assert ConvNormAct(2, 3, 3)(torch.randn(2, 2, 5, 5)).min() == 0


def test_separable_conv_filters_each_channel_alone_then_mixes_and_has_one_relu():
    torch.manual_seed(0)
    layer = SeparableConv(4, 6, dilation=3)
    assert layer.depthwise.conv.weight.shape == (4, 1, 3, 3)
    assert layer.depthwise.conv.dilation == (3, 3)
    assert layer.pointwise.conv.weight.shape == (6, 4, 1, 1)
    x = torch.randn(2, 4, 9, 9)
    assert layer.depthwise(x).min() < 0
    assert layer(x).min() == 0
    assert layer(x).shape == (2, 6, 9, 9)


def filled_norm(kind: type[nn.BatchNorm2d]) -> nn.BatchNorm2d:
    torch.manual_seed(1)
    norm = kind(5)
    for value in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(value)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return norm


def test_pooled_batch_norm_takes_one_image_with_the_running_statistics_and_leaves_them():
    norm = filled_norm(PooledBatchNorm)
    mean, var = norm.running_mean.clone(), norm.running_var.clone()
    x = torch.randn(1, 5, 1, 1, requires_grad=True)
    out = norm(x)
    torch.testing.assert_close(out.flatten(), (x.flatten() - mean) / (var + norm.eps).sqrt() * norm.weight + norm.bias)
    out.square().sum().backward()
    assert x.grad.abs().min() > 0
    assert norm.weight.grad.abs().min() > 0
    assert norm.bias.grad.abs().min() > 0
    assert torch.equal(norm.running_mean, mean)
    assert torch.equal(norm.running_var, var)
    assert norm.num_batches_tracked == 0


@pytest.mark.parametrize(("batch_size", "training"), [(2, True), (3, True), (1, False), (2, False)])
def test_pooled_batch_norm_is_batch_norm_in_every_other_case(batch_size, training):
    ours, plain = filled_norm(PooledBatchNorm).train(training), filled_norm(nn.BatchNorm2d).train(training)
    x = torch.randn(batch_size, 5, 1, 1)
    assert torch.equal(ours(x), plain(x))
    for name, value in plain.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)


def test_pooled_batch_norm_becomes_sync_batch_norm():
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(ImagePooling(3, 4))
    assert type(converted.project.norm) is nn.SyncBatchNorm


def test_image_pooling_is_the_projected_mean_at_every_pixel():
    torch.manual_seed(2)
    layer = ImagePooling(3, 4).eval()
    x = torch.randn(2, 3, 5, 7)
    means = torch.tensor([[sum(channel.flatten().tolist()) / 35 for channel in image] for image in x])
    expected = (means @ layer.project.conv.weight.view(4, 3).T / (1 + 1e-5) ** 0.5).clamp(min=0)
    out = layer(x)
    assert out.shape == (2, 4, 5, 7)
    assert expected.max() > 0
    torch.testing.assert_close(out, expected[:, :, None, None].expand(2, 4, 5, 7))


@pytest.mark.parametrize(("kernel_size", "groups"), [(1, 1), (3, 1), (3, 64)])
def test_initialise_draws_he_normal_by_fan_in_and_zeroes_biases(kernel_size, groups):
    torch.manual_seed(3)
    conv = nn.Conv2d(64, 512, kernel_size, groups=groups)
    initialise(nn.Sequential(nn.Sequential(conv)))
    fan_in = 64 // groups * kernel_size**2
    assert conv.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)
    assert abs(conv.weight.mean().item()) < 0.05 * (2 / fan_in) ** 0.5
    kurtosis = (conv.weight / conv.weight.std()).pow(4).mean().item()
    assert kurtosis == pytest.approx(3, abs=0.5)  # a uniform distribution has 1.8
    assert conv.bias.count_nonzero() == 0

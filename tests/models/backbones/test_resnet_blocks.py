"""Blocks of a ResNet, stochastic depth and activation checkpointing."""

import copy

import pytest
import torch
from torch import nn

from segnet.models.backbones.resnet import ResNet
from segnet.models.backbones.resnet.blocks import BasicBlock, Bottleneck, DropPath, Shortcut


def test_a_pooling_shortcut_averages_before_a_convolution_of_stride_1():
    torch.manual_seed(0)
    shortcut = Shortcut(3, 5, 2).eval()
    x = torch.randn(2, 3, 6, 8)
    means = x.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    expected = nn.functional.conv2d(means, shortcut.project.conv.weight) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(shortcut(x), expected)


def test_a_convolution_shortcut_uses_every_second_pixel():
    torch.manual_seed(0)
    shortcut = Shortcut(3, 5, 2, pool=False).eval()
    x = torch.randn(2, 3, 7, 8)
    expected = nn.functional.conv2d(x[:, :, ::2, ::2], shortcut.project.conv.weight) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(shortcut(x), expected)
    assert not any(isinstance(layer, nn.AvgPool2d) for layer in shortcut.modules())


@pytest.mark.parametrize(("stride_first", "strides"), [(False, [1, 2, 1]), (True, [2, 1, 1])])
def test_a_bottleneck_has_its_stride_in_the_3x3_or_the_first_1x1(stride_first, strides):
    block = Bottleneck(8, 4, stride=2, dilation=3, project=True, stride_first=stride_first)
    convs = [block.conv1.conv, block.conv2.conv, block.conv3.conv]
    assert [conv.stride[0] for conv in convs] == strides
    assert [conv.dilation[0] for conv in convs] == [1, 3, 1]
    assert block(torch.zeros(2, 8, 7, 9)).shape == (2, 16, 4, 5)


@pytest.mark.parametrize(("groups", "base_width", "width"), [(1, 64, 64), (32, 4, 128), (32, 8, 256), (1, 128, 128)])
def test_width_and_groups_of_the_3x3_match_resnext(groups, base_width, width):
    """Widths 128 and 256 for 64 channels: table 1 of arXiv 1611.05431 and torchvision's 101_32x8d."""
    with torch.device("meta"):
        block = Bottleneck(64, 64, stride=1, dilation=1, project=True, groups=groups, base_width=base_width)
    assert block.conv1.conv.weight.shape == (width, 64, 1, 1)
    assert block.conv2.conv.weight.shape == (width, width // groups, 3, 3)
    assert block.conv3.conv.weight.shape == (256, width, 1, 1)


def test_a_basic_block_can_dilate_only_its_first_convolution():
    block = BasicBlock(4, 4, stride=1, dilation=2, project=False, dilate_second=False)
    assert block.conv1.conv.dilation == block.conv1.conv.padding == (2, 2)
    assert block.conv2.conv.dilation == block.conv2.conv.padding == (1, 1)


def test_drop_path_drops_whole_samples_at_its_rate_and_keeps_the_expectation():
    torch.manual_seed(0)
    out = DropPath(0.3).train()(torch.ones(20_000, 2, 3, 1))
    assert (out == out[:, :1, :1]).all()  # whole samples
    assert out.unique().tolist() == pytest.approx([0, 1 / 0.7])
    # three standard deviations for 20000 samples
    assert (out[:, 0, 0, 0] == 0).float().mean().item() == pytest.approx(0.3, abs=3 * (0.21 / 20_000) ** 0.5)
    assert out.mean().item() == pytest.approx(1, abs=0.014)


@pytest.mark.parametrize(("rate", "training"), [(0.9, False), (0.0, True)])
def test_drop_path_does_nothing_in_evaluation_or_at_rate_0(rate, training):
    x = torch.randn(8, 2, 3, 3)
    assert DropPath(rate).train(training)(x) is x


@pytest.mark.parametrize("kind", [BasicBlock, Bottleneck])
def test_a_dropped_block_equals_its_shortcut(kind):
    torch.manual_seed(0)
    channels = 4 * kind.expansion
    block = kind(channels, 4, stride=1, dilation=1, project=False, drop_path_rate=0.5).train()
    x = torch.rand(64, channels, 3, 3)
    dropped = [torch.equal(out, image) for out, image in zip(block(x), x, strict=True)]
    assert 10 < sum(dropped) < 54


def test_the_drop_path_rate_rises_linearly_over_all_blocks():
    with torch.device("meta"):
        model = ResNet((2, 1, 2, 1), "basic", drop_path_rate=0.5)
    rates = [block.drop_path.rate for stage in model.stages for block in stage]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def step(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return loss, gradients and buffers after a forward and a backward pass."""
    torch.manual_seed(3)
    loss = sum(feature.square().mean() for feature in model(x))
    loss.backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), "x": x.grad, **grads, **dict(model.named_buffers())}


@pytest.mark.parametrize("norm", ["batch", "sync_batch", "group", "instance"])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_checkpointing_changes_neither_gradients_nor_statistics(block, norm):
    results = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = ResNet(
            (1, 2, 1, 1),
            block,
            base_channels=8,
            stem_channels=8,
            drop_path_rate=0.4,
            norm={"name": norm},
            activation_checkpointing=checkpointing,
        ).train()
        x = torch.randn(4, 3, 65, 47, generator=torch.Generator().manual_seed(1)).requires_grad_()
        results.append(step(model, x))
        if "batch" in norm:
            assert model.stages[1][1].conv2.norm.num_batches_tracked == 1
            assert all(buffer.abs().max() > 0 for buffer in model.stages[3].buffers())
    assert results[0].keys() == results[1].keys()
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name


def test_checkpointing_computes_each_block_twice_in_training_and_once_elsewhere():
    model = ResNet((1, 1, 2, 1), "basic", base_channels=8, activation_checkpointing=True)
    calls = []
    for stage in model.stages:
        for block in stage:
            block.register_forward_pre_hook(lambda *_: calls.append(1))
    x = torch.randn(2, 3, 33, 33)
    model.train()(x)[-1].sum().backward()
    assert len(calls) == 10
    calls.clear()
    model.eval()(x)[-1].sum().backward()
    with torch.no_grad():
        model.train()(x)
    assert len(calls) == 10


def test_a_second_backward_pass_recomputes_again():
    torch.manual_seed(0)
    model = ResNet((1, 1, 1, 1), "basic", base_channels=8, activation_checkpointing=True).train()
    loss = model(torch.randn(2, 3, 33, 33))[-1].sum()
    loss.backward(retain_graph=True)
    once = {name: p.grad.clone() for name, p in model.named_parameters()}
    loss.backward()
    assert all(torch.equal(p.grad, 2 * once[name]) for name, p in model.named_parameters())
    assert all(value == 1 for name, value in model.named_buffers() if name.endswith("num_batches_tracked"))


def test_frozen_norms_stay_in_evaluation_during_recomputation():
    torch.manual_seed(0)
    model = ResNet((1, 1, 1, 1), "basic", base_channels=8, activation_checkpointing=True).train()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
            layer.running_mean.normal_()
    plain = copy.deepcopy(model)
    for stage in plain.stages:
        stage.checkpointing = False
    results = [step(each, torch.randn(2, 3, 33, 33, generator=torch.Generator().manual_seed(1)).requires_grad_())
               for each in (model, plain)]  # fmt: skip
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())


def test_blocks_start_as_their_shortcuts_with_zero_init_residual():
    torch.manual_seed(0)
    for kind in ("basic", "bottleneck"):
        for name in ("batch", "group", "instance"):
            model = ResNet((2, 1, 1, 1), kind, zero_init_residual=True, base_channels=8, norm={"name": name}).train()
            second = model.stages[0][1]
            x = torch.rand(2, model.channels[0], 5, 5)
            assert torch.equal(second(x), x)
            zeroed = [name for name, p in model.named_parameters() if name.endswith("norm.weight") and not p.any()]
            assert zeroed == [
                f"stages.{stage}.{block}.conv{2 if kind == 'basic' else 3}.norm.weight"
                for stage, depth in enumerate((2, 1, 1, 1))
                for block in range(depth)
            ]

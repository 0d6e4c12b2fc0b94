"""The optimized model gives the same outputs for every architecture and norm, and does not fuse shared layers."""

import copy

import pytest
import torch
from tiny import components
from torch import nn
from torch.nn import functional as F

from segnet.inference.runtimes.optimization import PackedConv, optimize, packable
from segnet.models.depthwise import DilatedDepthwiseConv
from segnet.models.segmentation_model import SegmentationModel

RESNETS = {
    "vd": {},
    "plain": {"stem": "conv7x7", "shortcut": "conv"},
    "v1c": {"shortcut": "conv", "block": "bottleneck"},
    "caffe": {"block": "bottleneck", "style": "caffe", "shortcut": "conv"},
    "resnext": {"block": "bottleneck", "groups": 4, "base_width": 16},
}


def network(norm="batch", output_stride=16, decoder=(), **backbone) -> nn.Module:
    """A model with nontrivial norm statistics, without normalization of images and resizing."""
    torch.manual_seed(0)
    specs = components(output_stride)
    if backbone.get("name") == "timm":
        specs["backbone"] = {**backbone, "output_stride": output_stride}
    else:
        specs["backbone"] |= {"base_channels": 16, "stem_channels": 16, "norm": {"name": norm}, **backbone}
    specs["decoder"] |= {"norm": {"name": norm}, **dict(decoder)}
    model = SegmentationModel(**specs, num_classes=5, mean=[0.5] * 3, std=[0.2] * 3)
    for layer in model.modules():
        if isinstance(layer, (nn.BatchNorm2d, nn.SyncBatchNorm)):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.1)
    model.eval()
    return Network(model)


class Network(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.backbone, self.decoder = model.backbone, model.decoder

    def forward(self, images):
        return self.decoder(self.backbone(images))


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def check(model: nn.Module, tolerance: float = 1e-5) -> nn.Module:
    """Assert equal outputs on other sizes than the probe's."""
    optimized = optimize(model, images(1, 3, 64, 64))
    for shape in ((2, 3, 64, 64), (1, 3, 1, 1), (1, 3, 97, 45), (3, 3, 17, 130)):
        expected, result = model(images(*shape)), optimized(images(*shape))
        assert result.shape == expected.shape
        assert (result - expected).abs().max() <= tolerance * expected.abs().max()
        if shape[2] > 1:
            agreement = (result.argmax(dim=1) == expected.argmax(dim=1)).double().mean()
            assert agreement >= 0.999
    return optimized


def kinds(model: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(layer, kind) for layer in model.modules())


@pytest.mark.parametrize("norm", ["batch", "sync_batch", "group", "layer", "instance"])
def test_every_norm_gives_equal_outputs(norm):
    check(network(norm))


@pytest.mark.parametrize("variant", RESNETS)
@pytest.mark.parametrize("output_stride", [8, 16])
def test_every_resnet_variant_gives_equal_outputs(variant, output_stride):
    optimized = check(network(output_stride=output_stride, **RESNETS[variant]))
    assert kinds(optimized, nn.BatchNorm2d) == 0


@pytest.mark.parametrize("decoder", [{"depthwise_act": True}, {"separable": False}, {"projection_kernel": 3}])
def test_every_decoder_gives_equal_outputs(decoder):
    check(network(decoder=decoder))


@pytest.mark.parametrize("model", ["resnet10t", "regnety_002", "mobilenetv3_small_050", "convnext_atto"])
def test_timm_backbones_give_equal_outputs(model):
    pytest.importorskip("timm", exc_type=Exception)
    stride = 32 if model == "convnext_atto" else 16
    check(network(name="timm", model=model, output_stride=stride), tolerance=1e-4)


def test_the_original_model_is_unchanged():
    model = network()
    before = copy.deepcopy(model.state_dict())
    optimize(model, images(1, 3, 64, 64))
    assert kinds(model, nn.BatchNorm2d) > 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.skipif(not packable(torch.float32), reason="torch without oneDNN")
def test_all_convolutions_are_packed_on_a_cpu():
    optimized = optimize(network(), images(1, 3, 64, 64))
    assert kinds(optimized, nn.Conv2d) == kinds(optimized, DilatedDepthwiseConv) == 3
    assert kinds(optimized, PackedConv) > 20


@pytest.mark.skipif(not packable(torch.float32), reason="torch without oneDNN")
@torch.inference_mode()
def test_weights_are_packed_again_for_repeated_sizes():
    """Weights are packed for a repeated size, not for every new size."""
    conv = nn.Conv2d(256, 512, 1)
    packed = PackedConv(conv, relu=True)
    packed.lay_out([1, 256, 8, 8])
    orders = [packed._weight]
    for size in [(8, 8), (4, 4), (4, 4), (8, 8), (4, 4), (4, 4), (9, 9), (64, 64), (64, 64), (64, 64), (64, 64)]:
        x = images(1, 256, *size)
        torch.testing.assert_close(packed(x), F.relu(F.conv2d(x, conv.weight, conv.bias)), rtol=1e-4, atol=1e-3)
        if packed._weight is not orders[-1]:
            orders.append(packed._weight)
    assert len(orders) == 2


def test_outputs_are_equal_without_onednn(monkeypatch):
    monkeypatch.setattr("segnet.inference.runtimes.optimization.packable", lambda dtype: False)
    optimized = check(network())
    assert kinds(optimized, PackedConv) == 0
    assert kinds(optimized, nn.BatchNorm2d) == 0


class Shared(nn.Module):
    """A convolution whose result is also used before its norm, and one that runs twice."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()
        self.norm.running_mean.fill_(1.0)

    def forward(self, x):
        y = self.conv(x)
        return self.act(self.norm(y)) + y


class Twice(Shared):
    def forward(self, x):
        return self.norm(self.conv(self.act(self.norm(self.conv(x)))))


@pytest.mark.parametrize("model", [Shared, Twice])
def test_shared_results_are_not_fused(model):
    torch.manual_seed(0)
    check(model().eval())


@torch.inference_mode()
def test_bf16_outputs_are_close():
    model = network()
    optimized = optimize(model, images(1, 3, 64, 64), dtype=torch.bfloat16)
    x = images(1, 3, 97, 45)
    result, expected = optimized(x.bfloat16()), model(x)
    assert result.dtype == torch.bfloat16
    assert (result.float() - expected).abs().max() < 0.1 * expected.abs().max()

"""Context blocks and squeeze-and-excitation in the blocks of a ResNet."""

import logging
import math
from dataclasses import asdict

import pytest
import torch
from tiny import configuration
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segnet.errors import ConfigError
from segnet.models.backbones.resnet import ResNet
from segnet.models.backbones.resnet.plugins import ContextBlock, SqueezeExcite
from segnet.training.specs import complete_specs
from segnet.weights.load import load_backbone_weights
from segnet.weights.names import Weights

LAST = {"basic": "after_conv2", "bottleneck": "after_conv3"}


def small(block: str = "basic", output_stride: int = 32, **options) -> ResNet:
    return ResNet((1, 1, 1, 2), block, output_stride, base_channels=8, stem_channels=8, **options)


def plugin(name: str = "context", position: str = "after_conv1", **options) -> dict:
    return {"name": name, "position": position, "ratio": 0.5, **options}


@torch.no_grad()
def randomized(module: nn.Module) -> nn.Module:
    """Give all weights random values, in float64."""
    generator = torch.Generator().manual_seed(0)
    module = module.double().eval()
    for parameter in module.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


def by_hand(layers: nn.Sequential, context: list[float]) -> list[float]:
    """1x1 convolution, layer norm, ReLU and 1x1 convolution of one vector, by loops."""
    first, norm, _, last = layers

    def convolve(conv: nn.Conv2d, vector: list[float]) -> list[float]:
        return [
            conv.bias[row].item() + sum(conv.weight[row, column].item() * value for column, value in enumerate(vector))
            for row in range(conv.out_channels)
        ]

    hidden = convolve(first, context)
    mean = sum(hidden) / len(hidden)
    variance = sum((value - mean) ** 2 for value in hidden) / len(hidden)
    hidden = [
        max(0.0, (value - mean) / math.sqrt(variance + 1e-5) * norm.weight[index].item() + norm.bias[index].item())
        for index, value in enumerate(hidden)
    ]
    return convolve(last, hidden)


@pytest.mark.parametrize("pooling", ["att", "avg"])
@pytest.mark.parametrize("fusion", ["channel_add", "channel_mul", ["channel_add", "channel_mul"]])
def test_the_context_block_matches_its_formula(pooling, fusion):
    """Equations 4 and 5 of arXiv 1904.11492 in float64, by loops over pixels and channels."""
    block = randomized(ContextBlock(4, ratio=0.5, pooling=pooling, fusion=fusion))
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = block(x)
    for image, result in zip(x, found, strict=True):
        pixels = image.flatten(1).T.tolist()
        scores = [0.0] * len(pixels)
        if pooling == "att":
            weight = block.attention.weight.flatten().tolist()
            scores = [sum(a * b for a, b in zip(weight, pixel, strict=True)) for pixel in pixels]
        total = sum(math.exp(score) for score in scores)
        context = [
            sum(math.exp(score) / total * pixel[channel] for score, pixel in zip(scores, pixels, strict=True))
            for channel in range(4)
        ]
        expected = image.clone()
        for channel in range(4):
            if "channel_mul" in fusion:
                expected[channel] *= 1 / (1 + math.exp(-by_hand(block.mul, context)[channel]))
            if "channel_add" in fusion:
                expected[channel] += by_hand(block.add, context)[channel]
        torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)


def test_squeeze_and_excitation_matches_its_formula():
    """Equations 2 to 4 of arXiv 1709.01507 in float64."""
    block = randomized(SqueezeExcite(4, ratio=0.5))
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    squeezed = x.flatten(2).sum(2) / 15
    hidden = (squeezed @ block.reduce.weight[:, :, 0, 0].T + block.reduce.bias).clamp(min=0)
    gate = 1 / (1 + torch.exp(-(hidden @ block.expand.weight[:, :, 0, 0].T + block.expand.bias)))
    torch.testing.assert_close(block(x), x * gate[:, :, None, None], rtol=1e-12, atol=1e-12)


def test_widths_are_fractions_of_the_channels_at_the_position():
    with torch.device("meta"):
        model = ResNet(
            (1, 1, 1, 1),
            plugins=[
                {"name": "context", "position": "after_conv3"},
                {"name": "squeeze_excite", "position": "after_conv1"},
            ],
        )
    block = model.stages[1][0]
    assert block.after_conv3[0].add[0].weight.shape == (512 // 16, 512, 1, 1)
    assert block.after_conv1[0].reduce.weight.shape == (128 // 16, 128, 1, 1)
    # 2 * C * C / 16 weights, their biases, the norm, and the attention
    assert sum(p.numel() for p in block.after_conv3.parameters()) == 2 * 512 * 32 + 32 + 512 + 2 * 32 + 512


def test_plugins_are_in_the_chosen_stages_in_the_given_order():
    plugins = [
        plugin("squeeze_excite", stages=[False, True, True, False]),
        plugin("context", stages=[False, False, True, True]),
    ]
    found = [
        [[type(layer) for layer in block.after_conv1] for block in stage] for stage in small(plugins=plugins).stages
    ]
    assert found == [[[]], [[SqueezeExcite]], [[SqueezeExcite, ContextBlock]], [[ContextBlock]] * 2]


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("position", ["after_conv1", "after_conv2", "after_conv3"])
def test_a_plugin_follows_its_convolution(block, position):
    """A block with constant plugins gives what its convolutions give with that constant in place."""
    if (block, position) == ("basic", "after_conv3"):
        return
    torch.manual_seed(0)
    unit = small(block, plugins=[plugin("squeeze_excite", position)]).stages[1][0].eval()
    layers = {"conv1": unit.conv1, "conv2": unit.conv2, **({"conv3": unit.conv3} if block == "bottleneck" else {})}
    seen = {}
    for name, layer in {**layers, "plugin": getattr(unit, position)[0]}.items():
        layer.register_forward_hook(lambda _, inputs, output, name=name: seen.update({name: (inputs[0], output)}))
    x = torch.randn(2, 32 if block == "bottleneck" else 8, 9, 7)
    result = unit(x)
    torch.testing.assert_close(seen["plugin"][0], seen[position.removeprefix("after_")][1])
    following = f"conv{int(position[-1]) + 1}"
    if following in seen:
        assert seen[following][0] is seen["plugin"][1]
    else:
        torch.testing.assert_close(result, (seen["plugin"][1] + unit.shortcut(x)).relu())


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_a_new_context_block_by_addition_leaves_the_network_as_it_was(block, output_stride, caplog):
    torch.manual_seed(0)
    plain = small(block, output_stride, multi_grid=[1, 2]).eval()
    model = small(block, output_stride, multi_grid=[1, 2], plugins=[plugin(position=LAST[block])]).eval()
    caplog.set_level(logging.INFO)
    load_backbone_weights(model, Weights("plain.ckpt", "segnet", plain.state_dict()))
    [line] = [record.message for record in caplog.records if "initial values" in record.message]
    assert f"plain.ckpt: {len(model.added_weights)} weights of the backbone's added modules" in line
    assert f"stages.0.0.{LAST[block]}.0.add.0.bias" in line
    x = torch.randn(2, 3, 33, 47)
    for ours, theirs in zip(model(x), plain(x), strict=True):
        assert torch.equal(ours, theirs)


def test_weights_of_a_backbone_with_the_same_plugins_load_completely():
    torch.manual_seed(0)
    state = small(plugins=[plugin("squeeze_excite")]).state_dict()
    model = small(plugins=[plugin("squeeze_excite")])
    load_backbone_weights(model, Weights("whole.ckpt", "segnet", dict(state)))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    del state["stages.0.0.after_conv1.0.reduce.bias"]
    with pytest.raises(ValueError, match=r"1 weight is missing \(stages\.0\.0\.after_conv1\.0\.reduce\.bias"):
        load_backbone_weights(model, Weights("half.ckpt", "segnet", state))


@pytest.mark.parametrize("fusion", ["channel_add", "channel_mul"])
def test_every_weight_of_the_plugins_learns_and_survives_checkpointing(fusion):
    gradients: list[dict[str, Tensor]] = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = small(
            plugins=[plugin("squeeze_excite"), plugin(fusion=fusion)],
            activation_checkpointing=checkpointing,
            norm={"name": "group", "groups": 4},
        )
        randomized(model).train()
        x = torch.randn(2, 3, 65, 47, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        sum(feature.square().mean() for feature in model(x)).backward()
        gradients.append({name: value.grad for name, value in model.named_parameters()})
        assert all(gradients[0][name].abs().max() > 0 for name in model.added_weights)
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value)


def test_the_operations_of_plugins_are_counted():
    with torch.device("meta"):
        model = small(plugins=[plugin(stages=[False, False, False, True])])
        images = torch.zeros(1, 3, 64, 96)
    with FlopCounterMode(display=False) as counter:
        model(images)
    with FlopCounterMode(display=False) as plain:
        small().to("meta")(images)
    # two blocks of 64 channels at 2 x 3: attention and pooling, then two 1x1 convolutions of one vector
    assert counter.get_total_flops() - plain.get_total_flops() == 2 * 2 * (2 * 64 * 6 + 2 * 64 * 32)


def test_a_stored_spec_has_every_option_of_a_plugin():
    config = configuration()
    config.backbone["plugins"] = [{"name": "context", "position": "after_conv2"}]
    stored = asdict(complete_specs(config))["backbone"]["plugins"]
    assert stored == [
        {
            "name": "context",
            "position": "after_conv2",
            "stages": [True] * 4,
            "ratio": 0.0625,
            "pooling": "att",
            "fusion": "channel_add",
        }
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "contxt"}, "backbone.plugins.name=contxt is unknown. Did you mean 'context'?"),
        ({"name": None}, "backbone.plugins.name=None is unknown. Choose from: context, squeeze_excite."),
        ({"position": "after_conv4"}, "position=after_conv4 of 'context' is unknown. Did you mean 'after_conv"),
        ({"position": None}, "backbone.plugins: 'context' needs a position, one of after_conv1, after_conv2"),
        ({"position": "after_conv3"}, "position=after_conv3 of 'context' is not available in basic blocks."),
        ({"stages": [True, True, True]}, "backbone.plugins.stages=[True, True, True] must be four of true and false"),
        ({"stages": [0, 1, 1, 1]}, "backbone.plugins.stages=[0, 1, 1, 1] must be four"),
        ({"stages": True}, "backbone.plugins.stages=True must be four"),
        ({"ratios": 0.5}, "backbone.plugins.ratios is not an option of 'context'. Did you mean 'ratio'?"),
        ({"ratio": 16}, "backbone.plugins.ratio=16 must be a fraction of the channels"),
        ({"ratio": 0}, "backbone.plugins.ratio=0 must be a fraction"),
        ({"ratio": 0.1}, "backbone.plugins.ratio=0.1 is too small: it leaves 0 of 8 channels, and 2 are needed"),
        ({"ratio": "half"}, "backbone.plugins.ratio=half has the wrong type"),
        ({"pooling": "max"}, "backbone.plugins.pooling=max is unknown"),
        ({"fusion": "channel_ad"}, "backbone.plugins.fusion=channel_ad is unknown. Did you mean 'channel_add'?"),
        ({"fusion": []}, "backbone.plugins.fusion= is unknown"),
    ],
)
def test_impossible_plugins_are_refused(options, words):
    with pytest.raises(ConfigError) as error:
        small(plugins=[plugin(**options)])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_plugin_without_a_spec_is_refused():
    with pytest.raises(
        ConfigError, match=r"backbone\.plugins: context is not a plugin: write plugins=\[\{name:context"
    ):
        small(plugins=["context"])

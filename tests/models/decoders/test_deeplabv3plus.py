import pytest
import torch
from torch import nn

from segnet.errors import ConfigError
from segnet.models.decoders.deeplabv3plus import DeepLabV3Plus
from segnet.models.layers import ConvNormAct, ImagePooling, SeparableConv
from segnet.models.norms import PooledBatchNorm

STRIDES = {8: (4, 8, 8, 8), 16: (4, 8, 16, 16), 32: (4, 8, 16, 32)}
CHANNELS = (6, 7, 8, 10)


def decoder(output_stride: int = 16, num_classes: int = 5, **options) -> DeepLabV3Plus:
    options = {"aspp_channels": 8, "low_level_channels": 4, "decoder_channels": 12, **options}
    return DeepLabV3Plus(CHANNELS, STRIDES[output_stride], num_classes, output_stride=output_stride, **options)


def features(output_stride: int, height: int, width: int, batch_size: int = 2) -> list[torch.Tensor]:
    return [
        torch.randn(batch_size, channels, -(-height // stride), -(-width // stride))
        for channels, stride in zip(CHANNELS, STRIDES[output_stride], strict=True)
    ]


def atrous_dilations(model: DeepLabV3Plus) -> list[int]:
    convs = [layer for layer in model.aspp.branches.modules() if isinstance(layer, nn.Conv2d)]
    return [conv.dilation[0] for conv in convs if conv.kernel_size == (3, 3)]


@pytest.mark.parametrize("separable", [True, False])
@pytest.mark.parametrize(("output_stride", "rates"), [(8, [12, 24, 36]), (16, [6, 12, 18]), (32, [3, 6, 9])])
def test_atrous_rates_follow_from_the_output_stride(output_stride, rates, separable):
    model = decoder(output_stride, separable=separable)
    assert atrous_dilations(model) == rates
    assert model.atrous_rates == tuple(rates)


@pytest.mark.parametrize("ends_at", STRIDES)
@pytest.mark.parametrize("output_stride", STRIDES)
def test_a_backbone_with_another_output_stride_is_refused(output_stride, ends_at):
    def build():
        return DeepLabV3Plus(CHANNELS, STRIDES[ends_at], 5, output_stride=output_stride, aspp_channels=8)

    if output_stride == ends_at:
        assert build().atrous_rates
        return
    with pytest.raises(ConfigError, match=rf"output_stride={output_stride}.*ends at stride {ends_at}.*={ends_at}$"):
        build()


def test_separable_applies_to_atrous_and_decoder_convolutions_only():
    for separable, kind in ((True, SeparableConv), (False, ConvNormAct)):
        model = decoder(separable=separable)
        one_by_one, *atrous, pooling = model.aspp.branches
        assert [type(layer) for layer in (*atrous, *model.fuse)] == [kind] * 5
        assert type(one_by_one) is type(model.aspp.project) is type(model.low_level) is ConvNormAct
        assert type(pooling) is ImagePooling
        assert type(pooling.project.norm) is PooledBatchNorm
    weights = [sum(p.numel() for p in decoder(separable=separable).parameters()) for separable in (True, False)]
    assert weights[0] < weights[1]


@pytest.mark.parametrize("aspp_channels", [1, 8, 256])
@pytest.mark.parametrize("separable", [True, False])
def test_any_aspp_width_works(aspp_channels, separable):
    model = decoder(aspp_channels=aspp_channels, separable=separable).eval()
    out = model(features(16, 33, 49))
    assert out.shape == (2, 5, 9, 13)
    assert model.aspp.project.conv.in_channels == 5 * aspp_channels


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (15, 17), (33, 97)])
@pytest.mark.parametrize("output_stride", STRIDES)
def test_logits_have_the_first_stage_s_stride(output_stride, size):
    out = decoder(output_stride).eval()(features(output_stride, *size))
    assert out.shape == (2, 5, -(-size[0] // 4), -(-size[1] // 4))
    assert out.isfinite().all()


def test_logits_match_the_paper_s_layers_applied_in_order():
    torch.manual_seed(0)
    model = decoder().eval()
    stages = features(16, 64, 96)
    branches = [branch(stages[-1]) for branch in model.aspp.branches]
    context = model.aspp.project(torch.cat(branches, 1))
    context = nn.functional.interpolate(context, size=(16, 24), mode="bilinear", align_corners=False)
    expected = model.classifier(model.fuse(torch.cat([context, model.low_level(stages[0])], 1)))
    assert torch.equal(model(stages), expected)
    untouched = [stages[0], torch.zeros_like(stages[1]), torch.zeros_like(stages[2]), stages[3]]
    assert torch.equal(model(untouched), expected)  # only the first and the last stage are used


def test_align_corners_changes_the_resizing():
    outputs = []
    for align_corners in (False, True):
        torch.manual_seed(0)
        model = decoder(align_corners=align_corners).eval()
        assert model.align_corners is align_corners
        outputs.append(model(features(16, 64, 96)))
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3


def test_dropout_applies_after_the_aspp_in_training_only():
    torch.manual_seed(0)
    model = decoder(dropout=0.5)
    stages = features(16, 64, 96)
    model.eval()
    assert torch.equal(model(stages), model(stages))
    model.aspp.dropout.train()
    assert not torch.equal(model(stages), model(stages))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"output_stride": 4}, "output_stride=4"),
        ({"aspp_channels": 0}, "decoder.aspp_channels=0"),
        ({"low_level_channels": -1}, "decoder.low_level_channels=-1"),
        ({"decoder_channels": 2.5}, "decoder.decoder_channels=2.5"),
        ({"aspp_channels": None}, "decoder.aspp_channels=None"),
        ({"dropout": 1.0}, "decoder.dropout=1.0"),
        ({"dropout": -0.1}, "decoder.dropout=-0.1"),
        ({"dropout": float("nan")}, "decoder.dropout=nan"),
        ({"dropout": "lots"}, "decoder.dropout=lots"),
        ({"dropout": None}, "decoder.dropout=None"),
    ],
)
def test_impossible_options_are_refused(options, words):
    with pytest.raises(ConfigError) as error:
        DeepLabV3Plus(CHANNELS, STRIDES[16], 5, **{"output_stride": 16, **options})
    assert words in str(error.value)


def test_weights_start_as_he_normal_with_fan_in_and_the_classifier_bias_as_zero():
    torch.manual_seed(0)
    model = decoder(separable=False, aspp_channels=64)
    weight = model.aspp.branches[1].conv.weight
    assert weight.std().item() == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.05)
    assert model.classifier.bias.count_nonzero() == 0

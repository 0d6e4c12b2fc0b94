"""Translation of parameter names of published weights; references are built by the projects' constructors."""

import re

import foreign_deeplabs
import foreign_resnets as foreign
import mmseg_reference as mmseg
import pytest
import torch

from segnet.errors import CheckpointError
from segnet.models.backbones.resnet import ResNet
from segnet.models.decoders.deeplabv3 import DeepLabV3
from segnet.models.decoders.deeplabv3plus import DeepLabV3Plus
from segnet.weights.names import (
    Weights,
    depths_of,
    pools_shortcuts,
    recognize,
    split,
    translate_backbone,
    translate_model,
)

D18, D50, D101 = foreign.DEPTHS[18], foreign.DEPTHS[50], foreign.DEPTHS[101]
VD = {"stem": "deep", "shortcut": "pool"}
V1C = {"stem": "deep", "shortcut": "conv"}
PLAIN = {"stem": "conv7x7", "shortcut": "conv"}
X50 = {"groups": 32, "base_width": 4}


def torch_resnet(basic, depths, stem, down, **options):
    return lambda: foreign.TorchResNet(basic, depths, stem, getattr(foreign, f"{down}_downsample"), **options)


def paddle_resnet(*args, **options):
    return lambda: foreign.PaddleResNet(*args, **options)


def mmpretrain(basic, depths, stem, down):
    channels = 512 if basic else 2048
    backbone = torch_resnet(basic, depths, stem, down, fc=False)
    return lambda: foreign.ImageClassifier(backbone(), channels)


# published weights: constructor, naming scheme, and the matching options of segnet
PUBLISHED = {
    "timm resnet18d": (torch_resnet(True, D18, "timm", "timm"), "timm", VD),
    "timm resnet50d": (torch_resnet(False, D50, "timm", "timm"), "timm", VD),
    "timm resnext50d_32x4d": (torch_resnet(False, D50, "timm", "timm", **X50), "timm", VD | X50),
    "timm resnet50c": (torch_resnet(False, D50, "timm", "conv"), "timm", V1C),
    "torchvision resnet18": (torch_resnet(True, D18, "plain", "conv"), "torchvision", PLAIN),
    "torchvision resnet50": (torch_resnet(False, D50, "plain", "conv"), "torchvision", PLAIN),
    "torchvision resnext50_32x4d": (torch_resnet(False, D50, "plain", "conv", **X50), "torchvision", PLAIN | X50),
    "mmseg resnet18_v1c": (torch_resnet(True, D18, "mm", "conv", fc=False), "mmseg", V1C),
    "mmseg resnet50_v1c": (torch_resnet(False, D50, "mm", "conv"), "mmseg", V1C),
    "mmseg resnet50_v1d": (torch_resnet(False, D50, "mm", "mmseg"), "mmseg", VD),
    "mmpretrain resnet18": (mmpretrain(True, D18, "plain", "conv"), "torchvision", PLAIN),
    "mmpretrain resnet50": (mmpretrain(False, D50, "plain", "conv"), "torchvision", PLAIN),
    "mmpretrain resnetv1c50": (mmpretrain(False, D50, "mm", "conv"), "mmseg", V1C),
    "mmpretrain resnetv1d50": (mmpretrain(False, D50, "mm", "mmpretrain"), "mmseg", VD),
    "paddleseg resnet18_vd": (paddle_resnet(True, D18, "bb", True), "paddle", VD),
    "paddleseg resnet101_vd": (paddle_resnet(False, D101, "bb", True), "paddle", VD),
    "paddleclas 1 resnet50_vd": (paddle_resnet(False, D50, "bb", True, "out"), "paddle", VD),
    "paddleclas 1 resnet50": (paddle_resnet(False, D50, "res", False, "out"), "paddle", PLAIN),
    "paddleclas 1 resnet101": (paddle_resnet(False, D101, "res", False, "out"), "paddle", PLAIN),
    "paddleclas resnext50_32x4d": (
        paddle_resnet(False, D50, "bb", False, "out", groups=32, width=2),
        "paddle",
        PLAIN | X50,
    ),
    "paddleclas resnext50_vd_32x4d": (
        paddle_resnet(False, D50, "bb", True, "out", groups=32, width=2),
        "paddle",
        VD | X50,
    ),
    "paddleclas 2 resnet18_vd": (paddle_resnet(True, D18, "blocks", True, "fc"), "paddleclas", VD),
    "paddleclas 2 resnet50_vd": (paddle_resnet(False, D50, "blocks", True, "fc"), "paddleclas", VD),
    "paddleclas 2 resnet50": (paddle_resnet(False, D50, "blocks", False, "fc"), "paddleclas", PLAIN),
    "paddleclas 2 resnet101": (paddle_resnet(False, D101, "blocks", False, "fc"), "paddleclas", PLAIN),
}
# a first stage of basic blocks with equal channels: only these shortcuts are missing in the files
WITHOUT_FIRST_SHORTCUT = {"timm resnet18d"}


def weights_of(state: dict, source: str = "file") -> Weights:
    return Weights(source, recognize(state), state)


def published(name: str) -> tuple[Weights, str, dict]:
    """Weights on the meta device: only names and shapes."""
    make, scheme, options = PUBLISHED[name]
    with torch.device("meta"):
        return weights_of(make().state_dict(), name), scheme, options


def shapes(state: dict) -> dict:
    return {name: tuple(value.shape) for name, value in state.items() if not name.endswith("num_batches_tracked")}


def depths_and_block(name: str) -> dict:
    layers = int(re.search(r"(18|50|101)", name)[1])
    return {"depths": foreign.DEPTHS[layers], "block": "basic" if layers == 18 else "bottleneck"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_scheme_of_published_names_is_recognized(name):
    weights, scheme, _ = published(name)
    assert weights.scheme == scheme


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_names_and_shapes_match_segnets(name):
    weights, _, options = published(name)
    shape = depths_and_block(name)
    state, _ = translate_backbone(weights, shape["depths"])
    with torch.device("meta"):
        expected = shapes(ResNet(**shape, output_stride=32, **options).state_dict())
    if name in WITHOUT_FIRST_SHORTCUT:
        expected = {key: shape for key, shape in expected.items() if not key.startswith("stages.0.0.shortcut.")}
    assert shapes(state) == expected


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_classifier_has_torchs_layout(name):
    weights, _, _ = published(name)
    _, head = translate_backbone(weights, depths_and_block(name)["depths"])
    channels = 512 if "18" in name else 2048
    has_none = name.startswith("paddleseg") or name == "mmseg resnet18_v1c"
    assert shapes(head) == ({} if has_none else {"weight": (1000, channels), "bias": (1000,)})


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_kind_of_shortcut_is_detected(name):
    weights, _, options = published(name)
    assert pools_shortcuts(weights) == (options["shortcut"] == "pool")


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (torch_resnet(True, D18, "plain", "conv"), 11_689_512),
        (torch_resnet(False, D50, "plain", "conv"), 25_557_032),
        (torch_resnet(False, D50, "plain", "conv", **X50), 25_028_904),
        (torch_resnet(True, D18, "timm", "timm"), 11_708_744),
        (torch_resnet(False, D50, "timm", "timm"), 25_576_264),
    ],
)
def test_reference_models_have_the_published_size(make, count):
    with torch.device("meta"):
        assert sum(value.numel() for value in make().parameters()) == count


def test_values_of_paddles_classifier_are_transposed():
    model = foreign.randomize(foreign.PaddleResNet(True, (1, 1, 1, 1), "blocks", True, "fc", base=8, num_classes=5))
    _, head = translate_backbone(weights_of(model.state_dict()), (1, 1, 1, 1))
    assert torch.equal(head["weight"], model.fc.weight.T)
    assert torch.equal(head["bias"], model.fc.bias)


def test_other_depths_are_refused_and_both_named():
    with torch.device("meta"):
        state = foreign.TorchResNet(False, (3, 24, 36, 3), "timm", foreign.timm_downsample, fc=False).state_dict()
    with pytest.raises(CheckpointError) as error:
        translate_backbone(weights_of(state, "resnet200d.pth"), (3, 12, 48, 3))
    assert str(error.value) == (
        "resnet200d.pth: does not fit the backbone: the file contains a ResNet with depths (3, 24, 36, 3), "
        "the backbone (3, 12, 48, 3)"
    )


@pytest.mark.parametrize("name", ["resnetaa50d", "resnetblur50", "seresnextaa101d_32x8d"])
def test_anti_aliased_resnets_are_refused(name):
    weights, _, _ = published("timm resnet50d")
    weights.meta["architecture"] = "resnet50d"
    translate_backbone(weights, D50)
    weights.meta["architecture"] = name
    with pytest.raises(CheckpointError, match=f"choose backbone=timm backbone.model={name}"):
        translate_backbone(weights, D50)


@pytest.mark.parametrize("names", [["features.0.weight"], ["conv1.weight"], ["layer1.0.conv1.weight"], ["fc.weight"]])
def test_unknown_names_are_refused_and_the_first_ones_listed(names):
    weights = weights_of(dict.fromkeys(names, torch.ones(1)), "vgg.pth")
    assert weights.scheme == "unknown"
    with pytest.raises(CheckpointError) as error:
        translate_backbone(weights, (2, 2, 2, 2))
    assert str(error.value).startswith("vgg.pth: unknown naming scheme of the weights; known are ")
    assert "paddle, paddleclas, timm, torchvision, mmseg, segnet" in str(error.value)
    assert str(error.value).endswith(names[0])


def test_names_without_a_rule_stay_unchanged():
    weights, _, _ = published("torchvision resnet18")
    weights.state["layer1.0.se.fc1.weight"] = torch.ones(1)
    weights.state["layer2.0.downsample.7.weight"] = torch.ones(1)
    state, _ = translate_backbone(weights, D18)
    assert {"layer1.0.se.fc1.weight", "layer2.0.downsample.7.weight"} <= state.keys()


@pytest.mark.parametrize("prefix", ["", "backbone.", "model.backbone."])
def test_segnets_names_stay_unchanged(prefix):
    with torch.device("meta"):
        ours = ResNet(depths=D18, block="basic").state_dict()
    state = {f"{prefix}{name}": value for name, value in ours.items()}
    if prefix:
        state[prefix.replace("backbone", "decoder") + "classifier.weight"] = torch.ones(1)
    if prefix.startswith("model."):
        state["loss.weight"] = torch.ones(1)  # belongs to the training, not to the model
    weights = weights_of(state)
    assert weights.scheme == "segnet"
    backbone, _ = translate_backbone(weights, D18)
    assert shapes(backbone) == shapes(ours)
    assert set(split(weights)[1]) == ({"decoder.classifier.weight"} if prefix else set())


@pytest.mark.parametrize(("shortcut", "pools"), [("pool", True), ("conv", False), (None, True)])
def test_segnets_checkpoint_contains_the_kind_of_shortcut(shortcut, pools):
    spec = {"name": "resnet"} if shortcut is None else {"name": "resnet", "shortcut": shortcut}
    state = {"model.backbone.stages.0.0.conv1.conv.weight": torch.ones(1)}
    meta = {"hyper_parameters": {"model": {"backbone": spec}}}
    assert pools_shortcuts(Weights("a.ckpt", "segnet", state, meta=meta)) is pools
    for nothing in ({}, {"hyper_parameters": {}}, {"hyper_parameters": {"model": 3}}):
        assert pools_shortcuts(Weights("a.ckpt", "segnet", state, meta=nothing)) is None


def ours(plus: bool, backbone: dict, **decoder) -> dict:
    """Names and shapes of segnet's whole model."""
    with torch.device("meta"):
        net = ResNet(output_stride=8, **backbone)
        make = DeepLabV3Plus if plus else DeepLabV3
        head = make(net.channels, net.strides, 19, output_stride=8, **decoder)
    of_backbone = {f"backbone.{name}": shape for name, shape in shapes(net.state_dict()).items()}
    return {**of_backbone, **{f"decoder.{name}": shape for name, shape in shapes(head.state_dict()).items()}}


@pytest.mark.parametrize("layers", [50, 101])
@pytest.mark.parametrize("plus", [True, False])
def test_paddleseg_deeplabs_translate_completely(plus, layers):
    with torch.device("meta"):
        backbone = foreign.PaddleResNet(False, foreign.DEPTHS[layers], "bb", True)
        model = foreign_deeplabs.DeepLab(backbone, (256, 512, 1024, 2048), plus)
    state, auxiliary = translate_model(weights_of(model.state_dict()), foreign.DEPTHS[layers])
    assert shapes(state) == ours(plus, {"depths": foreign.DEPTHS[layers]})
    assert auxiliary == []


@pytest.mark.parametrize("avg_down", [True, False])
@pytest.mark.parametrize("plus", [True, False])
def test_mmsegmentation_deeplabs_translate_completely(plus, avg_down):
    with torch.device("meta"):
        model = mmseg.ResNetV1c(mmseg.Bottleneck, D50, 8, avg_down, 64, multi_grid=None)
        channels = (256, 512, 1024, 2048)
        head = mmseg.ASPPHead(channels[-1], 512, 19, 8, *((channels[0], 48) if plus else (0, 0)))
        auxiliary = mmseg.FCNHead(1024, 19)
    parts = {"backbone": model, "decode_head": head, "auxiliary_head": auxiliary}
    theirs = {f"{part}.{name}": value for part, module in parts.items() for name, value in module.state_dict().items()}
    state, dropped = translate_model(weights_of(theirs), D50)
    decoder = {"aspp_channels": 512, "projection_kernel": 3} | ({"decoder_channels": 512} if plus else {})
    assert shapes(state) == ours(plus, {"depths": D50, **(VD if avg_down else V1C)}, **decoder)
    assert set(dropped) == {name for name in theirs if name.startswith("auxiliary_head.")}


def test_pooled_aspp_features_move_from_first_to_last():
    state = {
        "backbone.stem.0.weight": torch.ones(1),
        "backbone.layer1.0.conv1.weight": torch.ones(1),
        "decode_head.bottleneck.conv.weight": torch.arange(10.0).reshape(1, 10, 1, 1).repeat(2, 1, 1, 1),
    }
    renamed, _ = translate_model(weights_of(state), (1,))
    # channels 0 and 1 take the pooled features; each branch has two channels
    expected = [2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert renamed["decoder.aspp.project.conv.weight"][0].flatten().tolist() == expected


def test_depths_are_counted_from_segnets_names():
    assert depths_of(["backbone.stages.0.1.a", "backbone.stages.1.0.a", "stem.0.a"]) == (2, 1)
    assert depths_of(["decoder.classifier.weight"]) == ()

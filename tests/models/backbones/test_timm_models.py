"""Backbones of timm itself."""

import pytest
import torch
from backbone_shapes import SIZES, shapes_of_contract

from segnet.config import OptimConfig
from segnet.errors import ConfigError
from segnet.models.backbones.timm import TimmBackbone
from segnet.training.optim import parameter_groups


@pytest.fixture(scope="module")
def timm():
    return pytest.importorskip("timm", reason="timm is an optional package", exc_type=ImportError)


MENU = [
    ("resnet18", (8, 16, 32), (64, 128, 256, 512)),
    ("resnet50d", (8, 16, 32), (256, 512, 1024, 2048)),
    ("res2net50_26w_4s", (8, 16, 32), (256, 512, 1024, 2048)),
    ("resnest50d", (8, 16, 32), (256, 512, 1024, 2048)),
    ("regnety_008", (8, 16, 32), (64, 128, 320, 768)),
    ("convnext_tiny", (8, 16, 32), (96, 192, 384, 768)),
    ("mobilenetv3_large_100", (8, 16, 32), (24, 40, 112, 960)),
    ("efficientnet_b0", (8, 16, 32), (24, 40, 112, 320)),
    ("swin_tiny_patch4_window7_224", (32,), (96, 192, 384, 768)),
    ("hrnet_w18", (32,), (128, 256, 512, 1024)),
]


@pytest.mark.parametrize(("name", "output_strides", "channels"), MENU)
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_timm_families_fulfill_the_contract_or_are_refused(timm, name, output_strides, channels, output_stride):
    if output_stride not in output_strides:
        with pytest.raises(ConfigError, match=f"output_stride={output_stride}"):
            TimmBackbone(name, output_stride)
        return
    model = TimmBackbone(name, output_stride).eval()
    assert model.channels == channels
    assert model.strides == tuple(min(stride, output_stride) for stride in (4, 8, 16, 32))
    for size in SIZES:
        with torch.no_grad():
            features = model(torch.randn(2, 3, *size))
        assert [tuple(feature.shape) for feature in features] == shapes_of_contract(model, size)


def test_the_recipe_of_convnext_lowers_learning_rates_and_drops_paths(timm):
    """The factors of mmsegmentation's upernet_convnext_tiny: 0.9 ** 7 in the stem, 0.9 ** 3 in the last stage."""
    model = TimmBackbone("convnext_tiny", 32, drop_path_rate=0.4)
    drops = [layer.drop_prob for layer in model.modules() if type(layer).__name__ == "DropPath"]
    assert max(drops) == pytest.approx(0.4)
    optim = OptimConfig(name="adamw", lr=1.0, weight_decay=0.05, backbone_lr_factor=0.81, layer_decay=0.9)
    groups = parameter_groups(model, model, optim)
    rates = sorted({group["lr"] for group in groups})
    assert rates == pytest.approx([0.9**power for power in (7, 6, 5, 4, 3)])
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    undecayed = {
        names[id(parameter)].rpartition(".")[2]
        for group in groups
        for parameter in group["params"]
        if not group["weight_decay"]
    }
    assert undecayed == {"weight", "bias", "gamma"}
    assert sum(parameter.numel() for parameter in model.parameters()) == 27_818_592


def test_vision_transformers_have_one_stride(timm):
    with torch.no_grad():
        model = TimmBackbone("vit_tiny_patch16_224", 16).eval()
        features = model(torch.randn(2, 3, 40, 17))
    assert set(model.strides) == {16}
    assert [tuple(feature.shape) for feature in features] == [(2, 192, 3, 2)] * len(model.strides)
    for other in (8, 32):
        with pytest.raises(ConfigError, match="choose output_stride=16"):
            TimmBackbone("vit_tiny_patch16_224", other)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("resnet18", [["conv1", "bn1", "act1", "maxpool"], ["layer1"], ["layer2"], ["layer3"], ["layer4"]]),
        ("convnext_atto", [["stem_0", "stem_1"], ["stages_0"], ["stages_1"], ["stages_2"], ["stages_3"]]),
        ("mobilenetv2_050", None),
    ],
)
def test_parts_are_the_stem_and_the_stages(timm, name, names):
    model = TimmBackbone(name, 32)
    if names is None:
        assert model.parts is None
        return
    children = dict(model.net.named_children())
    assert [[id(child) for child in part] for part in model.parts] == [
        [id(children[name]) for name in part] for part in names
    ]


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "mobilenetv2_050", "swin_s3_tiny_224", "xception41"])
def test_weights_of_the_whole_timm_model_give_its_features(timm, name):
    torch.manual_seed(0)
    whole = timm.create_model(name).eval()
    model = TimmBackbone(name, 32).eval()
    assert model.load_pretrained(whole.state_dict()) == ([], [])
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = whole.forward_intermediates(images, intermediates_only=True)
        features = model(images)
    for ours, theirs in zip(features, expected[-len(features) :], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_nothing_is_loaded_if_weights_are_missing_or_unknown(timm):
    torch.manual_seed(0)
    state = timm.create_model("resnet18").state_dict()
    state["layer9.0.conv1.weight"] = state.pop("layer1.0.conv1.weight")
    state["layer2.0.bn1.weight"] = torch.ones(3)
    model = TimmBackbone("resnet18", 32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    missing, left_over = model.load_pretrained(state)
    assert missing == ["layer1.0.conv1.weight", "layer2.0.bn1.weight"]
    assert left_over == ["layer2.0.bn1.weight", "layer9.0.conv1.weight"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("in_channels", [1, 5])
def test_first_convolution_is_adapted_to_the_number_of_channels(timm, in_channels):
    torch.manual_seed(0)
    state = timm.create_model("resnet18").state_dict()
    model = TimmBackbone("resnet18", 32, in_channels)
    assert model.load_pretrained(state) == ([], [])
    colors = state["conv1.weight"]
    expected = (
        colors.sum(dim=1, keepdim=True)
        if in_channels == 1
        else colors[:, [0, 1, 2, 0, 1]] * 3 / 5  # cyclic, with equal brightness
    )
    torch.testing.assert_close(model.net.conv1.weight, expected)


def test_model_names_are_checked_before_timm_can_download(timm):
    for name in ("hf-hub:timm/resnet18", "local-dir:/", "resnet18.a1_in1k", "resnet81"):
        with pytest.raises(ConfigError, match=r"backbone\.model="):
            TimmBackbone(name)

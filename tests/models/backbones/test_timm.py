import subprocess
import sys
import types

import pytest
import torch
from torch import nn

from segnet.components import build
from segnet.config import OptimConfig
from segnet.errors import ConfigError, MachineError
from segnet.models.backbones import BACKBONES
from segnet.models.backbones.timm import TimmBackbone
from segnet.models.checkpoint import load_checkpoint, save_checkpoint
from segnet.models.segmentation_model import SegmentationModel
from segnet.training.optim import parameter_groups

SIZES = [(1, 1), (33, 97), (64, 50)]


# --- without timm: a stand-in of the few functions that segnet calls ---


class Stage(nn.Sequential):
    """3x3 convolutions: sizes round down without padding, and up with padding."""

    def __init__(self, in_channels: int, channels: int, stride: int, rounds_up: bool) -> None:
        kernel, padding = (3, 1) if rounds_up else (stride, 0)
        super().__init__(nn.Conv2d(in_channels, channels, kernel, stride, padding))


class FakeNet(nn.Module):
    """Features at strides 2, 4, 8, 16, 32, like timm's extractors."""

    def __init__(self, in_chans=3, *, reductions=(2, 4, 8, 16, 32), rounds_up=True, declares_wrongly=False, fmt=None):
        super().__init__()
        channels = [4 * (1 + index) for index in range(len(reductions))]
        self.feature_info = types.SimpleNamespace(reduction=lambda: list(reductions), channels=lambda: list(channels))
        previous = [1, *reductions[:-1]]
        widths = [in_chans, *channels[:-1]]
        self.stages = nn.ModuleList(
            Stage(width, channel, after // before, rounds_up)
            for width, channel, before, after in zip(widths, channels, previous, reductions, strict=True)
        )
        self.declares_wrongly = declares_wrongly
        if fmt:
            self.output_fmt = fmt

    def forward(self, x):
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x.permute(0, 2, 3, 1) if hasattr(self, "output_fmt") else x)
        return features[:-1] if self.declares_wrongly else features


def with_drop_path(features_only, in_chans, drop_path_rate=0.0):
    net = FakeNet(in_chans)
    net.drop_path_rate = drop_path_rate
    return net


def refuse_dilation(features_only, in_chans, output_stride=32):
    if output_stride != 32:
        raise AssertionError  # without a message, as in some families
    return FakeNet(in_chans)


def without_dilation(features_only, in_chans):
    return FakeNet(in_chans)


def with_dilation(features_only, in_chans, output_stride=32):
    return FakeNet(in_chans, reductions=[min(stride, output_stride) for stride in (2, 4, 8, 16, 32)])


def collects_unknown_options(features_only, in_chans, **more):
    if more:
        raise TypeError(f"Net.__init__() got unexpected keyword argument(s): {sorted(more)}")
    return FakeNet(in_chans)


def no_features(features_only, in_chans, **more):
    raise RuntimeError("features_only not implemented for Mixer models.\nmore lines")


MODELS = {
    "plain": without_dilation,
    "dilated": with_dilation,
    "dropping": with_drop_path,
    "undilated": refuse_dilation,
    "collecting": collects_unknown_options,
    "mixer": no_features,
    "fine": lambda features_only, in_chans: FakeNet(in_chans, reductions=(2, 4)),
    "rounding_down": lambda features_only, in_chans: FakeNet(in_chans, rounds_up=False),
    "misdeclared": lambda features_only, in_chans: FakeNet(in_chans, declares_wrongly=True),
    "channels_last": lambda features_only, in_chans: FakeNet(in_chans, fmt="NHWC"),
}


@pytest.fixture
def fake_timm(monkeypatch):
    timm = types.ModuleType("timm")
    timm.__version__ = "1.0.0"
    timm.is_model = lambda name: name.partition(".")[0] in MODELS  # timm's own ignores a tag, too
    timm.list_models = lambda: sorted(MODELS)

    def create_model(name, pretrained, **options):
        assert not pretrained
        return MODELS[name](**options)

    timm.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", timm)


def shapes_of_contract(model, size):
    return [
        (2, channels, -(-size[0] // stride), -(-size[1] // stride))
        for channels, stride in zip(model.channels, model.strides, strict=True)
    ]


def test_the_table_of_backbones_does_not_import_timm():
    code = (
        "import sys; from segnet.models.backbones import BACKBONES; "
        "assert 'timm' in BACKBONES; sys.exit('timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_missing_timm_is_a_one_line_error_with_the_package_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # makes the import fail
    with pytest.raises(MachineError) as error:
        build("backbone", BACKBONES, {"name": "timm", "model": "resnet18"})
    assert str(error.value) == 'backbone.name=timm needs the package timm: pip install "segnet[timm]"'


def test_a_failed_import_of_timm_gives_the_reason(monkeypatch, tmp_path):
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(MachineError, match=r"torchvision::nms does not exist\): .* install torchvision==0\.\d+\.\d+"):
        TimmBackbone("resnet18")


def test_a_missing_model_name_is_refused(fake_timm):
    with pytest.raises(ConfigError, match=r"backbone\.model is not set"):
        build("backbone", BACKBONES, {"name": "timm", "output_stride": 32})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "dilatd"}, "backbone.model=dilatd is unknown to timm 1.0.0: did you mean dilated"),
        ({"model": "xyzzy"}, "timm.list_models() lists all names"),
        ({"model": "hf-hub:someone/plain"}, "is unknown to timm"),  # timm itself would download it
        ({"model": "plain.in1k"}, "use backbone.model=plain backbone_weights=timm/plain.in1k"),
        ({"model": "plain."}, "contains a tag of weights"),
        ({"model": "plain", "output_stride": 64}, "output_stride=64"),
        ({"model": "plain", "in_channels": 0}, "backbone.in_channels=0"),
        (
            {"model": "plain", "output_stride": 16},
            "does not support output_stride=16, its features end at stride 32: choose output_stride=32",
        ),
        ({"model": "dropping", "output_stride": 32, "drop_path_rate": 1.0}, "drop_path_rate=1.0 must be a probability"),
        (
            {"model": "plain", "output_stride": 32, "drop_path_rate": 0.1},
            "backbone.drop_path_rate=0.1: plain has no stochastic depth: leave it out",
        ),
        ({"model": "fine", "output_stride": 16}, "its features end at stride 4"),
        (
            {"model": "undilated", "output_stride": 8},
            "features at output_stride=8 (timm gives no reason)",
        ),
        ({"model": "mixer", "output_stride": 32}, "timm says: features_only not implemented for Mixer models.)"),
        ({"model": "misdeclared", "output_stride": 32}, "does not give features of the strides [4, 8, 16, 32]"),
    ],
)
def test_impossible_timm_options_are_a_one_line_error(fake_timm, options, words):
    with pytest.raises(ConfigError) as error:
        TimmBackbone(**options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["plain", "dilated", "undilated", "collecting", "rounding_down", "channels_last"])
@pytest.mark.parametrize("size", SIZES)
def test_features_are_channels_first_from_stride_4_and_round_up(fake_timm, name, size):
    model = TimmBackbone(name, 32, in_channels=2)
    assert model.strides == (4, 8, 16, 32)
    assert model.channels == (8, 12, 16, 20)
    features = model(torch.zeros(2, 2, *size))
    assert [tuple(feature.shape) for feature in features] == shapes_of_contract(model, size)
    assert model.pads == (name == "rounding_down")


@pytest.mark.parametrize(("output_stride", "strides"), [(8, (4, 8, 8, 8)), (16, (4, 8, 16, 16))])
def test_output_stride_reaches_timm(fake_timm, output_stride, strides):
    assert TimmBackbone("dilated", output_stride).strides == strides


@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_the_drop_path_rate_reaches_timm(fake_timm, rate):
    assert TimmBackbone("dropping", 32, drop_path_rate=rate).net.drop_path_rate == rate


def test_padding_changes_nothing_if_the_image_fills_the_stride(fake_timm):
    torch.manual_seed(0)
    model = TimmBackbone("rounding_down", 32)
    images = torch.randn(1, 3, 64, 96)
    for ours, theirs in zip(model(images), model.net(images)[1:], strict=True):
        assert torch.equal(ours, theirs)


def test_images_are_padded_right_and_below_with_the_mean_color(fake_timm):
    torch.manual_seed(0)
    model = TimmBackbone("rounding_down", 32)
    images = torch.randn(1, 3, 33, 40)
    padded = torch.zeros(1, 3, 64, 64)
    padded[:, :, :33, :40] = images
    for ours, whole in zip(model(images), model.net(padded)[1:], strict=True):
        assert torch.equal(ours, whole[:, :, : ours.shape[2], : ours.shape[3]])


def test_padding_is_exported_for_images_of_any_size(fake_timm, tmp_path):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    model = TimmBackbone("rounding_down", 32).eval()
    sizes = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.export.export(model, (torch.zeros(2, 3, 65, 97),), dynamic_shapes=(sizes,))
    path = tmp_path / "model.onnx"
    torch.onnx.export(program, dynamo=True, verbose=False).save(path)
    session = onnxruntime.InferenceSession(path)
    for size in ((97, 255), (64, 33), (225, 161)):
        images = torch.randn(1, 3, *size)
        found = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        for ours, theirs in zip(found, model(images), strict=True):
            torch.testing.assert_close(torch.tensor(ours), theirs, rtol=1e-4, atol=1e-5)


def test_building_leaves_the_model_in_training_mode(fake_timm):
    assert all(layer.training for layer in TimmBackbone("plain", 32).modules())


def test_parts_are_none_if_the_extractor_does_not_expose_them(fake_timm):
    assert TimmBackbone("plain", 32).parts is None


def test_loading_a_timm_checkpoint_without_timm_names_the_package(fake_timm, monkeypatch, tmp_path):
    spec = {
        "backbone": {"name": "timm", "model": "plain", "output_stride": 32},
        "decoder": {"name": "deeplabv3plus", "output_stride": 32, "aspp_channels": 8, "decoder_channels": 8},
        "num_classes": 2,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    state = {f"model.{name}": value for name, value in SegmentationModel(**spec).state_dict().items()}
    classes = {"names": ["a", "b"], "palette": [[0, 0, 0], [255, 0, 0]], "ignore_index": 255}
    path = tmp_path / "model.ckpt"
    save_checkpoint({"state_dict": state, "hyper_parameters": {"model": spec, "classes": classes}}, path)
    load_checkpoint(path)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MachineError, match="needs the package timm"):
        load_checkpoint(path)


# --- with timm itself ---


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

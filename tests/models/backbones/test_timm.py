"""The wrapper of timm's models, with a stand-in of the few functions that segnet calls."""

import subprocess
import sys
import types

import pytest
import torch
from backbone_shapes import SIZES, shapes_of_contract
from torch import nn

from segnet.components import build
from segnet.errors import ConfigError, MachineError
from segnet.models.backbones import BACKBONES
from segnet.models.backbones.timm import TimmBackbone
from segnet.models.checkpoint import load_checkpoint, save_checkpoint
from segnet.models.segmentation_model import SegmentationModel


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

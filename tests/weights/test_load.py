import json
import logging
import os
import pickle
from pathlib import Path

import fill
import foreign_resnets as foreign
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from segnet.errors import CheckpointError, ConfigError
from segnet.models.backbones.resnet import ResNet
from segnet.models.segmentation_model import SegmentationModel
from segnet.weights.load import (
    Weights,
    load_backbone_weights,
    load_model_weights,
    read_weights,
    resolve_normalization,
)
from segnet.weights.pdparams import BOOKKEEPING

PARITY = Path(__file__).parents[1] / "data" / "parity"
DEPTHS = {18: ("basic", [2, 2, 2, 2]), 50: ("bottleneck", [3, 4, 6, 3])}


def fixture(name: str) -> dict:
    return json.loads((PARITY / f"{name}.json").read_text())


def arrays_of(name: str) -> dict[str, np.ndarray]:
    return {key: fill.tensor(key, shape) for key, shape in fixture(name)["param_shapes"].items()}


def write(path: Path, arrays: dict) -> Path:
    path.write_bytes(pickle.dumps({**arrays, BOOKKEEPING: {name: f"{name}.w_0" for name in arrays}}, protocol=2))
    return path


def backbone_spec(layers: int, output_stride: int, multi_grid: list[int] | None = None) -> dict:
    block, depths = DEPTHS[layers]
    return {"block": block, "depths": depths, "output_stride": output_stride, "multi_grid": multi_grid}


def model_of(layers: int, output_stride: int, num_classes: int) -> SegmentationModel:
    return SegmentationModel(
        backbone={"name": "resnet", **backbone_spec(layers, output_stride)},
        decoder={"name": "deeplabv3plus", "output_stride": output_stride},
        num_classes=num_classes,
        mean=[0, 0, 0],
        std=[1 / 255] * 3,  # the fixtures' image is normalized: leave it as it is
    )


def assert_close(ours: torch.Tensor, theirs: np.ndarray) -> None:
    """To 1e-4 of the largest absolute value."""
    assert ours.shape == theirs.shape
    assert np.abs(ours.numpy() - theirs).max() <= 1e-4 * np.abs(theirs).max()


@pytest.mark.parametrize("name", ["resnet18_vd_os16", "resnet50_vd_os16_mg124", "resnet50_vd_os8"])
@torch.inference_mode()
def test_backbone_computes_what_paddleseg_computes_with_the_same_file(tmp_path, name):
    told = fixture(name)
    backbone = ResNet(**backbone_spec(told["layers"], told["output_stride"], told["multi_grid"])).eval()
    load_backbone_weights(backbone, write(tmp_path / "w.pdparams", arrays_of(name)))
    features = backbone(torch.from_numpy(fill.image(told["height"], told["width"])))
    expected = np.load(PARITY / f"{name}.npz")
    assert len(features) == len(expected.files) == 4
    for index, feature in enumerate(features):
        kept = feature[:, :: feature.shape[1] // 64]  # the fixture holds 64 channels, evenly spread
        assert_close(kept, expected[f"out{index}"])


@torch.inference_mode()
def test_whole_model_computes_what_paddleseg_computes_with_the_same_file(tmp_path):
    name = "deeplabv3p_resnet50_vd_os8"
    told = fixture(name)
    model = model_of(told["layers"], told["output_stride"], told["num_classes"]).eval()
    assert model.decoder.atrous_rates == tuple(told["aspp_ratios"][1:])
    assert model.decoder.align_corners == told["align_corners"]
    load_model_weights(model, write(tmp_path / "w.pdparams", arrays_of(name)))
    logits = model(torch.from_numpy(fill.image(told["height"], told["width"])))
    assert_close(logits, np.load(PARITY / f"{name}.npz")["out0"])


@pytest.fixture(scope="module")
def resnet18() -> dict[str, np.ndarray]:
    return arrays_of("resnet18_vd_os16")


@pytest.fixture
def backbone() -> ResNet:
    torch.manual_seed(0)
    return ResNet(**backbone_spec(18, 16))


def refusal(module: torch.nn.Module, path: Path) -> str:
    """The message with which a file is refused; nothing may have been loaded by then."""
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        load_backbone_weights(module, path)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_weights_of_a_backbone_do_not_depend_on_its_output_stride(tmp_path, resnet18):
    path = write(tmp_path / "w.pdparams", resnet18)
    states = []
    for output_stride in (8, 16, 32):
        model = ResNet(**backbone_spec(18, output_stride))
        load_backbone_weights(model, path)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], other[name]) for other in states[1:] for name in states[0])


def test_values_land_where_their_names_say(tmp_path, backbone, resnet18):
    load_backbone_weights(backbone, write(tmp_path / "w.pdparams", resnet18))
    for theirs, ours in {
        "conv1_2._conv.weight": backbone.stem[1].conv.weight,
        "bb_2_1.conv1._conv.weight": backbone.stages[2][1].conv2.conv.weight,
        "bb_3_0.short._batch_norm._variance": backbone.stages[3][0].shortcut.project.norm.running_var,
        "bb_0_0.conv0._batch_norm._mean": backbone.stages[0][0].conv1.norm.running_mean,
    }.items():
        np.testing.assert_array_equal(ours.detach().numpy(), resnet18[theirs])


def test_missing_weights_are_counted_and_named(tmp_path, backbone, resnet18):
    kept = {name: array for name, array in resnet18.items() if not name.startswith(("conv1_1._conv", "bb_3_1.conv1."))}
    message = refusal(backbone, write(tmp_path / "w.pdparams", kept))
    assert "6 weights are missing (" in message
    assert "stages.3.1.conv2.conv.weight" in message
    assert "0 are left over (none)" in message


def test_weights_that_are_left_over_are_counted_and_named(tmp_path, backbone, resnet18):
    more = {"extra.weight": np.zeros(3, np.float32), "bb_3_1.conv2._conv.weight": np.zeros(3, np.float32)}
    message = refusal(backbone, write(tmp_path / "w.pdparams", {**resnet18, **more}))
    assert "0 weights are missing (none)" in message
    assert "2 are left over (extra.weight, stages.3.1.conv3.conv.weight)" in message


def test_weights_of_another_depth_do_not_fit(tmp_path, backbone):
    message = refusal(backbone, write(tmp_path / "w.pdparams", arrays_of("resnet50_vd_os8")))
    assert "the file has a ResNet of depths (3, 4, 6, 3), the backbone (2, 2, 2, 2)" in message


def test_of_some_hundred_names_a_few_are_told(tmp_path, backbone, resnet18):
    kept = {name: array for name, array in resnet18.items() if ".conv0._batch_norm." not in name}
    message = refusal(backbone, write(tmp_path / "w.pdparams", kept))
    assert "32 weights are missing (" in message
    assert message.count("stages.") == 5
    assert " and 27 more)" in message


def test_a_weight_of_another_shape_is_named_with_both_shapes(tmp_path, backbone, resnet18):
    wrong = {**resnet18, "bb_1_0.conv0._conv.weight": np.zeros((128, 64, 1, 1), np.float32)}
    message = refusal(backbone, write(tmp_path / "w.pdparams", wrong))
    assert "stages.1.0.conv1.conv.weight is [128, 64, 1, 1] in the file and [128, 64, 3, 3] in the model" in message


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, bool])
def test_weights_that_are_no_floats_are_refused(tmp_path, backbone, resnet18, dtype):
    # Paddle stores bfloat16 as uint16: taken as numbers they would be nonsense
    wrong = {**resnet18, "conv1_1._conv.weight": np.ones((32, 3, 3, 3), dtype)}
    message = refusal(backbone, write(tmp_path / "w.pdparams", wrong))
    assert "stem.0.conv.weight" in message


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_floats_of_another_width_are_converted(tmp_path, backbone, resnet18, dtype):
    weight = resnet18["conv1_1._conv.weight"].astype(dtype)
    load_backbone_weights(backbone, write(tmp_path / "w.pdparams", {**resnet18, "conv1_1._conv.weight": weight}))
    assert backbone.stem[0].conv.weight.dtype == torch.float32
    np.testing.assert_array_equal(backbone.stem[0].conv.weight.detach().numpy(), weight.astype(np.float32))


@pytest.mark.parametrize("head", ["out", "fc"])
def test_an_imagenet_classifier_is_dropped_and_that_is_said(tmp_path, backbone, resnet18, head, caplog):
    more = {f"{head}.weight": np.zeros((512, 1000), np.float32), f"{head}.bias": np.zeros(1000, np.float32)}
    with caplog.at_level(logging.INFO, "segnet"):
        load_backbone_weights(backbone, write(tmp_path / "w.pdparams", {**resnet18, **more}))
    assert f"2 weights of its head are not used ({head}.weight, {head}.bias)" in caplog.text
    np.testing.assert_array_equal(backbone.stem[0].conv.weight.detach().numpy(), resnet18["conv1_1._conv.weight"])


def test_nothing_is_said_where_nothing_is_dropped(tmp_path, backbone, resnet18, caplog):
    with caplog.at_level(logging.INFO, "segnet"):
        load_backbone_weights(backbone, write(tmp_path / "w.pdparams", resnet18))
    assert caplog.text == ""


def test_a_whole_models_file_initializes_a_backbone(tmp_path, backbone, resnet18, caplog):
    whole = {f"backbone.{name}": array for name, array in resnet18.items()}
    whole["head.decoder.conv.bias"] = np.zeros(19, np.float32)
    with caplog.at_level(logging.INFO, "segnet"):
        load_backbone_weights(backbone, write(tmp_path / "w.pdparams", whole))
    assert "1 weights of its head are not used (head.decoder.conv.bias)" in caplog.text
    np.testing.assert_array_equal(backbone.stem[0].conv.weight.detach().numpy(), resnet18["conv1_1._conv.weight"])


def test_a_backbones_file_is_no_whole_model(tmp_path, resnet18):
    with pytest.raises(CheckpointError, match="weights are missing"):
        load_model_weights(model_of(18, 16, 19), write(tmp_path / "w.pdparams", resnet18))


@torch.inference_mode()
def test_the_bias_of_a_convolution_before_a_norm_moves_into_its_running_mean(tmp_path, backbone, resnet18):
    bias = np.linspace(-1, 1, 32, dtype=np.float32)
    image = torch.from_numpy(fill.image(9, 9))
    load_backbone_weights(backbone, write(tmp_path / "w.pdparams", {**resnet18, "conv1_1._conv.bias": bias}))
    first, plain = backbone.stem[0].eval(), torch.from_numpy(resnet18["conv1_1._conv.weight"])
    convolved = torch.nn.functional.conv2d(image, plain, torch.from_numpy(bias), stride=2, padding=1)
    norm = [
        torch.from_numpy(resnet18[f"conv1_1._batch_norm.{part}"]) for part in ("_mean", "_variance", "weight", "bias")
    ]
    expected = torch.nn.functional.batch_norm(convolved, *norm, eps=1e-5).clamp(min=0)
    torch.testing.assert_close(first(image), expected, rtol=1e-4, atol=1e-5)


def test_a_bias_of_another_length_is_refused(tmp_path, backbone, resnet18):
    wrong = {**resnet18, "conv1_1._conv.bias": np.zeros(5, np.float32)}
    message = refusal(backbone, write(tmp_path / "w.pdparams", wrong))
    assert "1 are left over (stem.0.conv.bias)" in message


def test_files_that_cannot_be_read_are_refused(tmp_path, backbone):
    assert "no such file" in refusal(backbone, tmp_path / "none.pdparams")
    (tmp_path / "text.pdparams").write_text("not weights\n")
    assert "is not a .pdparams file" in refusal(backbone, tmp_path / "text.pdparams")


# Every other scheme, from narrow models of the projects that it is from

NARROW = (2, 1, 2, 1)
VD = {"stem": "deep", "shortcut": "pool"}
V1C = {"stem": "deep", "shortcut": "conv"}
PLAIN = {"stem": "conv7x7", "shortcut": "conv"}
GROUPS = {"groups": 2, "base_width": 32}


def torch_resnet(basic, stem, down, **options):
    down = getattr(foreign, f"{down}_downsample")
    return lambda: foreign.TorchResNet(basic, NARROW, stem, down, base=8, num_classes=5, **options)


def paddle_resnet(basic, names, vd, head=None, **options):
    return lambda: foreign.PaddleResNet(basic, NARROW, names, vd, head, base=8, num_classes=5, **options)


def mmpretrain(basic, stem, down):
    backbone = torch_resnet(basic, stem, down, fc=False)
    return lambda: foreign.ImageClassifier(backbone(), 64 if basic else 256, num_classes=5)


FOREIGN = {
    "timm basic d": (torch_resnet(True, "timm", "timm"), True, VD),
    "timm d": (torch_resnet(False, "timm", "timm"), False, VD),
    "timm resnext d": (torch_resnet(False, "timm", "timm", **GROUPS), False, VD | GROUPS),
    "timm c": (torch_resnet(False, "timm", "conv"), False, V1C),
    "torchvision basic": (torch_resnet(True, "plain", "conv"), True, PLAIN),
    "torchvision": (torch_resnet(False, "plain", "conv"), False, PLAIN),
    "torchvision resnext": (torch_resnet(False, "plain", "conv", **GROUPS), False, PLAIN | GROUPS),
    "mmseg v1c basic": (torch_resnet(True, "mm", "conv"), True, V1C),
    "mmseg v1c": (torch_resnet(False, "mm", "conv"), False, V1C),
    "mmseg v1d basic": (torch_resnet(True, "mm", "mmseg"), True, VD),
    "mmseg v1d": (torch_resnet(False, "mm", "mmseg", fc=False), False, VD),
    "mmpretrain v1d": (mmpretrain(False, "mm", "mmpretrain"), False, VD),
    "mmpretrain": (mmpretrain(False, "plain", "conv"), False, PLAIN),
    "paddleseg vd": (paddle_resnet(False, "bb", True), False, VD),
    "paddleseg basic vd": (paddle_resnet(True, "bb", True), True, VD),
    "paddleclas 1 vd": (paddle_resnet(False, "bb", True, "out"), False, VD),
    "paddleclas 1": (paddle_resnet(False, "res", False, "out"), False, PLAIN),
    "paddleclas resnext": (paddle_resnet(False, "bb", False, "out", groups=2, width=1), False, PLAIN | GROUPS),
    "paddleclas 2 vd": (paddle_resnet(True, "blocks", True, "fc"), True, VD),
    "paddleclas 2": (paddle_resnet(False, "blocks", False, "fc"), False, PLAIN),
}
DROPPED = {"paddleseg vd": 0, "paddleseg basic vd": 0, "mmseg v1d": 0}  # of the others' classifier 2


def theirs(name: str) -> torch.nn.Module:
    return foreign.randomize(FOREIGN[name][0]())


def our(name: str, **changes) -> ResNet:
    torch.manual_seed(1)
    _, basic, options = FOREIGN[name]
    block = "basic" if basic else "bottleneck"
    narrow = {"depths": NARROW, "block": block, "output_stride": 32, "base_channels": 8, "stem_channels": 8}
    return ResNet(**{**narrow, **options, **changes}).eval()


def file_of(model: torch.nn.Module, name: str, folder: Path) -> Path:
    """As the project would write it."""
    if name.startswith("paddle"):
        return write(folder / "a.pdparams", {key: value.numpy() for key, value in model.state_dict().items()})
    content = {"meta": {}, "state_dict": model.state_dict()} if name.startswith("mm") else model.state_dict()
    torch.save(content, folder / "a.pth")
    return folder / "a.pth"


def assert_equal_features(backbone: ResNet, model: torch.nn.Module) -> None:
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        pairs = list(zip(backbone(images), model(images), strict=True))
    assert len(pairs) == 4
    for feature, expected in pairs:
        assert expected.std() > 0.01
        torch.testing.assert_close(feature, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FOREIGN)
def test_backbones_compute_what_the_originals_compute(tmp_path, name, caplog):
    model, backbone = theirs(name), our(name)
    path = file_of(model, name, tmp_path)
    with caplog.at_level(logging.INFO, "segnet"):
        load_backbone_weights(backbone, path)
    assert_equal_features(backbone, model)
    dropped = DROPPED.get(name, 2)
    assert (f"{path}: {dropped} weights of its head are not used (" in caplog.text) == bool(dropped)
    assert bool(caplog.text) == bool(dropped)


@pytest.mark.parametrize("eps", [1e-5, 1e-3, 1e-6, 3e-5, 0.1])
@pytest.mark.parametrize("name", ["timm basic d", "mmseg v1d basic"])
def test_a_shortcut_that_the_file_lacks_is_the_identity_to_the_bit(tmp_path, name, eps):
    backbone = our(name, norm={"name": "batch", "eps": eps})
    load_backbone_weights(backbone, file_of(theirs(name), name, tmp_path))
    shortcut = backbone.stages[0][0].shortcut
    norm = shortcut.project.norm
    assert torch.equal(norm.running_var + eps, torch.ones(8))
    x = torch.randn(2, 8, 5, 7, generator=torch.Generator().manual_seed(3))
    assert torch.equal(shortcut(x), x)


@pytest.mark.parametrize("name", ["paddleseg basic vd", "timm d"])
def test_no_other_shortcut_is_made_up(tmp_path, name):
    model = theirs(name)
    short = {"paddleseg basic vd": "bb_0_0.short.", "timm d": "layer1.0.downsample."}[name]
    state = {key: value for key, value in model.state_dict().items() if not key.startswith(short)}
    model.state_dict = lambda: state
    message = refusal(our(name), file_of(model, name, tmp_path))
    assert "5 weights are missing (stages.0.0.shortcut.project.conv.weight, " in message


def test_plain_resnets_of_paddleclas_have_a_shortcut_that_ours_lack(tmp_path):
    model = foreign.randomize(foreign.PaddleResNet(True, NARROW, "blocks", False, "fc", base=8))
    message = refusal(our("torchvision basic"), file_of(model, "paddleclas", tmp_path))
    assert "5 are left over (stages.0.0.shortcut.project." in message


@pytest.mark.parametrize(
    ("name", "shortcut"),
    [
        ("timm d", "conv"),
        ("timm c", "pool"),
        ("mmseg v1c", "pool"),
        ("mmpretrain v1d", "conv"),
        ("paddleseg vd", "conv"),
    ],
)
def test_shortcuts_that_stride_in_another_way_are_refused(tmp_path, name, shortcut):
    other = {"conv": "pool", "pool": "conv"}[shortcut]
    message = refusal(our(name, shortcut=shortcut), file_of(theirs(name), name, tmp_path))
    assert f"set backbone.shortcut={other}" in message


@pytest.mark.parametrize("name", ["torchvision", "timm d", "paddleseg vd"])
@pytest.mark.parametrize("in_channels", [1, 2, 4, 7])
def test_a_stem_is_adapted_to_other_channels_and_that_is_said(tmp_path, name, in_channels, caplog):
    model, backbone = theirs(name), our(name, in_channels=in_channels)
    with caplog.at_level(logging.INFO, "segnet"):
        load_backbone_weights(backbone, file_of(model, name, tmp_path))
    assert f"its first convolution takes 3 channels, and was adapted to {in_channels}" in caplog.text
    red, green, blue = next(value for value in model.parameters() if value.ndim == 4).detach().unbind(1)
    expected = {
        1: [red + green + blue],
        2: [1.5 * red, 1.5 * green],
        4: [0.75 * red, 0.75 * green, 0.75 * blue, 0.75 * red],
        7: [3 / 7 * weight for weight in (red, green, blue, red, green, blue, red)],
    }[in_channels]
    torch.testing.assert_close(backbone.stem[0].conv.weight.detach(), torch.stack(expected, dim=1))


def test_a_stem_of_other_channels_than_three_is_not_adapted(tmp_path):
    model = foreign.randomize(foreign.TorchResNet(True, NARROW, "plain", foreign.conv_downsample, base=8))
    model.conv1.weight.data = torch.ones(8, 4, 7, 7)
    message = refusal(our("torchvision basic"), file_of(model, "torchvision", tmp_path))
    assert "stem.0.conv.weight is [8, 4, 7, 7] in the file and [8, 3, 7, 7] in the model" in message


def test_timms_200_layers_are_not_ours(tmp_path):
    with torch.device("meta"):
        state = foreign.TorchResNet(False, (3, 24, 36, 3), "timm", foreign.timm_downsample).state_dict()
        backbone = ResNet(depths=[3, 12, 48, 3])
    with pytest.raises(CheckpointError, match=r"depths \(3, 24, 36, 3\), the backbone \(3, 12, 48, 3\)"):
        load_backbone_weights(backbone, Weights("resnet200d.pth", "timm", state))


def test_attention_blocks_are_left_over(tmp_path):
    model = theirs("timm d")
    state = {**model.state_dict(), "layer1.0.se.fc1.weight": torch.ones(1, 1, 1, 1)}
    model.state_dict = lambda: state
    message = refusal(our("timm d"), file_of(model, "timm d", tmp_path))
    assert "1 are left over (layer1.0.se.fc1.weight)" in message


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = str(sentinel)

    def __reduce__(self):
        return os.mkdir, (self.sentinel,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("suffix", ["pth", "pt", "pdparams"])
def test_a_malicious_file_never_runs(tmp_path, suffix, zipped):
    sentinel, path = tmp_path / "sentinel", tmp_path / f"a.{suffix}"
    content = {"state_dict": theirs("torchvision basic").state_dict(), "optimizer": Evil(sentinel)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    refusal(our("torchvision basic"), path)
    assert not sentinel.exists()
    torch.load(path, weights_only=False)  # elsewhere it would
    assert sentinel.exists()


@pytest.mark.parametrize("plus", [True, False])
def test_paddlesegs_deeplabs_run_unchanged(tmp_path, plus):
    backbone = foreign.PaddleResNet(False, NARROW, "bb", True, base=8)
    original = foreign.randomize(foreign.DeepLab(backbone, (32, 64, 128, 256), plus, 5, width=12, low=6))
    widths = {"low_level_channels": 6, "decoder_channels": 12} if plus else {}
    model = SegmentationModel(
        backbone={"name": "resnet", "depths": NARROW, "output_stride": 32, "base_channels": 8, "stem_channels": 8},
        decoder={"name": "deeplabv3plus" if plus else "deeplabv3", "output_stride": 32, "aspp_channels": 12, **widths},
        num_classes=5,
        mean=[0, 0, 0],
        std=[1 / 255] * 3,
    ).eval()
    load_model_weights(model, file_of(original, "paddleseg", tmp_path))
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        logits, expected = model(images), original(images)
    assert expected.std() > 0.01
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


# The normalization that comes with them

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("name", FOREIGN)
def test_the_normalization_is_that_of_the_project(tmp_path, name):
    weights = read_weights(file_of(theirs(name), name, tmp_path))
    expected = ((0.5,) * 3, (0.5,) * 3) if name.startswith("paddleseg") else IMAGENET
    assert (weights.mean, weights.std) == expected


def test_the_normalization_of_a_whole_model_of_paddleseg_is_a_half(tmp_path):
    model = foreign.DeepLab(
        foreign.PaddleResNet(True, (1, 1, 1, 1), "bb", True, base=8), (8, 16, 32, 64), False, width=4
    )
    weights = read_weights(file_of(model, "paddleseg", tmp_path))
    assert (weights.mean, weights.std) == ((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize("nested", [True, False])
def test_the_config_of_a_hub_tells_the_normalization(tmp_path, nested):
    told = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    save_file(theirs("timm d").state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": told} if nested else told))
    weights = read_weights(tmp_path / "model.safetensors")
    assert (weights.scheme, weights.mean, weights.std) == ("timm", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def test_our_own_checkpoint_tells_its_normalization_and_initializes_a_backbone(tmp_path):
    backbone = our("timm d")
    state = {f"model.backbone.{name}": value for name, value in backbone.state_dict().items()}
    state["model.decoder.classifier.weight"] = torch.ones(1)
    spec = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "backbone": {"name": "resnet"}}
    torch.save({"state_dict": state, "hyper_parameters": {"model": spec}}, tmp_path / "a.ckpt")
    weights = read_weights(tmp_path / "a.ckpt")
    assert (weights.scheme, weights.mean, weights.std) == ("segnet", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    other = our("timm d")
    for value in other.parameters():
        value.data.zero_()
    load_backbone_weights(other, weights)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in backbone.state_dict().items())


def trained(mean=IMAGENET[0], std=IMAGENET[1]) -> Weights:
    return Weights("a.pth", "timm", {}, mean, std)


def test_without_weights_and_configuration_the_normalization_is_a_half():
    assert resolve_normalization(None, None, None, 3) == ([0.5] * 3, [0.5] * 3)
    assert resolve_normalization(None, None, None, 5) == ([0.5] * 5, [0.5] * 5)


def test_the_normalization_of_the_weights_is_taken():
    assert resolve_normalization(None, None, trained(), 3) == (list(IMAGENET[0]), list(IMAGENET[1]))


def test_a_configured_normalization_counts_where_nothing_contradicts_it():
    assert resolve_normalization([0.1] * 3, [0.2] * 3, None, 3) == ([0.1] * 3, [0.2] * 3)
    assert resolve_normalization([0.1] * 3, None, None, 3) == ([0.1] * 3, [0.5] * 3)
    assert resolve_normalization([0.1] * 3, [0.2] * 3, trained(None, None), 3) == ([0.1] * 3, [0.2] * 3)


@pytest.mark.parametrize("difference", [0.0, 0.0009, -0.0009])
def test_a_configured_normalization_may_be_rounded(difference):
    mean = [IMAGENET[0][0] + difference, *IMAGENET[0][1:]]
    assert resolve_normalization(mean, None, trained(), 3)[0] == list(IMAGENET[0])


@pytest.mark.parametrize(
    ("option", "configured"),
    [("mean", [0.5] * 3), ("std", [0.5] * 3), ("mean", [0.487, 0.456, 0.406]), ("std", [0.229, 0.224, 0.227])],
)
def test_another_normalization_than_the_weights_is_refused(option, configured):
    values = {"mean": None, "std": None, option: configured}
    with pytest.raises(ConfigError) as error:
        resolve_normalization(values["mean"], values["std"], trained(), 3)
    told = list(IMAGENET[option == "std"])
    assert str(error.value) == (
        f"{option}={configured}, but a.pth was trained with {option}={told}: leave mean and std out, or set them so"
    )


def test_weights_that_do_not_tell_their_normalization_ask_for_it():
    with pytest.raises(ConfigError, match=r"a\.pth does not tell the mean .*: set mean=\[\.\.\.\]"):
        resolve_normalization(None, [0.5] * 3, trained(None, None), 3)


@pytest.mark.parametrize("channels", [1, 4])
def test_the_normalization_of_three_channels_does_not_hold_for_others(channels):
    assert resolve_normalization(None, None, trained(), channels) == ([0.5] * channels, [0.5] * channels)
    configured = [0.3] * channels
    assert resolve_normalization(configured, None, trained(), channels) == (configured, [0.5] * channels)

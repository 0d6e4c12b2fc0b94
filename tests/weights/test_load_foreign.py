"""Weights of other projects: the loaded backbone matches the original network."""

import logging
import os
from pathlib import Path

import foreign_deeplabs
import foreign_resnets as foreign
import pytest
import torch
from foreign_weights import FOREIGN, NARROW, file_of, our, refusal, theirs

from segnet.errors import CheckpointError
from segnet.models.backbones.resnet import ResNet
from segnet.models.segmentation_model import SegmentationModel
from segnet.weights.load import Weights, load_backbone_weights, load_model_weights

DROPPED = {"paddleseg vd": 0, "paddleseg basic vd": 0, "mmseg v1d": 0}  # all others: 2 of the classifier


def assert_equal_features(backbone: ResNet, model: torch.nn.Module) -> None:
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        pairs = list(zip(backbone(images), model(images), strict=True))
    assert len(pairs) == 4
    for feature, expected in pairs:
        assert expected.std() > 0.01
        torch.testing.assert_close(feature, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FOREIGN)
def test_backbones_match_the_originals(tmp_path, name, caplog):
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
def test_missing_identity_shortcuts_are_exact(tmp_path, name, eps):
    backbone = our(name, norm={"name": "batch", "eps": eps})
    load_backbone_weights(backbone, file_of(theirs(name), name, tmp_path))
    shortcut = backbone.stages[0][0].shortcut
    norm = shortcut.project.norm
    assert torch.equal(norm.running_var + eps, torch.ones(8))
    x = torch.randn(2, 8, 5, 7, generator=torch.Generator().manual_seed(3))
    assert torch.equal(shortcut(x), x)


@pytest.mark.parametrize("name", ["paddleseg basic vd", "timm d"])
def test_other_missing_shortcuts_are_errors(tmp_path, name):
    model = theirs(name)
    short = {"paddleseg basic vd": "bb_0_0.short.", "timm d": "layer1.0.downsample."}[name]
    state = {key: value for key, value in model.state_dict().items() if not key.startswith(short)}
    model.state_dict = lambda: state
    message = refusal(our(name), file_of(model, name, tmp_path))
    assert "5 weights are missing (stages.0.0.shortcut.project.conv.weight, " in message


def test_paddleclas_plain_resnets_have_an_extra_shortcut(tmp_path):
    model = foreign.randomize(foreign.PaddleResNet(True, NARROW, "blocks", False, "fc", base=8))
    message = refusal(our("torchvision basic"), file_of(model, "paddleclas", tmp_path))
    assert "5 are unexpected (stages.0.0.shortcut.project." in message


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
def test_another_kind_of_shortcut_is_refused(tmp_path, name, shortcut):
    other = {"conv": "pool", "pool": "conv"}[shortcut]
    message = refusal(our(name, shortcut=shortcut), file_of(theirs(name), name, tmp_path))
    assert f"set backbone.shortcut={other}" in message


@pytest.mark.parametrize("name", ["torchvision", "timm d", "paddleseg vd"])
@pytest.mark.parametrize("in_channels", [1, 2, 4, 7])
def test_the_stem_is_adapted_to_other_channels_and_logged(tmp_path, name, in_channels, caplog):
    model, backbone = theirs(name), our(name, in_channels=in_channels)
    with caplog.at_level(logging.INFO, "segnet"):
        load_backbone_weights(backbone, file_of(model, name, tmp_path))
    assert f"first convolution adapted from 3 to {in_channels} input channels" in caplog.text
    red, green, blue = next(value for value in model.parameters() if value.ndim == 4).detach().unbind(1)
    expected = {
        1: [red + green + blue],
        2: [1.5 * red, 1.5 * green],
        4: [0.75 * red, 0.75 * green, 0.75 * blue, 0.75 * red],
        7: [3 / 7 * weight for weight in (red, green, blue, red, green, blue, red)],
    }[in_channels]
    torch.testing.assert_close(backbone.stem[0].conv.weight.detach(), torch.stack(expected, dim=1))


def test_a_stem_without_three_channels_is_not_adapted(tmp_path):
    model = foreign.randomize(foreign.TorchResNet(True, NARROW, "plain", foreign.conv_downsample, base=8))
    model.conv1.weight.data = torch.ones(8, 4, 7, 7)
    message = refusal(our("torchvision basic"), file_of(model, "torchvision", tmp_path))
    assert "stem.0.conv.weight is [8, 4, 7, 7] in the file and [8, 3, 7, 7] in the model" in message


def test_timms_resnet200_has_other_depths(tmp_path):
    with torch.device("meta"):
        state = foreign.TorchResNet(False, (3, 24, 36, 3), "timm", foreign.timm_downsample).state_dict()
        backbone = ResNet(depths=[3, 12, 48, 3])
    with pytest.raises(CheckpointError, match=r"depths \(3, 24, 36, 3\), the backbone \(3, 12, 48, 3\)"):
        load_backbone_weights(backbone, Weights("resnet200d.pth", "timm", state))


def test_attention_blocks_are_unexpected(tmp_path):
    model = theirs("timm d")
    state = {**model.state_dict(), "layer1.0.se.fc1.weight": torch.ones(1, 1, 1, 1)}
    model.state_dict = lambda: state
    message = refusal(our("timm d"), file_of(model, "timm d", tmp_path))
    assert "1 is unexpected (layer1.0.se.fc1.weight)" in message


class Evil:
    """Creates a folder when unpickled."""

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
    torch.load(path, weights_only=False)  # plain pickle runs it
    assert sentinel.exists()


@pytest.mark.parametrize("plus", [True, False])
def test_paddlesegs_deeplabs_run_unchanged(tmp_path, plus):
    backbone = foreign.PaddleResNet(False, NARROW, "bb", True, base=8)
    original = foreign.randomize(foreign_deeplabs.DeepLab(backbone, (32, 64, 128, 256), plus, 5, width=12, low=6))
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

"""Normalization of pretrained weights, and its combination with configured mean and std."""

import json

import foreign_deeplabs
import foreign_resnets as foreign
import pytest
import torch
from foreign_weights import FOREIGN, file_of, our, theirs
from safetensors.torch import save_file

from segnet.errors import ConfigError
from segnet.weights.load import Weights, load_backbone_weights, read_weights
from segnet.weights.normalization import resolve_normalization

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("name", FOREIGN)
def test_the_normalization_is_that_of_the_project(tmp_path, name):
    weights = read_weights(file_of(theirs(name), name, tmp_path))
    expected = ((0.5,) * 3, (0.5,) * 3) if name.startswith("paddleseg") else IMAGENET
    assert (weights.mean, weights.std) == expected


def test_paddleseg_models_use_a_normalization_of_one_half(tmp_path):
    model = foreign_deeplabs.DeepLab(
        foreign.PaddleResNet(True, (1, 1, 1, 1), "bb", True, base=8), (8, 16, 32, 64), False, width=4
    )
    weights = read_weights(file_of(model, "paddleseg", tmp_path))
    assert (weights.mean, weights.std) == ((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize("nested", [True, False])
def test_the_normalization_is_read_from_config_json(tmp_path, nested):
    config = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    save_file(theirs("timm d").state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": config} if nested else config))
    weights = read_weights(tmp_path / "model.safetensors")
    assert (weights.scheme, weights.mean, weights.std) == ("timm", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def test_segnets_checkpoint_provides_normalization_and_backbone(tmp_path):
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


def test_the_default_normalization_is_one_half():
    assert resolve_normalization(None, None, None, 3) == ([0.5] * 3, [0.5] * 3)
    assert resolve_normalization(None, None, None, 5) == ([0.5] * 5, [0.5] * 5)


def test_the_normalization_of_the_weights_is_used():
    assert resolve_normalization(None, None, trained(), 3) == (list(IMAGENET[0]), list(IMAGENET[1]))


def test_a_configured_normalization_is_used_without_weights():
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
def test_a_conflicting_normalization_is_refused(option, configured):
    values = {"mean": None, "std": None, option: configured}
    with pytest.raises(ConfigError) as error:
        resolve_normalization(values["mean"], values["std"], trained(), 3)
    expected = list(IMAGENET[option == "std"])
    assert str(error.value) == (
        f"{option}={configured}, but a.pth was trained with {option}={expected}: "
        "remove mean and std, or set backbone_weights=null"
    )


def test_unknown_normalization_must_be_configured():
    with pytest.raises(ConfigError, match=r"a\.pth does not contain the mean .*: set mean=\[\.\.\.\]"):
        resolve_normalization(None, [0.5] * 3, trained(None, None), 3)


@pytest.mark.parametrize("channels", [1, 4])
def test_the_normalization_of_three_channels_is_ignored_for_others(channels):
    assert resolve_normalization(None, None, trained(), channels) == ([0.5] * channels, [0.5] * channels)
    configured = [0.3] * channels
    assert resolve_normalization(configured, None, trained(), channels) == (configured, [0.5] * channels)

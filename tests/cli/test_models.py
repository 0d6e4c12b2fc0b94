"""The tables of published models and of backbones."""

import json

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from segnet.cli.backbones import main as backbones
from segnet.cli.help import CONF_DIR, choices_of
from segnet.cli.models import main as models
from segnet.components import build
from segnet.models.backbones import BACKBONES
from segnet.weights.catalog import BACKBONE_COSTS, best_weights
from segnet.weights.zoo import PUBLISHED_MODELS


def test_every_model_is_listed_on_a_line(capsys):
    assert models([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["name", "decoder", "classes"]
    names = [line.split()[0] for line in lines[2 : 2 + len(PUBLISHED_MODELS)]]
    assert names == [model.name for model in PUBLISHED_MODELS]
    assert max(map(len, lines)) <= 130


def test_models_as_json_have_their_urls(capsys):
    assert models(["--json"]) == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert (first["name"], first["num_classes"], first["miou"]) == ("cityscapes_resnet50_vd", 19, 80.36)
    assert first["url"].startswith("https://")


def test_every_backbone_is_listed_with_its_weights(capsys):
    assert backbones([]) == 0
    text = capsys.readouterr().out
    for name in choices_of("backbone"):
        assert name == "timm" or f"\n{name} " in text
    assert "timm/resnet18d.ra2_in1k" in text
    assert max(map(len, text.splitlines())) <= 150


def test_backbones_as_json_have_the_weights_of_imagenet_first(capsys):
    assert backbones(["--json"]) == 0
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert found["resnet50_vd"]["weights"][0]["source"] == best_weights("resnet50_vd").source
    assert found["resnet34_v1c"]["weights"] == []
    assert found["resnet18"]["parameters"] == 11_180_000


@pytest.mark.parametrize("name", ["resnet18_vd", "resnext50_32x4d"])
def test_the_costs_are_those_of_the_backbone(name):
    spec = {**yaml.safe_load((CONF_DIR / "backbone" / f"{name}.yaml").read_text())["backbone"], "output_stride": 32}
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone = build("backbone", BACKBONES, spec).eval()
        backbone(torch.zeros(1, 3, 224, 224))
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    assert BACKBONE_COSTS[name] == (round(parameters / 1e6, 2), round(counter.get_total_flops() / 2e9, 2))


def test_every_choice_of_a_resnet_has_its_costs():
    assert set(BACKBONE_COSTS) == {name for name in choices_of("backbone") if name != "timm"}

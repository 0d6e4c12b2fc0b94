"""The catalog of published weights: existing backbones, and licenses by name."""

from pathlib import Path

import pytest
import yaml

from segnet.weights.catalog import (
    NON_COMMERCIAL,
    PUBLISHED_WEIGHTS,
    best_weights,
    choice_of,
    license_line,
    license_of,
)

CONF = Path(__file__).resolve().parents[2] / "conf" / "backbone"


@pytest.mark.parametrize("entry", PUBLISHED_WEIGHTS, ids=lambda entry: entry.source)
def test_entries_name_existing_backbones_and_licenses(entry):
    assert (CONF / f"{entry.backbone}.yaml").is_file()
    assert entry.source.startswith(("timm/", "https://"))
    assert entry.normalization in ("ImageNet", "0.5")
    assert entry.top1 is None or 60 < entry.top1 < 90
    assert license_of(entry.source) == entry.license != NON_COMMERCIAL


@pytest.mark.parametrize(
    "source",
    [
        "timm/resnet50.fb_ssl_yfcc100m_ft_in1k",
        "timm/resnext101_32x8d.fb_swsl_ig1b_ft_in1k",
        "timm/resnext101_32x8d.fb_wsl_ig1b_ft_in1k",
        "https://dl.fbaipublicfiles.com/semiweaksupervision/model_files/semi_supervised_resnet18-d92f0530.pth",
    ],
)
def test_non_commercial_licenses_are_detected(source):
    assert license_line(source) == f"{source}: license CC-BY-NC-4.0, non-commercial use only"


def test_unknown_licenses_are_not_guessed():
    assert license_of("someone/model") is None
    assert "https://huggingface.co/someone/model" in license_line("someone/model")


def spec_of(choice: str) -> dict:
    return yaml.safe_load((CONF / f"{choice}.yaml").read_text())["backbone"]


@pytest.mark.parametrize("choice", sorted(path.stem for path in CONF.glob("res*.yaml")))
def test_each_choice_is_recognized_by_its_architecture(choice):
    assert choice_of(spec_of(choice)) == choice
    assert choice_of({**spec_of(choice), "output_stride": 8, "multi_grid": [1, 2, 4], "in_channels": 5}) == choice


@pytest.mark.parametrize(
    "change",
    [
        {"depths": [3, 4, 6, 4]},
        {"stem": "conv7x7"},  # with the shortcuts of vd
        {"stem_channels": 32},
        {"base_channels": 32},
        {"base_width": 32},
        {"style": "caffe"},
        {"norm": {"name": "group"}},
        {"name": "timm"},
    ],
    ids=str,
)
def test_weights_of_another_architecture_are_not_chosen(change):
    assert choice_of({**spec_of("resnet50_vd"), **change}) is None


def test_the_best_weights_are_those_of_the_highest_published_accuracy():
    for choice in {entry.backbone for entry in PUBLISHED_WEIGHTS}:
        entry = best_weights(choice)
        assert entry.backbone == choice
        assert (entry.top1 or 0) == max(other.top1 or 0 for other in PUBLISHED_WEIGHTS if other.backbone == choice)
    assert best_weights("resnet18_vd").source == "timm/resnet18d.ra2_in1k"
    assert best_weights("resnet34_v1c") is None

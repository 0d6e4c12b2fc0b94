"""The catalog of published weights: existing backbones, and licenses by name."""

from pathlib import Path

import pytest

from segnet.weights.catalog import NON_COMMERCIAL, PUBLISHED_WEIGHTS, license_line, license_of

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

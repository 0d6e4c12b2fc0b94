"""The table of published models."""

import re
from pathlib import Path

import pytest

from segnet.class_sets import CLASS_SETS
from segnet.errors import CheckpointError
from segnet.weights.download import cache_path
from segnet.weights.zoo import MODEL_NAME, PUBLISHED_MODELS, published_model, stands_for_model

CONF = Path(__file__).resolve().parents[2] / "conf" / "backbone"


@pytest.mark.parametrize("model", PUBLISHED_MODELS, ids=lambda model: model.name)
def test_entries(model):
    assert MODEL_NAME.fullmatch(model.name)
    assert model.classes in CLASS_SETS
    backbone = re.search(r"resnet\d+_(vd|v1c)", model.name)[0]
    assert (CONF / f"{backbone}.yaml").is_file()
    depth = re.search(r"\d+", backbone)[0]
    assert f"resnet{depth}_" in model.url or f"_r{depth}-d8_" in model.url
    assert ("deeplabv3_" in model.name) == (model.decoder == "DeepLabV3")
    assert model.classes in model.url
    assert 40 < model.miou < 85
    assert 10 < model.parameters < 90


def test_names_and_files_are_unique():
    assert len({model.name for model in PUBLISHED_MODELS}) == len({model.url for model in PUBLISHED_MODELS}) == 23


def test_mmsegmentation_file_names_contain_their_hash():
    for model in PUBLISHED_MODELS:
        if model.publisher == "mmsegmentation":
            assert cache_path(model.url).parent.name == "checkpoints"  # only a name with a hash lies there


def test_a_file_takes_precedence_over_a_model_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert stands_for_model("cityscapes_resnet50_vd")
    (tmp_path / "cityscapes_resnet50_vd").touch()
    assert not stands_for_model("cityscapes_resnet50_vd")
    assert not stands_for_model("best.ckpt")


def test_an_unknown_name_gets_the_closest_suggestion():
    with pytest.raises(CheckpointError, match=r"Did you mean 'ade20k_resnet50_v1c'\? segnet models lists all names$"):
        published_model("ade20k_resnet50")

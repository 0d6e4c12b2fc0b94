"""Properties known only from the file name: caffe style, PaddleClas's vc; and an assumed normalization."""

from dataclasses import replace

import pytest
import torch
from foreign_weights import file_of, our, theirs
from safetensors.torch import save_file

from segnet.errors import CheckpointError, ConfigError
from segnet.weights import load
from segnet.weights.load import load_backbone_weights, read_weights
from segnet.weights.names import Weights, pools_shortcuts
from segnet.weights.normalization import resolve_normalization


@pytest.mark.parametrize("name", ["resnet50_caffe-788b5fa3.pth", "resnet50_msra-5891d200.pth"])
@torch.inference_mode()
def test_caffe_weights_need_caffe_style_and_become_rgb(tmp_path, name):
    model = theirs("torchvision")
    torch.save(model.state_dict(), tmp_path / name)
    weights = read_weights(tmp_path / name)
    assert weights.mean == (0.485, 0.456, 0.406)
    assert weights.std == (1 / 255, 1 / 255, 1 / 255)
    with pytest.raises(CheckpointError, match=r"set backbone\.style=caffe"):
        load_backbone_weights(our("torchvision"), weights)
    backbone = our("torchvision", style="caffe")
    load_backbone_weights(backbone, weights)
    assert torch.equal(backbone.stem[0].conv.weight, model.state_dict()["conv1.weight"].flip(1))


@pytest.mark.parametrize(("name", "pools"), [("ResNet50_vc_pretrained", False), ("ResNet50_vd_pretrained", True)])
def test_paddleclas_vc_differs_from_vd(name, pools):
    state = {"conv1_2._conv.weight": torch.zeros(1), "bb_0_0.conv0._conv.weight": torch.zeros(1)}
    assert pools_shortcuts(Weights(f"https://host/{name}.pdparams", "paddle", state)) is pools


def test_safetensors_without_a_config_log_the_assumed_normalization(tmp_path, caplog):
    model = theirs("torchvision basic")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "w.safetensors")
    with caplog.at_level("INFO"):
        weights = read_weights(tmp_path / "w.safetensors")
    assert "assuming mean=[0.485, 0.456, 0.406] std=[0.229, 0.224, 0.225]" in caplog.text
    assert resolve_normalization(None, None, weights, 3)[0] == [0.485, 0.456, 0.406]
    assert resolve_normalization([0.5] * 3, [0.5] * 3, weights, 3)[0] == [0.5] * 3
    (tmp_path / "config.json").write_text('{"pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}')
    with pytest.raises(ConfigError, match="was trained with"):
        resolve_normalization([0.4] * 3, [0.4] * 3, read_weights(tmp_path / "w.safetensors"), 3)


@pytest.mark.parametrize("folder", ["", "https://host/dygraph/legendary_models/"])
def test_a_vc_file_of_paddleclas_is_refused_by_a_vd_backbone(tmp_path, folder):
    path = file_of(theirs("paddleseg vd"), "paddleseg vd", tmp_path)
    weights = read_weights(path.rename(tmp_path / "ResNet50_vc_pretrained.pdparams"))
    renamed = replace(weights, source=f"{folder}ResNet50_vc_pretrained.pdparams")
    with pytest.raises(CheckpointError, match=r"set backbone\.shortcut=conv"):
        load_backbone_weights(our("paddleseg vd"), renamed)
    load_backbone_weights(our("paddleseg vd", shortcut="conv"), renamed)


@pytest.mark.parametrize(
    ("source", "level", "text"),
    [
        ("timm/resnet50.a1_in1k", "INFO", "license Apache-2.0"),
        ("timm/resnet50.fb_ssl_yfcc100m_ft_in1k", "WARNING", "license CC-BY-NC-4.0, non-commercial use only"),
        ("someone/model", "INFO", "https://huggingface.co/someone/model"),
        ("https://host/w.pth", "INFO", "https://host/w.pth"),
    ],
)
def test_the_license_is_logged_when_weights_are_fetched(source, level, text, tmp_path, monkeypatch, caplog):
    path = file_of(theirs("torchvision"), "torchvision", tmp_path)
    monkeypatch.setattr(load, "fetch", lambda _: path)
    with caplog.at_level("INFO"):
        read_weights(source)
    assert [(record.levelname, text in record.message) for record in caplog.records] == [(level, True)]
    caplog.clear()
    monkeypatch.undo()
    read_weights(path)  # a file of one's own
    assert not caplog.records

"""Properties known only from the file name: caffe style, PaddleClas's vc; and an assumed normalization."""

import pytest
import torch
from foreign_weights import our, theirs
from safetensors.torch import save_file

from segnet.errors import CheckpointError, ConfigError
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

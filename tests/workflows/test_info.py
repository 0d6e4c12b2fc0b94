"""`model_info` describes a checkpoint and its exports in the same way."""

import json

import pytest

from segnet.cli.info import info_lines
from segnet.errors import CheckpointError
from segnet.models.checkpoint import load_checkpoint, read_checkpoint
from segnet.models.pretrained import save_pretrained
from segnet.workflows.info import model_info


def test_info_describes_a_checkpoint(run):
    folder, results = run
    info = model_info(folder / "best.ckpt")
    model, classes = load_checkpoint(folder / "best.ckpt")
    assert info["classes"]["names"] == list(classes.names)
    assert info["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert info["val_miou"] == pytest.approx(results.scores.miou, abs=1e-6)
    assert (info["output_stride"], info["channels"]) == (model.output_stride, 3)
    assert info["training"]["loss"]["name"] == "cross_entropy"
    json.dumps(info)  # builtins only
    text = "\n".join(info_lines("best.ckpt", info))
    assert f"{100 * results.scores.miou:.1f} %" in text
    assert all(name in text for name in classes.names)


def test_info_describes_a_pretrained_folder_in_the_same_way(run, tmp_path):
    checkpoint = run[0] / "best.ckpt"
    model, classes = load_checkpoint(checkpoint)
    spec = read_checkpoint(checkpoint)["hyper_parameters"]["model"]
    save_pretrained(spec, model.state_dict(), classes, tmp_path / "model")
    of_checkpoint, of_folder = model_info(checkpoint), model_info(tmp_path / "model")
    for key in ("backbone", "decoder", "parameters", "mean", "std", "classes"):
        assert of_folder[key] == of_checkpoint[key]


@pytest.mark.parametrize("format", ["onnx", "openvino", "pt2"])
def test_info_describes_an_export_s_input_and_output(exports, format):
    info = model_info(exports.get(format))
    assert info["output"] == "logits"
    assert info["input"].startswith("uint8 images (batch, 3")
    assert info["classes"]["number"] == 4
    assert info["size"] > 1_000
    json.dumps(info)


def test_another_file_is_refused(tmp_path):
    (tmp_path / "a.ckpt").write_text("no model")
    for name in ("a.ckpt", "b.ckpt", "b.onnx"):
        with pytest.raises(CheckpointError, match=name):
            model_info(tmp_path / name)

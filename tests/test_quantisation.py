"""int8: the mIoU before and after, on a dataset whose classes must be the checkpoint's."""

import re

import pytest
from exports import CLASSES

from segnet.checkpoint import load_checkpoint
from segnet.cli.export import main
from segnet.errors import ConfigError, DataError
from segnet.quantisation import Calibration
from segnet.runtimes import open_runtime


def test_a_dataset_of_other_classes_is_refused():
    with pytest.raises(DataError, match="dataset shapes has other classes than the checkpoint"):
        Calibration.open("shapes", None, CLASSES, 4)


def test_no_images_are_refused(run):
    with pytest.raises(ConfigError, match="--calibration-images 0 must be 1 or more"):
        Calibration.open("shapes", None, load_checkpoint(run[0] / "best.ckpt")[1], 0)


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_the_quantised_model_is_smaller_and_nearly_as_good(run, tmp_path, capsys, monkeypatch, format):
    for package in ("onnx", "onnxscript", "onnxruntime", *(["openvino"] if format == "openvino" else [])):
        pytest.importorskip(package)
    small = {"num_train": 8, "num_val": 4, "size": [48, 40]}
    monkeypatch.setattr("segnet.quantisation.OPTIONS", {"shapes": small})
    output = tmp_path / ("a.xml" if format == "openvino" else "a.onnx")
    arguments = [str(run[0] / "best.ckpt"), "--format", format, "--output", str(output)]
    assert main([*arguments, "--int8", "--dataset", "shapes", "--calibration-images", "4"]) == 0
    told = re.search(
        r"int8 by 4 images; mIoU of 4 val images: ([\d.]+) in float32, ([\d.]+) in int8", capsys.readouterr().out
    )
    assert told
    before, after = map(float, told.groups())
    assert abs(before - after) < 0.1
    weights = output.with_suffix(".bin") if format == "openvino" else output
    assert weights.stat().st_size < 0.5 * (run[0] / "best.ckpt").stat().st_size / 2
    assert open_runtime(output, "cpu").classes == load_checkpoint(run[0] / "best.ckpt")[1]

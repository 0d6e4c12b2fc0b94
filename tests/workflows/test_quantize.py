"""int8 quantization: the mIoU before and after, on a dataset with the checkpoint's classes."""

import re
from pathlib import Path

import numpy as np
import pytest
from exports import CLASSES
from layouts import HEIGHT, WIDTH, write

from segnet.classes import Classes
from segnet.cli.export import main
from segnet.data.datasets.shapes import Shapes
from segnet.errors import ConfigError, DataError
from segnet.images.files import write_image, write_mask
from segnet.inference.runtimes import open_runtime
from segnet.models.checkpoint import load_checkpoint
from segnet.workflows.quantize import Calibration


def test_a_dataset_of_other_classes_is_refused():
    with pytest.raises(DataError, match="dataset shapes has other classes than the checkpoint"):
        Calibration.open("shapes", None, CLASSES, 4)


def test_zero_calibration_images_are_refused(run):
    with pytest.raises(ConfigError, match="--calibration-images 0 must be 1 or more"):
        Calibration.open("shapes", None, load_checkpoint(run[0] / "best.ckpt")[1], 0)


@pytest.mark.parametrize("name", ["folder", "labelme", "label_studio", "supervisely"])
def test_images_may_lie_in_any_layout(tmp_path, name):
    spec = write(name, tmp_path, {"a.png": np.zeros((HEIGHT, WIDTH, 3), np.uint8)})
    opened = Calibration.open(name, spec["root"], Classes.create(["background", "cat"]), 1)
    assert len(opened.images) == len(opened.val) == 1


@pytest.fixture
def data(tmp_path) -> Path:
    """Return a folder of images and masks from the run's dataset."""
    for split, count in (("train", 8), ("val", 4)):
        shapes = Shapes(split, num_train=8, num_val=4, size=[48, 40])
        for index in range(count):
            sample = shapes.load(index)
            write_image(tmp_path / f"data/images/{split}/{index}.png", sample.image)
            write_mask(tmp_path / f"data/masks/{split}/{index}.png", sample.mask, shapes.classes.palette)
    return tmp_path / "data"


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_the_quantized_model_is_smaller_and_nearly_as_accurate(run, data, capsys, format):
    for package in ("onnx", "onnxscript", "onnxruntime", *(["openvino"] if format == "openvino" else [])):
        pytest.importorskip(package)
    checkpoint = run[0] / "best.ckpt"
    output = data.parent / ("a.xml" if format == "openvino" else "a.onnx")
    arguments = [str(checkpoint), "--format", format, "--output", str(output)]
    assert main([*arguments, "--int8", "--calibrate", str(data), "--calibration-images", "4"]) == 0
    match = re.search(
        r"int8 by 4 images; mIoU of 4 val images: (\S+) % in float32, (\S+) % in", capsys.readouterr().out
    )
    assert match
    before, after = map(float, match.groups())
    assert abs(before - after) < 10  # of 100
    weights = output.with_suffix(".bin") if format == "openvino" else output
    model, classes = load_checkpoint(checkpoint)
    assert weights.stat().st_size < 2 * sum(parameter.numel() for parameter in model.parameters())  # half of float32
    assert open_runtime(output, "cpu").classes == classes

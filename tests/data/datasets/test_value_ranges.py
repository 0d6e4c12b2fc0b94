"""Images of a small range in every reader: measured, and read with the value range of the option or a model."""

import numpy as np
import pytest
from layouts import HEIGHT, LAYOUTS, WIDTH, write

from segnet.data import build_dataset
from segnet.data.scan.scan import scan_sample
from segnet.errors import ConfigError

TOP = 234  # of 65535
VALUES = np.random.default_rng(0).integers(0, TOP + 1, (HEIGHT, WIDTH)).astype(np.uint16)
VALUES[0, :2] = 0, TOP
STRETCHED = np.round(VALUES * 255 / TOP).astype(np.uint8)[:, :, None].repeat(3, axis=2)


@pytest.fixture(params=LAYOUTS)
def spec(request, tmp_path):
    if request.param == "coco_instances":
        pytest.importorskip("pycocotools", reason="pycocotools is an optional package, and not installed")
    return write(request.param, tmp_path, {"a.png": VALUES, "b.png": VALUES})


def test_the_value_range_stretches_images(spec):
    for split in ("train", "val"):
        dataset = build_dataset({**spec, "value_range": [0, TOP]}, split)
        np.testing.assert_array_equal(dataset.load(1).image, STRETCHED)


def test_images_that_are_almost_black_are_measured(spec):
    finding = scan_sample(build_dataset(spec, "train"), 0)
    assert finding.limits == [0, TOP, 65535]
    assert scan_sample(build_dataset({**spec, "value_range": [0, TOP]}, "train"), 0).limits == []


def test_an_evaluation_uses_the_model_s_value_range(spec):
    train = build_dataset({**spec, "value_range": [0, TOP]}, "train")
    dataset = build_dataset(spec, "val", train.classes)
    dataset.take_value_range((0.0, float(TOP)), "best.ckpt")
    np.testing.assert_array_equal(dataset.load(0).image, STRETCHED)
    with pytest.raises(ConfigError, match=r"dataset\.value_range=\[0\.0, 9\.0\], but best\.ckpt was trained with"):
        build_dataset({**spec, "value_range": [0, 9]}, "val").take_value_range((0.0, float(TOP)), "best.ckpt")


def test_invalid_value_ranges_are_refused(spec):
    with pytest.raises(ConfigError, match=r"dataset\.value_range=\[9, 9\] must be \[low, high\]"):
        build_dataset({**spec, "value_range": [9, 9]}, "train")

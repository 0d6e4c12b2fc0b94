"""Converted models give the logits of their originals, and their checkpoints work like any other."""

import json
import pickle
from pathlib import Path

import fill
import mmseg_reference as mmseg
import numpy as np
import pytest
import torch

from segnet.class_sets import CITYSCAPES_CLASSES, CLASS_SETS
from segnet.errors import CheckpointError, ConfigError
from segnet.models.checkpoint import load_checkpoint
from segnet.published.convert import BuildSettings, convert, named_classes, published_settings, stored_classes
from segnet.weights.load import read_weights
from segnet.weights.pdparams import BOOKKEEPING

PARITY = Path(__file__).parents[1] / "data" / "parity"
IMAGENET = (torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))


def original(**options):
    options = {"block": mmseg.Bottleneck, "depths": [2, 1, 2, 2], **options}
    return mmseg.EncoderDecoder(**options).eval()


def published(model, path, meta=None):
    """Save the model as a file in mmsegmentation's format."""
    torch.save({"meta": meta or {"mmcv_version": "1.2.0"}, "state_dict": model.state_dict()}, path)
    return path


def assert_equal_logits(converted, model, size=(65, 97)):
    images = torch.randint(0, 256, (2, 3, *size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    mean, std = IMAGENET
    with torch.inference_mode():
        ours, theirs = converted(images), model((images / 255 - mean) / std)
    assert theirs.std() > 0.01
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("plus", [True, False])
@pytest.mark.parametrize("avg_down", [True, False])
@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("block", ["BasicBlock", "Bottleneck"])
def test_a_converted_mmsegmentation_model_gives_the_same_logits(tmp_path, block, output_stride, avg_down, plus):
    model = original(block=getattr(mmseg, block), output_stride=output_stride, avg_down=avg_down, plus=plus)
    weights = read_weights(published(model, tmp_path / "a.pth"))
    convert(
        weights, CITYSCAPES_CLASSES, BuildSettings(output_stride=output_stride, multi_grid=None), tmp_path / "a.ckpt"
    )
    converted, classes = load_checkpoint(tmp_path / "a.ckpt")
    assert classes == CITYSCAPES_CLASSES
    assert_equal_logits(converted, model)


@torch.inference_mode()
def test_a_converted_paddleseg_model_gives_the_same_logits(tmp_path):
    record = json.loads((PARITY / "deeplabv3p_resnet50_vd_os8.json").read_text())
    arrays = {name: fill.tensor(name, shape) for name, shape in record["param_shapes"].items()}
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps({**arrays, BOOKKEEPING: {}}, protocol=2))
    weights = read_weights(tmp_path / "a.pdparams")
    assert published_settings(weights) == BuildSettings(output_stride=8, multi_grid=(1, 2, 4))
    multi_grid = record["multi_grid"] and tuple(record["multi_grid"])
    classes = named_classes(",".join(f"c{index}" for index in range(record["num_classes"])))
    convert(weights, classes, BuildSettings(output_stride=8, multi_grid=multi_grid), tmp_path / "a.ckpt")
    model, _ = load_checkpoint(tmp_path / "a.ckpt")
    torch.testing.assert_close(model.normalize.mean.flatten(), torch.full((3,), 127.5))
    images = (
        torch.from_numpy(fill.image(record["height"], record["width"])) * model.normalize.std + model.normalize.mean
    )
    expected = np.load(PARITY / "deeplabv3p_resnet50_vd_os8.npz")["out0"]
    assert np.abs(model(images).numpy() - expected).max() <= 1e-4 * np.abs(expected).max()


CONFIG = """
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    backbone=dict(type='ResNetV1c', depth=50, dilations=({dilations}), strides=(1, 2, 1, 1){more}),
    decode_head=dict(type='ASPPHead', dilations=(1, 12, 24, 36), align_corners={align_corners}))
"""


@pytest.mark.parametrize(
    ("dilations", "more", "align_corners", "expected"),
    [
        ("1, 1, 2, 4", "", False, BuildSettings(output_stride=8, multi_grid=None)),
        ("1, 1, 1, 2", "", False, BuildSettings(output_stride=16, multi_grid=None)),
        ("1, 1, 1, 1", "", False, BuildSettings(output_stride=32, multi_grid=None)),
        ("1, 1, 2, 4", "", True, BuildSettings(output_stride=8, multi_grid=None, align_corners=True)),
        ("1, 1, 1, 2", ", multi_grid=(1, 2, 4)", False, BuildSettings(output_stride=16, multi_grid=(1, 2, 4))),
    ],
)
def test_settings_are_read_from_the_configuration_in_the_file(tmp_path, dilations, more, align_corners, expected):
    meta = {"config": CONFIG.format(dilations=dilations, more=more, align_corners=align_corners)}
    assert published_settings(read_weights(published(original(), tmp_path / "a.pth", meta))) == expected


def test_dilations_that_fit_no_output_stride_are_refused(tmp_path):
    meta = {"config": CONFIG.format(dilations="1, 1, 4, 8", more="", align_corners=False)}
    weights = read_weights(published(original(), tmp_path / "a.pth", meta))
    with pytest.raises(CheckpointError, match=r"a\.pth: was built with dilations 1,1,4,8, which fit no output stride"):
        published_settings(weights)


@pytest.mark.parametrize("output_stride", [8, 16])
def test_a_multi_grid_of_mmsegmentation_contains_dilations(tmp_path, output_stride):
    model = original(depths=[1, 1, 1, 3], output_stride=output_stride, multi_grid=(1, 2, 4))
    weights = read_weights(published(model, tmp_path / "a.pth"))
    settings = BuildSettings(output_stride=output_stride, multi_grid=(1, 2, 4))
    convert(weights, CITYSCAPES_CLASSES, settings, tmp_path / "a.ckpt")
    assert_equal_logits(load_checkpoint(tmp_path / "a.ckpt")[0], model)


def test_another_number_of_classes_is_refused_before_writing(tmp_path):
    weights = read_weights(published(original(num_classes=5), tmp_path / "a.pth"))
    with pytest.raises(CheckpointError, match="has 5 classes, but --classes names 19: road, sidewalk"):
        convert(weights, CITYSCAPES_CLASSES, published_settings(weights), tmp_path / "a.ckpt")
    assert not (tmp_path / "a.ckpt").exists()


def test_a_backbone_alone_is_refused(tmp_path):
    torch.save({"state_dict": original().backbone.state_dict()}, tmp_path / "a.pth")
    weights = read_weights(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth: is not a DeepLabV3 or DeepLabV3\+ with a ResNet"):
        convert(weights, CITYSCAPES_CLASSES, published_settings(weights), tmp_path / "a.ckpt")


@pytest.mark.parametrize("key", ["old", "new"])
def test_classes_are_read_from_the_weights_file(tmp_path, key):
    names, colors = ("road", "bed "), [[1, 2, 3], [4, 5, 6]]
    meta = {
        "old": {"CLASSES": names, "PALETTE": colors},
        "new": {"dataset_meta": {"classes": names, "palette": colors}},
    }[key]
    classes = stored_classes(read_weights(published(original(), tmp_path / "a.pth", meta)))
    assert classes.names == ("road", "bed")
    assert classes.palette == ((1, 2, 3), (4, 5, 6))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return read_weights(published(original(), tmp_path_factory.mktemp("weights") / "a.pth"))


def test_missing_class_names_are_an_error_that_suggests_classes(weights):
    with pytest.raises(ConfigError, match="contains no class names: add --classes with ade20k"):
        stored_classes(weights)


@pytest.mark.parametrize("name", CLASS_SETS)
def test_classes_of_known_datasets_are_found_by_name(name):
    assert named_classes(name) is CLASS_SETS[name]


def test_classes_are_read_from_a_list_or_a_file(tmp_path):
    assert named_classes("road, tree,car").names == ("road", "tree", "car")
    (tmp_path / "a.yaml").write_text("names: [a, b]\npalette: [[1, 2, 3], [3, 2, 1]]\nignore_index: 7\n")
    classes = named_classes(str(tmp_path / "a.yaml"))
    assert (classes.names, classes.palette, classes.ignore_index) == (("a", "b"), ((1, 2, 3), (3, 2, 1)), 7)
    (tmp_path / "b.json").write_text('["x", "y"]')
    assert named_classes(str(tmp_path / "b.json")).names == ("x", "y")


@pytest.mark.parametrize("content", ["{", "5", "names: [a]\ncolor: red", "palette: []"])
def test_invalid_class_files_are_refused_by_name(tmp_path, content):
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"--classes .*a\.yaml: "):
        named_classes(str(tmp_path / "a.yaml"))


def test_an_unknown_dataset_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"--classes cityscape: no such dataset\. Did you mean 'cityscapes'"):
        named_classes("cityscape")

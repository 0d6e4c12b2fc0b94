import json
import logging
from pathlib import Path

import fill
import numpy as np
import pytest
import torch
from foreign_weights import (
    refusal,
    write,
)

from segnet.errors import CheckpointError
from segnet.models.backbones.resnet import ResNet
from segnet.models.segmentation_model import SegmentationModel
from segnet.weights.load import (
    load_backbone_weights,
    load_model_weights,
)

PARITY = Path(__file__).parents[1] / "data" / "parity"


DEPTHS = {18: ("basic", [2, 2, 2, 2]), 50: ("bottleneck", [3, 4, 6, 3])}


def fixture(name: str) -> dict:
    return json.loads((PARITY / f"{name}.json").read_text())


def arrays_of(name: str) -> dict[str, np.ndarray]:
    return {key: fill.tensor(key, shape) for key, shape in fixture(name)["param_shapes"].items()}


def backbone_spec(layers: int, output_stride: int, multi_grid: list[int] | None = None) -> dict:
    block, depths = DEPTHS[layers]
    return {"block": block, "depths": depths, "output_stride": output_stride, "multi_grid": multi_grid}


def model_of(layers: int, output_stride: int, num_classes: int) -> SegmentationModel:
    return SegmentationModel(
        backbone={"name": "resnet", **backbone_spec(layers, output_stride)},
        decoder={"name": "deeplabv3plus", "output_stride": output_stride},
        num_classes=num_classes,
        mean=[0, 0, 0],
        std=[1 / 255] * 3,  # the image of the fixtures is already normalized
    )


def assert_close(ours: torch.Tensor, theirs: np.ndarray) -> None:
    """Assert equality up to 1e-4 of the largest absolute value."""
    assert ours.shape == theirs.shape
    assert np.abs(ours.numpy() - theirs).max() <= 1e-4 * np.abs(theirs).max()


@pytest.mark.parametrize("name", ["resnet18_vd_os16", "resnet50_vd_os16_mg124", "resnet50_vd_os8"])
@torch.inference_mode()
def test_backbone_matches_paddleseg_with_the_same_weights(tmp_path, name):
    reference = fixture(name)
    backbone = ResNet(**backbone_spec(reference["layers"], reference["output_stride"], reference["multi_grid"])).eval()
    load_backbone_weights(backbone, write(tmp_path / "w.pdparams", arrays_of(name)))
    features = backbone(torch.from_numpy(fill.image(reference["height"], reference["width"])))
    expected = np.load(PARITY / f"{name}.npz")
    assert len(features) == len(expected.files) == 4
    for index, feature in enumerate(features):
        kept = feature[:, :: feature.shape[1] // 64]  # the fixture contains 64 evenly spaced channels
        assert_close(kept, expected[f"out{index}"])


@torch.inference_mode()
def test_whole_model_matches_paddleseg_with_the_same_weights(tmp_path):
    name = "deeplabv3p_resnet50_vd_os8"
    reference = fixture(name)
    model = model_of(reference["layers"], reference["output_stride"], reference["num_classes"]).eval()
    assert model.decoder.atrous_rates == tuple(reference["aspp_ratios"][1:])
    assert model.decoder.align_corners == reference["align_corners"]
    load_model_weights(model, write(tmp_path / "w.pdparams", arrays_of(name)))
    logits = model(torch.from_numpy(fill.image(reference["height"], reference["width"])))
    assert_close(logits, np.load(PARITY / f"{name}.npz")["out0"])


@pytest.fixture(scope="module")
def resnet18() -> dict[str, np.ndarray]:
    return arrays_of("resnet18_vd_os16")


@pytest.fixture
def backbone() -> ResNet:
    torch.manual_seed(0)
    return ResNet(**backbone_spec(18, 16))


def test_weights_of_a_backbone_do_not_depend_on_its_output_stride(tmp_path, resnet18):
    path = write(tmp_path / "w.pdparams", resnet18)
    states = []
    for output_stride in (8, 16, 32):
        model = ResNet(**backbone_spec(18, output_stride))
        load_backbone_weights(model, path)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], other[name]) for other in states[1:] for name in states[0])


def test_values_are_assigned_by_name(tmp_path, backbone, resnet18):
    load_backbone_weights(backbone, write(tmp_path / "w.pdparams", resnet18))
    for theirs, ours in {
        "conv1_2._conv.weight": backbone.stem[1].conv.weight,
        "bb_2_1.conv1._conv.weight": backbone.stages[2][1].conv2.conv.weight,
        "bb_3_0.short._batch_norm._variance": backbone.stages[3][0].shortcut.project.norm.running_var,
        "bb_0_0.conv0._batch_norm._mean": backbone.stages[0][0].conv1.norm.running_mean,
    }.items():
        np.testing.assert_array_equal(ours.detach().numpy(), resnet18[theirs])


def test_missing_weights_are_counted_and_named(tmp_path, backbone, resnet18):
    kept = {name: array for name, array in resnet18.items() if not name.startswith(("conv1_1._conv", "bb_3_1.conv1."))}
    message = refusal(backbone, write(tmp_path / "w.pdparams", kept))
    assert "6 weights are missing (" in message
    assert "stages.3.1.conv2.conv.weight" in message
    assert "0 are unexpected (none)" in message


def test_unexpected_weights_are_counted_and_named(tmp_path, backbone, resnet18):
    more = {"extra.weight": np.zeros(3, np.float32), "bb_3_1.conv2._conv.weight": np.zeros(3, np.float32)}
    message = refusal(backbone, write(tmp_path / "w.pdparams", {**resnet18, **more}))
    assert "0 weights are missing (none)" in message
    assert "2 are unexpected (extra.weight, stages.3.1.conv3.conv.weight)" in message


def test_weights_of_another_depth_do_not_fit(tmp_path, backbone):
    message = refusal(backbone, write(tmp_path / "w.pdparams", arrays_of("resnet50_vd_os8")))
    assert "the file contains a ResNet with depths (3, 4, 6, 3), the backbone (2, 2, 2, 2)" in message


def test_long_lists_of_names_are_shortened(tmp_path, backbone, resnet18):
    kept = {name: array for name, array in resnet18.items() if ".conv0._batch_norm." not in name}
    message = refusal(backbone, write(tmp_path / "w.pdparams", kept))
    assert "32 weights are missing (" in message
    assert message.count("stages.") == 5
    assert " and 27 more)" in message


def test_a_weight_of_another_shape_is_named_with_both_shapes(tmp_path, backbone, resnet18):
    wrong = {**resnet18, "bb_1_0.conv0._conv.weight": np.zeros((128, 64, 1, 1), np.float32)}
    message = refusal(backbone, write(tmp_path / "w.pdparams", wrong))
    assert "stages.1.0.conv1.conv.weight is [128, 64, 1, 1] in the file and [128, 64, 3, 3] in the model" in message


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, bool])
def test_integer_weights_are_refused(tmp_path, backbone, resnet18, dtype):
    # Paddle stores bfloat16 as uint16, whose values are not usable as numbers
    wrong = {**resnet18, "conv1_1._conv.weight": np.ones((32, 3, 3, 3), dtype)}
    message = refusal(backbone, write(tmp_path / "w.pdparams", wrong))
    assert "stem.0.conv.weight" in message


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_other_float_dtypes_are_converted(tmp_path, backbone, resnet18, dtype):
    weight = resnet18["conv1_1._conv.weight"].astype(dtype)
    load_backbone_weights(backbone, write(tmp_path / "w.pdparams", {**resnet18, "conv1_1._conv.weight": weight}))
    assert backbone.stem[0].conv.weight.dtype == torch.float32
    np.testing.assert_array_equal(backbone.stem[0].conv.weight.detach().numpy(), weight.astype(np.float32))


@pytest.mark.parametrize("head", ["out", "fc"])
def test_an_imagenet_classifier_is_dropped_and_logged(tmp_path, backbone, resnet18, head, caplog):
    more = {f"{head}.weight": np.zeros((512, 1000), np.float32), f"{head}.bias": np.zeros(1000, np.float32)}
    with caplog.at_level(logging.INFO, "segnet"):
        load_backbone_weights(backbone, write(tmp_path / "w.pdparams", {**resnet18, **more}))
    assert f"2 weights of its head are not used ({head}.weight, {head}.bias)" in caplog.text
    np.testing.assert_array_equal(backbone.stem[0].conv.weight.detach().numpy(), resnet18["conv1_1._conv.weight"])


def test_nothing_is_logged_if_nothing_is_dropped(tmp_path, backbone, resnet18, caplog):
    with caplog.at_level(logging.INFO, "segnet"):
        load_backbone_weights(backbone, write(tmp_path / "w.pdparams", resnet18))
    assert caplog.text == ""


def test_a_whole_models_file_initializes_a_backbone(tmp_path, backbone, resnet18, caplog):
    whole = {f"backbone.{name}": array for name, array in resnet18.items()}
    whole["head.decoder.conv.bias"] = np.zeros(19, np.float32)
    with caplog.at_level(logging.INFO, "segnet"):
        load_backbone_weights(backbone, write(tmp_path / "w.pdparams", whole))
    assert "1 weights of its head are not used (head.decoder.conv.bias)" in caplog.text
    np.testing.assert_array_equal(backbone.stem[0].conv.weight.detach().numpy(), resnet18["conv1_1._conv.weight"])


def test_backbone_weights_do_not_load_into_a_whole_model(tmp_path, resnet18):
    with pytest.raises(CheckpointError, match="weights are missing"):
        load_model_weights(model_of(18, 16, 19), write(tmp_path / "w.pdparams", resnet18))


@torch.inference_mode()
def test_convolution_biases_are_folded_into_the_running_mean(tmp_path, backbone, resnet18):
    bias = np.linspace(-1, 1, 32, dtype=np.float32)
    image = torch.from_numpy(fill.image(9, 9))
    load_backbone_weights(backbone, write(tmp_path / "w.pdparams", {**resnet18, "conv1_1._conv.bias": bias}))
    first, plain = backbone.stem[0].eval(), torch.from_numpy(resnet18["conv1_1._conv.weight"])
    convolved = torch.nn.functional.conv2d(image, plain, torch.from_numpy(bias), stride=2, padding=1)
    norm = [
        torch.from_numpy(resnet18[f"conv1_1._batch_norm.{part}"]) for part in ("_mean", "_variance", "weight", "bias")
    ]
    expected = torch.nn.functional.batch_norm(convolved, *norm, eps=1e-5).clamp(min=0)
    torch.testing.assert_close(first(image), expected, rtol=1e-4, atol=1e-5)


def test_a_bias_of_another_length_is_refused(tmp_path, backbone, resnet18):
    wrong = {**resnet18, "conv1_1._conv.bias": np.zeros(5, np.float32)}
    message = refusal(backbone, write(tmp_path / "w.pdparams", wrong))
    assert "1 is unexpected (stem.0.conv.bias)" in message


def test_files_that_cannot_be_read_are_refused(tmp_path, backbone):
    assert "no such file" in refusal(backbone, tmp_path / "none.pdparams")
    (tmp_path / "text.pdparams").write_text("not weights\n")
    assert "is not a .pdparams file" in refusal(backbone, tmp_path / "text.pdparams")

import copy

import numpy as np
import pytest
import torch
from tiny import components

from segnet.checkpoint import save_checkpoint
from segnet.classes import Classes, voc_palette
from segnet.errors import CheckpointError, MachineError
from segnet.model import SegmentationModel
from segnet.predictor import Predictor

SPEC = {
    **components(),
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
}


def checkpoint(path, num_classes, bias=None):
    torch.manual_seed(1)
    spec = {**copy.deepcopy(SPEC), "num_classes": num_classes}
    model = SegmentationModel(**spec)
    if bias is not None:
        torch.nn.init.zeros_(model.decoder.classifier.weight)
        model.decoder.classifier.bias.data = torch.tensor(bias, dtype=torch.float32)
    classes = Classes.create([f"c{i}" for i in range(num_classes)], voc_palette(num_classes), 65535)
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    save_checkpoint({"state_dict": weights, "hyper_parameters": {"model": spec, "classes": classes.to_dict()}}, path)
    return model.eval(), classes


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 3), (33, 65)])
def test_any_size_in_same_size_out(tmp_path, size):
    checkpoint(tmp_path / "a.ckpt", 4)
    mask = Predictor(tmp_path / "a.ckpt", "cpu")(np.full((*size, 3), 77, np.uint8)).mask
    assert mask.shape == size
    assert mask.dtype == np.uint8


@torch.inference_mode()
def test_the_map_is_the_argmax_of_the_models_logits(tmp_path):
    model, classes = checkpoint(tmp_path / "a.ckpt", 4)
    predictor = Predictor(tmp_path / "a.ckpt", "cpu")
    assert predictor.classes == classes
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    logits = model(torch.tensor(image).permute(2, 0, 1)[None])
    expected = logits[0].argmax(dim=0).numpy()
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(predictor(image).mask, expected)
    np.testing.assert_array_equal(predictor(image[:, ::-1][:, ::-1]).mask, expected)  # a view is as good


@pytest.mark.parametrize(("num_classes", "dtype"), [(256, np.uint8), (300, np.uint16)])
def test_ids_beyond_a_byte_keep_their_value(tmp_path, num_classes, dtype):
    bias = np.zeros(num_classes)
    bias[-1] = 1
    checkpoint(tmp_path / "a.ckpt", num_classes, bias)
    mask = Predictor(tmp_path / "a.ckpt", "cpu")(np.zeros((5, 6, 3), np.uint8)).mask
    assert mask.dtype == dtype
    assert (mask == num_classes - 1).all()


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:x", "meta2"])
def test_a_device_that_is_not_there_is_refused_in_one_line(tmp_path, device):
    checkpoint(tmp_path / "a.ckpt", 2)
    with pytest.raises(MachineError, match=f"device '{device}' cannot be used") as error:
        Predictor(tmp_path / "a.ckpt", device)
    assert "\n" not in str(error.value)


def test_a_missing_checkpoint_is_told(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.ckpt: no such checkpoint"):
        Predictor(tmp_path / "none.ckpt")


def test_a_batch_gives_what_single_images_give_with_probabilities_where_asked_for(tmp_path):
    checkpoint(tmp_path / "a.ckpt", 4)
    predictor = Predictor(tmp_path / "a.ckpt", "cpu")
    images = list(np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8))
    for image, result in zip(images, predictor.batch(images, probabilities=True), strict=True):
        single = predictor(image)
        assert single.probabilities is None
        assert (single.mask == result.mask).mean() > 0.99  # the order of sums is another
        assert result.probabilities.dtype == np.float16
        np.testing.assert_allclose(result.probabilities.astype(float).sum(axis=0), 1, atol=3e-3)
        np.testing.assert_allclose(result.probabilities, predictor(image, probabilities=True).probabilities, atol=2e-3)
        assert result.image is image

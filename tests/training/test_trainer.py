"""What segnet adds to Lightning's Trainer; that it trains is in test_training.py."""

import pytest
import torch
from tiny import CPU, components, configuration
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from segnet.config import PRECISIONS, Config
from segnet.errors import ConfigError
from segnet.models.norms import PooledBatchNorm
from segnet.models.segmentation_model import SegmentationModel
from segnet.system import machine
from segnet.training import trainer as module
from segnet.training.trainer import SyncBatchNorms, precision_option, training_trainer


def norms(model):
    return {type(layer) for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)}


@pytest.mark.parametrize(
    ("device", "processes", "expected"),
    [
        ("cuda", 2, {nn.SyncBatchNorm}),
        ("cuda", 1, {nn.BatchNorm2d, PooledBatchNorm}),
        ("cpu", 2, {nn.BatchNorm2d, PooledBatchNorm}),
    ],
)
def test_batch_norms_are_synchronized_exactly_among_gpus(device, processes, expected, monkeypatch):
    """With tensors that only say where they are: no GPU is needed."""
    monkeypatch.setattr(module, "num_processes", lambda: processes)
    with torch.device("meta"):
        model = SegmentationModel(**components(), num_classes=3, mean=[0.5] * 3, std=[0.5] * 3)
    mode = FakeTensorMode()
    for layer in model.modules():
        for name, parameter in layer.named_parameters(recurse=False):
            placed = FakeTensor(mode, parameter.detach(), torch.device(device, 0) if device == "cuda" else device)
            setattr(layer, name, nn.Parameter(placed))
    names = list(model.state_dict())
    applied = SyncBatchNorms().apply(model)
    assert norms(applied) == expected
    assert list(applied.state_dict()) == names


@pytest.mark.parametrize(("options", "expected"), [({}, SyncBatchNorms), ({"sync_batchnorm": False}, type(None))])
def test_who_says_otherwise_is_obeyed(options, expected, tmp_path):
    trainer = training_trainer(configuration(trainer={**CPU, "devices": 2, "max_epochs": 1, **options}), tmp_path)
    assert type(trainer.strategy._layer_sync) is expected


@pytest.mark.parametrize(
    ("precision", "options", "expected"),
    [
        ("float32", {}, "32-true"),
        ("bf16", {}, "bf16-mixed"),
        ("fp16", {}, "16-mixed"),
        ("float32", {"precision": "64-true"}, "64-true"),
        ("float32", {"precision": "bf16"}, "bf16-mixed"),
        ("bf16", {"precision": "bf16-mixed"}, "bf16-mixed"),
    ],
)
def test_precision_is_translated_for_lightning(precision, options, expected, monkeypatch):
    monkeypatch.setattr(machine, "cpu_has_bf16", lambda: True)
    assert precision_option(Config(precision=precision, trainer=options)) == {"precision": expected}


def test_every_precision_has_a_word_of_lightning():
    assert set(module.LIGHTNING_PRECISIONS) == set(PRECISIONS)


def test_bf16_on_a_cpu_without_its_instructions_is_float32(monkeypatch):
    monkeypatch.setattr(machine, "cpu_has_bf16", lambda: False)
    assert precision_option(Config(precision="bf16", trainer=CPU)) == {"precision": "32-true"}
    assert precision_option(Config(precision="bf16", trainer={"accelerator": "gpu"})) == {"precision": "bf16-mixed"}


def test_contradicting_and_unknown_precisions_are_refused():
    with pytest.raises(ConfigError, match=r"precision=bf16 contradicts trainer\.precision=32-true: leave out one"):
        precision_option(Config(precision="bf16", trainer={"precision": "32-true"}))
    with pytest.raises(ConfigError, match="precision=half is unknown: choose from float32, bf16, fp16"):
        precision_option(Config(precision="half"))


def test_a_trainer_option_keeps_the_other_defaults(tmp_path):
    trainer = training_trainer(configuration(trainer=CPU), tmp_path)
    assert (trainer.max_epochs, trainer.log_every_n_steps) == (Config().trainer["max_epochs"], 10)

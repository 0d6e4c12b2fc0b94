"""Options and plugins that segnet adds to Lightning's Trainer; test_train.py trains with it."""

import pytest
import torch
from tiny import CPU, components, configuration
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from segnet.models.norms import PooledBatchNorm
from segnet.models.segmentation_model import SegmentationModel
from segnet.training import trainer as module
from segnet.training.trainer import SyncBatchNorms, training_trainer


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
def test_batch_norm_is_synchronized_only_across_gpus(device, processes, expected, monkeypatch):
    """Fake tensors with a device attribute replace a GPU."""
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
def test_an_explicit_sync_batchnorm_option_wins(options, expected, tmp_path):
    trainer = training_trainer(configuration(trainer={**CPU, "devices": 2, "max_epochs": 1, **options}), tmp_path)
    assert type(trainer.strategy._layer_sync) is expected

"""Validations: sliding windows, equal scores to an evaluation, and the memory check before the first step."""

import csv

import numpy as np
import pytest
import torch
from tiny import CPU, SHAPES, configuration

from segnet.config import DataConfig, ValidationConfig
from segnet.errors import MachineError
from segnet.inference import tta
from segnet.inference.tta import Inference
from segnet.models.segmentation_model import SegmentationModel
from segnet.training.task import SegmentationTask
from segnet.workflows.evaluate import evaluate
from segnet.workflows.train import train


@pytest.mark.parametrize(
    "options", [{"window": 32}, {"flip": True, "scales": [0.75, 1.0], "window": 32}, {"flip": True}]
)
def test_validation_and_evaluation_give_the_same_scores(options, tmp_path):
    config = configuration(validation=ValidationConfig(**options), trainer={**CPU, "max_epochs": 1})
    results = train(config, tmp_path)
    again = evaluate(
        tmp_path / "best.ckpt",
        dataset=SHAPES,
        split="val",
        data=DataConfig(num_workers=0),
        trainer=CPU,
        inference=Inference(**options),
    )
    with open(tmp_path / "metrics.csv", newline="") as file:
        [logged] = [float(row["val/miou"]) for row in csv.DictReader(file) if row["val/miou"]]
    assert np.float32(logged) == np.float32(results.scores.miou) == np.float32(again.scores.miou)


def test_large_images_are_validated_with_sliding_windows_by_default(tmp_path, monkeypatch):
    monkeypatch.setattr(tta, "MAX_PIXELS", 40 * 40)
    monkeypatch.setattr(tta, "DEFAULT_WINDOW", 32)
    seen, original = set(), SegmentationModel.forward

    def forward(self, images):
        seen.add(max(images.shape[2:]))
        return original(self, images)

    monkeypatch.setattr(SegmentationModel, "forward", forward)
    results = train(configuration(trainer={**CPU, "max_epochs": 1}), tmp_path)
    assert seen == {32}
    assert results.num_images == 5


def test_out_of_memory_with_the_largest_image_stops_the_run_before_its_first_step(tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr(SegmentationTask, "training_step", lambda *_: steps.append(1))

    def full(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(SegmentationTask, "measure", full)
    with pytest.raises(MachineError, match=r"largest val image, .* \(40 x 48\): set validation.window=24") as caught:
        train(configuration(), tmp_path)
    assert caught.value.exit_code == 5
    assert not steps


def test_the_memory_check_does_not_change_the_run(tmp_path, monkeypatch):
    config = {"trainer": {**CPU, "max_epochs": 1}}
    train(configuration(**config), tmp_path / "tried")
    monkeypatch.setattr("segnet.training.callbacks.largest_image.TryLargestImage.on_train_start", lambda *_: None)
    train(configuration(**config), tmp_path / "not")
    weights = [torch.load(tmp_path / name / "last.ckpt", weights_only=True)["state_dict"] for name in ("tried", "not")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])

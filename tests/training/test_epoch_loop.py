"""Validations during gradient accumulation; callbacks/test_last_checkpoint.py tests exact resumption."""

import csv

import pytest
from tiny import CPU, SHAPES, configuration

from segnet.training.task import SegmentationTask
from segnet.workflows.train import train


@pytest.mark.parametrize(
    ("trainer", "validated"),
    [  # 11 batches an epoch: steps after batches 3, 6, 9, 11
        ({"val_check_interval": 4}, [2, 3, 5, 6, 7]),  # batches 4, 8, 12, 16, 20 wait for 6, 9, 14, 17, 20
        ({"val_check_interval": 4, "check_val_every_n_epoch": 1}, [2, 3, 6, 7]),  # counts from each epoch's start
        ({"val_check_interval": 0.5}, [2, 4, 6, 8]),  # int(5.5) batches: 5 and 10
        ({"val_check_interval": 2}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"val_check_interval": 1}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({}, [4, 8]),
        ({"limit_train_batches": 5, "val_check_interval": 0.5}, [1, 2, 3, 4]),
        ({"check_val_every_n_epoch": 2}, [8]),
        ({"max_epochs": -1, "max_steps": 5, "val_check_interval": 7}, [3, 5]),  # and after the last step
    ],
)
def test_a_validation_due_during_accumulation_waits_for_the_optimizer_step(trainer, validated, tmp_path, monkeypatch):
    steps = []

    def on_validation_epoch_start(self):
        if self.trainer.state.fn == "fit":
            steps.append(self.trainer.global_step)
            assert all(parameter.grad is None for parameter in self.parameters())
        self.confusion.reset()

    monkeypatch.setattr(SegmentationTask, "on_validation_epoch_start", on_validation_epoch_start)
    options = {**CPU, "max_epochs": 2, "accumulate_grad_batches": 3, "log_every_n_steps": 1, **trainer}
    train(configuration(trainer=options, dataset={**SHAPES, "num_train": 44, "num_val": 2}), tmp_path)
    assert steps == validated
    with open(tmp_path / "metrics.csv", newline="") as file:
        assert [int(row["step"]) + 1 for row in csv.DictReader(file) if row["val/miou"]] == validated

"""Trainings that are refused before the first step, or that end in one line."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from tiny import CPU, configuration

from segnet.config import DataConfig, EarlyStoppingConfig, EmaConfig, OptimConfig
from segnet.errors import CheckpointError, ConfigError, DataError, MachineError
from segnet.models.checkpoint import read_checkpoint
from segnet.training.task import SegmentationTask
from segnet.workflows.train import train


def test_gpu_out_of_memory_names_the_options_to_lower(tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("segnet.training.task.SegmentationTask.training_step", full)
    with pytest.raises(MachineError, match=r"data\.batch_size=4 and data\.crop_size=\[32, 32\].*lower data\."):
        train(configuration(), tmp_path)


def test_a_full_disk_ends_the_run_and_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    calls, save = [], torch.save

    def filling(content, path):
        calls.append(path)
        if len(calls) == 4:
            raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")
        save(content, path)

    monkeypatch.setattr(torch, "save", filling)
    with pytest.raises(MachineError, match=r"\.ckpt: cannot be written, is the disk full\?"):
        train(configuration(), tmp_path)
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 4
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"data": DataConfig(batch_size=1, crop_size=[16, 16])}, ConfigError, "data.batch_size=2"),
        ({"data": DataConfig(batch_size=17, num_workers=0)}, DataError, "16 images, fewer than one batch of 17"),
        ({"data": DataConfig(batch_size=0)}, ConfigError, "data.batch_size=0"),
        ({"optim": OptimConfig(lr=-1)}, ConfigError, "optim.lr=-1"),
        ({"trainer": {"max_epoch": 1}}, ConfigError, "trainer.max_epoch .*Did you mean 'max_epochs'"),
        ({"trainer": {"precision": 17}}, ConfigError, "trainer.precision=17 is not available"),
        ({"trainer": {"max_epochs": "many"}}, ConfigError, "trainer.max_epochs=many"),
        ({"backbone_weights": "nowhere.pdparams"}, CheckpointError, "nowhere.pdparams: no such file"),
        ({"mean": [0.5]}, ConfigError, "mean="),
        ({"loss": {"name": "dicee"}}, ConfigError, "loss.name=dicee .*Did you mean 'dice'"),
        ({"loss": {"name": "ohem", "class_weight": [1]}}, ConfigError, "class_weight has 1 values, but there are 6"),
        ({"auxiliary_head": {"name": "fcn", "stage": 5}}, ConfigError, "auxiliary_head.stage=5"),
        ({"optim": OptimConfig(name="adam")}, ConfigError, "optim.name=adam .*Did you mean 'adamw'"),
        ({"optim": OptimConfig(scale_lr=True, batch_size=None)}, ConfigError, "set optim.batch_size"),
        ({"ema": EmaConfig(decay=1.0)}, ConfigError, "ema.decay=1.0"),
        ({"early_stopping": EarlyStoppingConfig(patience=0)}, ConfigError, "early_stopping.patience=0"),
    ],
)
def test_impossible_configurations_are_refused_before_writing(changes, error, message, tmp_path):
    with pytest.raises(error, match=message):
        train(configuration(**changes), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_run_of_unlimited_length_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"set trainer\.max_epochs or trainer\.max_steps"):
        train(configuration(trainer={**CPU, "max_epochs": -1}), tmp_path)


def test_a_non_finite_loss_ends_the_run(tmp_path):
    with pytest.raises(ConfigError, match=r"the loss is (nan|inf) .*lower optim\.lr"):
        train(configuration(optim=OptimConfig(lr=1e30), trainer={**CPU, "max_epochs": 20}), tmp_path)


@pytest.mark.parametrize("disappear", ["delete", "move", "replace by a file"])
@pytest.mark.parametrize("step", [1, 4, 7])  # before the first write, in the first validation, between two validations
def test_a_deleted_run_folder_is_a_one_line_error(disappear, step, tmp_path, monkeypatch):
    folder, calls, original = tmp_path / "run", [], SegmentationTask.training_step

    def training_step(self, batch, batch_idx):
        calls.append(batch_idx)
        if len(calls) == step:
            (shutil.rmtree if disappear == "delete" else lambda path: path.rename(tmp_path / "moved"))(folder)
            if disappear == "replace by a file":
                folder.touch()
        return original(self, batch, batch_idx)

    monkeypatch.setattr(SegmentationTask, "training_step", training_step)
    with pytest.raises(MachineError, match="the run folder was deleted or moved while the run was writing") as caught:
        train(configuration(checkpoint_every=1), folder)
    assert caught.value.exit_code == 5
    assert len(calls) in (step, step + 1)
    assert not folder.is_dir()


def test_a_run_folder_deleted_before_the_results_is_a_one_line_error(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    monkeypatch.setattr(SegmentationTask, "on_train_end", lambda self: shutil.rmtree(folder))
    with pytest.raises(MachineError, match="the run folder was deleted or moved"):
        train(configuration(), folder)
    assert not folder.exists()


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc").is_dir(), reason="root writes anywhere but into /proc")
def test_a_run_folder_that_cannot_be_created_is_refused_before_the_first_step(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/run")):
        with pytest.raises(MachineError, match="the run folder cannot be written to"):
            train(configuration(), folder)

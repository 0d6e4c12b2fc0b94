"""EMA weights, early stopping, max_steps and accumulation, in real runs of a tiny model."""

import csv
import logging
import math

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from tiny import CPU, SHAPES, components, configuration
from torch import nn

from segnet.config import DataConfig, EarlyStoppingConfig, EmaConfig, OptimConfig
from segnet.data.datamodule import SegmentationDataModule
from segnet.models.checkpoint import load_checkpoint, read_checkpoint
from segnet.training.callbacks.configured import configured_callbacks, images_per_statistic
from segnet.training.task import SegmentationTask
from segnet.training.trainer import training_trainer
from segnet.workflows.evaluate import evaluate
from segnet.workflows.train import train

HALF = [0.5] * 3


def without_chance(**changes):
    """Return a configuration without randomness: no dropout, no crops, group norm."""
    parts = components()
    norm = {"name": "group", "groups": 4}
    parts["backbone"] |= {"norm": norm, "drop_path_rate": 0.0}
    parts["decoder"] |= {"norm": norm, "dropout": 0.0}
    return configuration(**{**parts, "optim": OptimConfig(lr=0.05, momentum=0.5), **changes})


class Spy(Callback):
    """Records the model's state and the learning rate of each step."""

    def __init__(self):
        self.states, self.rates = [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step > len(self.states):
            self.states.append({name: value.clone() for name, value in pl_module.state_dict().items()})


class Cut(BaseException):
    """Simulates SIGKILL: no code catches it."""


class CutAfterAnEpoch(Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == 1:
            raise Cut


def fit(config, folder, *callbacks, resume=None):
    """Train without evaluation; return the task and the spy."""
    pl.seed_everything(0, verbose=False)
    spy = Spy()
    datamodule = SegmentationDataModule(config.dataset, config.data, HALF, seed=0)
    task = SegmentationTask.create(
        model={"backbone": config.backbone, "decoder": config.decoder, "mean": HALF, "std": HALF},
        classes=datamodule.classes,
        loss=config.loss,
        optim=config.optim,
        auxiliary_head=config.auxiliary_head,
    )
    trainer = training_trainer(config, folder, [*configured_callbacks(config), spy, *callbacks])
    trainer.fit(task, datamodule=datamodule, ckpt_path=resume)
    return task, spy


def rows(folder, column):
    with open(folder / "metrics.csv", newline="") as file:
        return [(int(row["step"]), float(row[column])) for row in csv.DictReader(file) if row[column]]


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("averaged")
    return folder, *fit(configuration(ema=EmaConfig(decay=0.7)), folder)


def test_checkpoints_store_ema_weights(averaged):
    folder, _, spy = averaged
    average = {name: value.double() for name, value in spy.states[0].items()}
    for count, state in enumerate(spy.states[1:], start=1):
        decay = min(0.7, (1 + count) / (10 + count))
        for name, value in state.items():
            average[name] = decay * average[name] + (1 - decay) * value.double()
    stored = read_checkpoint(folder / "last.ckpt")["state_dict"]
    assert stored.keys() == average.keys()
    assert len(spy.states) == 8
    for name, value in stored.items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), average[name], rtol=1e-4, atol=1e-6)
        else:
            assert torch.equal(value, spy.states[-1][name])  # num_batches_tracked is not averaged
    weight = "model.decoder.classifier.weight"
    assert not torch.equal(stored[weight], spy.states[-1][weight])


def test_last_ckpt_also_stores_the_weights_to_resume_from(averaged):
    folder, _, spy = averaged
    current = read_checkpoint(folder / "last.ckpt")["current_model_state"]
    assert all(torch.equal(current[name], value) for name, value in spy.states[-1].items())


def test_ema_leaves_the_normalization_constants_unchanged(averaged):
    _, task, _ = averaged
    assert torch.equal(task.model.normalize.mean, torch.full((3, 1, 1), 127.5))


def test_validation_and_best_ckpt_use_ema_weights(tmp_path):
    results = train(configuration(ema=EmaConfig(decay=0.9)), tmp_path)
    assert np.float32(results.scores.miou) == np.float32(max(value for _, value in rows(tmp_path, "val/miou")))
    load_checkpoint(tmp_path / "best.ckpt")


def test_a_resumed_run_ends_with_the_same_weights_and_ema_weights(tmp_path):
    config = without_chance(ema=EmaConfig(decay=0.9))
    fit(config, tmp_path / "whole")
    with pytest.raises(Cut):
        fit(config, tmp_path / "parts", CutAfterAnEpoch())
    _, spy = fit(config, tmp_path / "parts", resume=tmp_path / "parts" / "last.ckpt")
    assert len(spy.rates) == 4
    whole, rest = (read_checkpoint(tmp_path / name / "last.ckpt") for name in ("whole", "parts"))
    for part in ("state_dict", "current_model_state", "averaging_state"):
        assert whole[part].keys() == rest[part].keys()
        assert all(torch.equal(whole[part][name], rest[part][name]) for name in whole[part])


def test_early_stopping_ends_a_run_without_improvement(tmp_path, caplog):
    config = configuration(
        optim=OptimConfig(lr=0.0, weight_decay=0.0),
        early_stopping=EarlyStoppingConfig(patience=2, min_delta=1.0),
        trainer={**CPU, "max_epochs": 10},
    )
    with caplog.at_level(logging.INFO, "segnet"):
        _, spy = fit(config, tmp_path)
    assert "early stopping at step 12: 2 validations without a higher mIoU" in caplog.messages
    assert len(spy.rates) == 3 * 4  # the first validation is the highest, the next two are not higher


@pytest.mark.parametrize(("options", "validated"), [({}, [4, 8, 10]), ({"val_check_interval": 3}, [3, 6, 9, 10])])
def test_max_steps_sets_the_run_length_and_the_last_step_is_validated(tmp_path, options, validated, capsys):
    """Ten steps are two and a half epochs; max_epochs=1 does not stop the run."""
    trainer = {**CPU, "max_steps": 10, "max_epochs": 1, "log_every_n_steps": 1, **options}
    _, spy = fit(configuration(trainer=trainer), tmp_path)
    np.testing.assert_allclose(spy.rates, [0.05 * (1 - step / 10) ** 0.9 for step in range(10)], rtol=1e-6)
    assert [step + 1 for step, _ in rows(tmp_path, "val/miou")] == validated
    lines = capsys.readouterr().out.splitlines()
    assert [line[: len("step 10/10")] for line in lines] == [f"step {step:2d}/10" for step in validated]
    assert lines[-1].endswith("  0:00:00 left")
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 10


def test_the_schedule_counts_optimizer_steps_not_batches(tmp_path):
    """Three batches per step: an epoch of four batches has two steps, the second of one batch."""
    config = configuration(trainer={**CPU, "max_epochs": 3, "accumulate_grad_batches": 3})
    _, spy = fit(config, tmp_path)
    np.testing.assert_allclose(spy.rates, [0.05 * (1 - step / 6) ** 0.9 for step in range(6)], rtol=1e-6)


def test_two_accumulated_batches_equal_one_batch_of_twice_the_size(tmp_path):
    data = {"crop_size": [32, 32], "num_workers": 0, "scale_range": [1.0, 1.0]}
    ends = []
    for size, accumulated in ((8, 1), (4, 2)):
        config = without_chance(
            data=DataConfig(batch_size=size, **data),
            trainer={**CPU, "max_epochs": 2, "accumulate_grad_batches": accumulated, "gradient_clip_val": 0.1},
        )
        _, spy = fit(config, tmp_path / str(size))
        assert len(spy.states) == 4
        ends.append(spy.states[-1])
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_gradient_clipping_applies_to_accumulated_gradients(tmp_path, accumulated):
    """With plain SGD the length of a step is the learning rate times the clipped norm."""
    config = without_chance(
        optim=OptimConfig(lr=0.5, momentum=0, weight_decay=0, power=0),
        trainer={**CPU, "max_epochs": 1, "gradient_clip_val": 1e-3, "accumulate_grad_batches": accumulated},
    )
    _, spy = fit(config, tmp_path)
    for before, after in zip(spy.states, spy.states[1:], strict=False):
        length = math.sqrt(sum((after[name] - value).double().square().sum() for name, value in before.items()))
        assert length == pytest.approx(0.5 * 1e-3, rel=1e-2)


@pytest.mark.parametrize("loss", ["cross_entropy", "ohem", "focal", "dice", "tversky", "lovasz"])
def test_every_loss_trains_in_mixed_precision(tmp_path, loss):
    trainer = {**CPU, "max_steps": 2, "precision": "bf16-mixed", "limit_val_batches": 0, "log_every_n_steps": 1}
    fit(configuration(loss={"name": loss}, trainer=trainer), tmp_path)
    assert all(math.isfinite(value) and value > 0 for _, value in rows(tmp_path, "train/loss"))


def test_the_weighted_auxiliary_loss_is_added_and_the_head_is_not_part_of_the_model(tmp_path):
    head = {"name": "fcn", "channels": 8, "weight": 0.25, "dropout": 0.0}
    trainer = {**CPU, "max_steps": 1, "log_every_n_steps": 1}
    losses = {}
    for name, spec in (("with", head), ("without", None)):
        fit(without_chance(auxiliary_head=spec, trainer=trainer), tmp_path / name)
        [(_, losses[name])] = rows(tmp_path / name, "train/loss")
    # The head is initialized after the model, so it does not change the model's first loss.
    [(_, auxiliary)] = rows(tmp_path / "with", "train/auxiliary_loss")
    assert losses["with"] == pytest.approx(losses["without"] + 0.25 * auxiliary, rel=1e-6)
    stored = read_checkpoint(tmp_path / "with" / "last.ckpt")
    assert stored["state_dict"]["auxiliary_head.classifier.weight"].shape == (6, 8, 1, 1)
    model, _ = load_checkpoint(tmp_path / "with" / "last.ckpt")
    other, _ = load_checkpoint(tmp_path / "without" / "last.ckpt")
    assert model.state_dict().keys() == other.state_dict().keys()
    results = evaluate(tmp_path / "with" / "last.ckpt", dataset=SHAPES, split="val", data=DataConfig(), trainer=CPU)
    assert results.num_images == 5


def test_an_old_checkpoint_without_these_options_can_be_evaluated(tmp_path):
    fit(configuration(trainer={**CPU, "max_steps": 1, "limit_val_batches": 0}), tmp_path)
    stored = read_checkpoint(tmp_path / "last.ckpt")
    hyper_parameters = stored["hyper_parameters"]
    del hyper_parameters["auxiliary_head"]
    old = {"lr", "momentum", "weight_decay", "power"}
    hyper_parameters["optim"] = {name: value for name, value in hyper_parameters["optim"].items() if name in old}
    torch.save(stored, tmp_path / "old.ckpt")
    options = {"dataset": SHAPES, "split": "val", "data": DataConfig(num_workers=0), "trainer": CPU}
    new, old = (evaluate(tmp_path / name, **options) for name in ("last.ckpt", "old.ckpt"))
    assert new.scores.to_dict(new.classes) == old.scores.to_dict(old.classes)


def test_the_logged_learning_rate_is_the_decoder_s(tmp_path):
    optim = OptimConfig(name="adamw", lr=1e-3, backbone_lr_factor=0.1, norm_decay=False, schedule="cosine")
    fit(configuration(optim=optim, trainer={**CPU, "max_steps": 2, "log_every_n_steps": 1}), tmp_path)
    assert [rate for _, rate in rows(tmp_path, "lr")] == pytest.approx([1e-3, 5e-4])


def test_a_scaled_learning_rate_is_logged_and_used(tmp_path, caplog):
    config = configuration(
        optim=OptimConfig(lr=0.02, batch_size=16, scale_lr=True),
        trainer={**CPU, "max_steps": 2, "accumulate_grad_batches": 2, "log_every_n_steps": 1},
    )
    with caplog.at_level(logging.INFO, "segnet"):
        train(config, tmp_path)
    assert "images per step: 8 (4 x 2 batches accumulated); learning rate 0.01" in caplog.messages
    assert rows(tmp_path, "lr")[0][1] == pytest.approx(0.01)
    assert read_checkpoint(tmp_path / "last.ckpt")["hyper_parameters"]["optim"]["lr"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({"data": DataConfig(batch_size=3, crop_size=[32, 32], num_workers=0)}, True),
        ({"data": DataConfig(batch_size=4, crop_size=[32, 32], num_workers=0)}, False),
    ],
)
def test_too_few_images_for_batch_norm_log_a_warning_with_the_remedy(tmp_path, changes, warned, caplog):
    fit(configuration(trainer={**CPU, "max_steps": 1, "limit_val_batches": 0}, **changes), tmp_path)
    warnings = [message for message in caplog.messages if message.startswith("batch norm estimates")]
    assert len(warnings) == warned
    if warned:
        assert "from 3 images: use data.batch_size=4 or more, norm.name=group, or norm_eval=true" in warnings[0]


def test_synchronized_batch_norm_counts_the_images_of_all_processes():
    alone, together = nn.Sequential(nn.BatchNorm2d(1)), nn.Sequential(nn.SyncBatchNorm(1))
    assert images_per_statistic(alone, 2, 8) == 2
    assert images_per_statistic(together, 2, 8) == 16
    assert images_per_statistic(nn.Sequential(alone, together), 2, 8) == 2
    assert images_per_statistic(alone.eval(), 2, 8) == math.inf
    assert images_per_statistic(nn.Sequential(nn.GroupNorm(1, 1)), 2, 8) == math.inf

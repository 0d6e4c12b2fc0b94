"""Exact resumption: an interrupted run ends with the same weights, rates, metrics.csv and results.

`benchmarks/kill_and_resume.py` sends SIGKILL at random moments; these tests choose the moments.
"""

import contextlib
import os
import resource
import signal
from dataclasses import replace

import pytest
import torch
from resumption import Killed, assert_equal, configuration, cut, kill, outcome, train_in_two_parts
from small_datasets import write

from segnet.cli.composition import composed
from segnet.config import Config, OptimConfig
from segnet.errors import ConfigError, Interrupted, MachineError
from segnet.models.checkpoint import read_checkpoint
from segnet.workflows.train import train

pytestmark = pytest.mark.usefixtures("no_curves")

HALVES = {"val_check_interval": 0.4}  # every 2 of 5 batches
STEPS = {"max_epochs": -1, "max_steps": 12}  # ends within the third epoch
WHOLE = {"max_epochs": -1, "max_steps": 10}  # ends with the second
PAIRS = {"accumulate_grad_batches": 2}  # 3 steps an epoch, the last of one batch
# Validations due during accumulation wait for the step; an epoch's last step has 2 of its 5 batches.
TRIPLES = {"accumulate_grad_batches": 3, "val_check_interval": 4}  # batches over all epochs: after 5, 8, 13, 15
TRIPLED_HALVES = {"accumulate_grad_batches": 3, "val_check_interval": 0.4}  # after batches 3 and 5 of each epoch
EVERY_OTHER = {**TRIPLED_HALVES, "check_val_every_n_epoch": 2, "max_epochs": 4}
LIMITED = {**TRIPLES, "limit_train_batches": 4}  # steps after batches 3 and 4
STEPPED = {**TRIPLES, "max_epochs": -1, "max_steps": 5}


@pytest.mark.parametrize(
    ("trainer", "method", "number", "step"),
    [
        ({}, "training_step", 4, 2),  # within the first epoch
        ({}, "validation_step", 2, 5),  # within the first validation, which is repeated
        ({}, "training_step", 6, 5),  # at the start of the second epoch
        ({}, "training_step", 10, 8),
        ({}, "validation_step", 8, 15),  # within the last
        ({}, "on_train_end", 1, 15),  # after the last step
        (HALVES, "validation_step", 5, 4),
        (HALVES, "training_step", 5, 4),
        (HALVES, "training_step", 8, 7),
        (STEPS, "training_step", 12, 10),
        (STEPS, "on_train_end", 1, 12),
        (WHOLE, "validation_step", 5, 10),
        (WHOLE, "on_train_end", 1, 10),
        (PAIRS, "training_step", 5, 2),
        (PAIRS, "training_step", 9, 4),
        (TRIPLES, "training_step", 6, 2),  # with the validation that was due after batch 4 done
        (TRIPLES, "validation_step", 2, 2),  # within it
        (TRIPLES, "training_step", 9, 3),
        (TRIPLED_HALVES, "training_step", 4, 1),
        (TRIPLED_HALVES, "validation_step", 5, 2),
        (EVERY_OTHER, "training_step", 9, 3),
        (LIMITED, "training_step", 5, 2),
        (LIMITED, "validation_step", 5, 4),
        (STEPPED, "validation_step", 8, 5),
        (STEPPED, "training_step", 12, 4),
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_run(trainer, method, number, step, tmp_path, monkeypatch, unbroken):
    config = configuration(trainer)
    assert train_in_two_parts(config, tmp_path / "run", monkeypatch, method, number) == step
    assert_equal(outcome(tmp_path / "run"), unbroken(trainer))


def test_rates_by_stage_and_added_modules_resume_exactly(tmp_path, monkeypatch):
    config = configuration(optim=OptimConfig(name="adamw", lr=0.01, layer_decay=0.5))
    plugins = [{"name": "context", "position": "after_conv2"}, {"name": "squeeze_excite", "position": "after_conv1"}]
    added = {"base_channels": 32, "plugins": plugins, "deformable_stages": [False, False, True, True]}
    config = replace(config, backbone={**config.backbone, **added})
    train(config, tmp_path / "whole")
    assert train_in_two_parts(config, tmp_path / "run", monkeypatch, "training_step", 10) == 8
    assert_equal(outcome(tmp_path / "run"), outcome(tmp_path / "whole"))


RECIPE = [
    *("experiment=camvid_scratch_trainval", "backbone=resnet18_vd", "backbone.base_channels=8", "data.batch_size=2"),
    *("data.crop_size=[32,32]", "data.num_workers=0", "auxiliary_head.channels=8", "decoder.aspp_channels=8"),
    *("trainer.max_epochs=4", "trainer.check_val_every_n_epoch=2", "trainer.accelerator=cpu", "checkpoint=auto"),
    "optim.warmup_steps=2",
]


@pytest.mark.parametrize(
    ("number", "action", "error", "step"),
    [(4, lambda: os.kill(os.getpid(), signal.SIGTERM), Interrupted, 4), (8, kill, Killed, 6)],
    ids=["time limit", "kill"],
)
def test_the_recipe_for_the_test_split_in_pieces_equals_one_run(
    number, action, error, step, tmp_path, monkeypatch, whole_recipe
):
    """`timeout 10m` sends SIGTERM; each piece is the same command, with checkpoint=auto."""
    config, expected = whole_recipe
    with monkeypatch.context() as patch:
        cut(patch, "training_step", number, action)
        with pytest.raises(error):
            train(config, tmp_path / "first")
    assert read_checkpoint(tmp_path / "first" / "last.ckpt")["global_step"] == step
    train(config, tmp_path / "second")
    assert [path.name for path in tmp_path.iterdir()] == ["first"]
    assert_equal(recipe_outcome(tmp_path / "first"), expected)


@pytest.fixture(scope="module")
def whole_recipe(tmp_path_factory):
    """The recipe, small, on a dataset of 3 train and 2 val images; and the outcome of an uninterrupted run."""
    root = tmp_path_factory.mktemp("camvid")
    write("camvid", root)
    config = composed("train", Config, [*RECIPE, f"dataset.root={root}"])
    assert config.dataset["train_splits"] == ["train", "val"]
    assert (config.data.cutmix, config.ema.decay, config.optim.name) == (0.5, 0.9995, "adamw")
    assert (config.backbone["drop_path_rate"], config.data.cache, config.output_stride) == (0.2, "memory", 8)
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(config, folder)
    found = recipe_outcome(folder)
    assert found["step"] == 8  # 4 epochs of 5 images: both splits are trained on
    assert any(not torch.equal(value, found["trained"][name]) for name, value in found["weights"].items())
    return config, found


def recipe_outcome(folder):
    """The outcome, and the trained weights, which are beside the EMA weights."""
    checkpoint = read_checkpoint(folder / "last.ckpt")
    trained = {"trained": checkpoint["current_model_state"], "step": checkpoint["global_step"]}
    return {**outcome(folder), **trained}


def test_a_run_interrupted_many_times_equals_an_uninterrupted_run(tmp_path, monkeypatch, unbroken):
    config = configuration(checkpoint="auto")
    for number, method in enumerate(["training_step", "training_step", "validation_step"] * 3):
        with monkeypatch.context() as patch:
            cut(patch, method, 3, kill)
            with pytest.raises(Killed):
                train(config, tmp_path / f"{number}")
    train(config, tmp_path / "last")
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
    assert_equal(outcome(tmp_path / "0"), unbroken({}))


@pytest.mark.parametrize(
    ("signum", "trainer", "method", "number", "step"),
    [
        (signal.SIGTERM, {}, "training_step", 1, 1),
        (signal.SIGTERM, {}, "training_step", 8, 8),
        (signal.SIGUSR1, {}, "training_step", 8, 8),
        (signal.SIGINT, {}, "training_step", 8, 8),
        (signal.SIGTERM, {}, "validation_step", 4, 10),
        (signal.SIGTERM, {}, "training_step", 15, 15),  # the last batch: its validation is not repeated
        (signal.SIGTERM, PAIRS, "training_step", 3, 2),  # saved at the end of the accumulation
    ],
)
def test_a_signal_stops_the_run_within_a_step_without_losing_work(
    signum, trainer, method, number, step, tmp_path, monkeypatch, unbroken
):
    before = signal.getsignal(signum)
    config = replace(configuration(trainer), checkpoint_every=None)
    saved = train_in_two_parts(
        config, tmp_path / "run", monkeypatch, method, number, lambda: os.kill(os.getpid(), signum), Interrupted
    )
    assert saved == step
    assert_equal(outcome(tmp_path / "run"), unbroken(trainer))
    assert signal.getsignal(signum) is before


def test_an_interrupted_run_prints_how_to_resume_and_exits_with_the_signal(tmp_path, monkeypatch):
    cut(monkeypatch, "training_step", 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted, match=r"SIGTERM at step 3: resume with checkpoint=.*last\.ckpt") as caught:
        train(configuration(), tmp_path)
    assert caught.value.exit_code == 143


def test_a_signal_during_the_final_evaluation_ends_it(tmp_path, monkeypatch, unbroken):
    config = configuration()
    cut(monkeypatch, "validation_step", 11, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        train(config, tmp_path)
    assert not (tmp_path / "results.json").exists()
    monkeypatch.undo()
    train(replace(config, checkpoint=str(tmp_path / "last.ckpt")), tmp_path)
    assert_equal(outcome(tmp_path), unbroken({}))


def test_checkpoint_minutes_writes_checkpoints_within_an_epoch(tmp_path, monkeypatch):
    config = replace(configuration(), checkpoint_every=None, checkpoint_minutes=1e-9)
    cut(monkeypatch, "training_step", 4, kill)
    with pytest.raises(Killed):
        train(config, tmp_path)
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 3


def test_without_intervals_checkpoints_are_written_only_at_validations(tmp_path, monkeypatch):
    config = replace(configuration(), checkpoint_every=None, checkpoint_minutes=None)
    cut(monkeypatch, "training_step", 9, kill)
    with pytest.raises(Killed):
        train(config, tmp_path)
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 5


@contextlib.contextmanager
def full_disk():
    """Simulate a full disk by a limit on file size; metrics.csv stays below it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_within_an_epoch_is_a_warning_and_the_run_continues(tmp_path, monkeypatch, caplog, unbroken):
    saved = []
    with contextlib.ExitStack() as disk, monkeypatch.context() as patch:
        cut(patch, "training_step", 2, lambda: disk.enter_context(full_disk()))

        def free():  # the fifth batch: the save before it, at step 4, was refused
            saved.append(read_checkpoint(tmp_path / "last.ckpt")["global_step"] if last.exists() else None)
            disk.close()

        last = tmp_path / "last.ckpt"
        cut(patch, "training_step", 5, free)
        train(configuration(), tmp_path)
    assert saved == [None]
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    refused = [message for message in warnings if "last.ckpt: cannot be written" in message]
    assert len(refused) == 2  # at steps 2 and 4
    assert all("the run continues" in message for message in refused)
    assert_equal(outcome(tmp_path), unbroken({}))
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("action", [lambda: None, lambda: os.kill(os.getpid(), signal.SIGTERM)])
def test_a_full_disk_at_the_last_save_ends_the_run_and_keeps_the_previous_checkpoint(
    action, tmp_path, monkeypatch, unbroken
):
    """The last save before the run ends: after a signal, or at the end of the epoch."""
    with contextlib.ExitStack() as disk, monkeypatch.context() as patch:

        def fill():
            disk.enter_context(full_disk())
            action()

        cut(patch, "training_step", 15, fill)
        with pytest.raises(MachineError, match=r"(last|best)\.ckpt: cannot be written") as caught:
            train(configuration(), tmp_path)
    assert caught.value.exit_code == 5
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 14
    train(configuration(checkpoint=str(tmp_path / "last.ckpt")), tmp_path)
    assert_equal(outcome(tmp_path), unbroken({}))


@pytest.mark.parametrize("option", ["checkpoint_every", "checkpoint_minutes"])
def test_an_interval_of_zero_is_refused(option, tmp_path):
    with pytest.raises(ConfigError, match=f"{option}=0 must be above 0"):
        train(replace(configuration(), **{option: 0}), tmp_path)

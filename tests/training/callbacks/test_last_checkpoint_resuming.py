"""Resuming from other checkpoints, in other folders and with other options; see test_last_checkpoint."""

import csv
from dataclasses import replace

import pytest
from resumption import Killed, assert_equal, configuration, cut, kill, outcome

from segnet.config import OptimConfig
from segnet.errors import ConfigError
from segnet.models.checkpoint import read_checkpoint, save_checkpoint
from segnet.workflows.train import train

pytestmark = pytest.mark.usefixtures("no_curves")


def test_a_run_resumes_from_best_ckpt(tmp_path, monkeypatch, unbroken):
    """best.ckpt is written after its validation, before the end of the epoch.

    The best epoch depends on the processor's arithmetic. The run is interrupted in its last epoch, which is therefore
    never the best.
    """
    config = configuration()
    cut(monkeypatch, "training_step", 13, kill)
    with pytest.raises(Killed):
        train(config, tmp_path / "run")
    monkeypatch.undo()
    best = tmp_path / "run" / "best.ckpt"
    assert read_checkpoint(best)["global_step"] in (5, 10)
    train(replace(config, checkpoint=str(best)), tmp_path)
    assert_equal(outcome(tmp_path / "run"), unbroken({}))


def test_a_moved_run_folder_resumes(tmp_path, monkeypatch, unbroken):
    config = configuration()
    cut(monkeypatch, "training_step", 8, kill)
    with pytest.raises(Killed):
        train(config, tmp_path / "run")
    monkeypatch.undo()
    (tmp_path / "run").rename(tmp_path / "moved")
    train(replace(config, checkpoint=str(tmp_path / "moved" / "last.ckpt")), tmp_path / "unused")
    assert_equal(outcome(tmp_path / "moved"), unbroken({}))
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]


def test_a_checkpoint_moved_out_of_its_folder_resumes_in_a_new_one(tmp_path, monkeypatch):
    config = configuration()
    cut(monkeypatch, "training_step", 8, kill)
    with pytest.raises(Killed):
        train(config, tmp_path / "run")
    monkeypatch.undo()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / "last.ckpt").rename(tmp_path / "elsewhere" / "last.ckpt")
    train(replace(config, checkpoint=str(tmp_path / "elsewhere" / "last.ckpt")), tmp_path / "new")
    assert read_checkpoint(tmp_path / "new" / "last.ckpt")["global_step"] == 15
    with open(tmp_path / "new" / "metrics.csv", newline="") as file:
        assert sum(1 for row in csv.DictReader(file) if row["train/loss"]) == 15


def test_an_old_checkpoint_without_a_resume_point_resumes_at_the_next_epoch(tmp_path, monkeypatch, unbroken):
    config = configuration()
    cut(monkeypatch, "training_step", 6, kill)
    with pytest.raises(Killed):
        train(config, tmp_path)
    monkeypatch.undo()
    content = read_checkpoint(tmp_path / "last.ckpt")
    assert content["global_step"] == 5
    del content["callbacks"]["LastCheckpoint"]
    save_checkpoint(content, tmp_path / "last.ckpt")
    train(replace(config, checkpoint=str(tmp_path / "last.ckpt")), tmp_path)
    found, expected = outcome(tmp_path), unbroken({})
    assert_equal(found["rates"], expected["rates"])
    assert found["results"]["steps"] == 15


def test_max_epochs_below_the_completed_epochs_is_refused(tmp_path):
    config = configuration()
    train(config, tmp_path)
    shorter = configuration({"max_epochs": 2}, checkpoint=str(tmp_path / "last.ckpt"))
    with pytest.raises(ConfigError, match=r"trainer\.max_epochs=2 is below the 3 epochs that the checkpoint"):
        train(shorter, tmp_path)


def test_a_finished_run_resumes_with_more_steps(tmp_path):
    """If max_steps ended the run within an epoch, it resumes within that epoch."""
    flat = OptimConfig(lr=0.05, power=0)  # other schedules depend on the number of steps
    train(configuration({"max_epochs": -1, "max_steps": 13}, optim=flat), tmp_path / "long")
    train(configuration({"max_epochs": -1, "max_steps": 8}, optim=flat), tmp_path / "short")
    longer = configuration(
        {"max_epochs": -1, "max_steps": 13}, optim=flat, checkpoint=str(tmp_path / "short" / "last.ckpt")
    )
    train(longer, tmp_path)
    weights = [read_checkpoint(tmp_path / name / "last.ckpt")["state_dict"] for name in ("long", "short")]
    assert_equal(weights[1], weights[0])


def test_more_epochs_raise_the_learning_rate_and_both_rates_are_logged(tmp_path, caplog):
    """The first step after resuming uses the new schedule, as in a run of that length from the start."""
    train(configuration({"max_epochs": 2}), tmp_path)
    longer = configuration({"max_epochs": 4}, checkpoint=str(tmp_path / "last.ckpt"))
    train(longer, tmp_path)
    assert "the learning rate changes from 0 to 0.0268 at step 10 of 20" in caplog.text
    with open(tmp_path / "metrics.csv", newline="") as file:
        rates = [float(row["lr"]) for row in csv.DictReader(file) if row["lr"]]
    assert rates[10:] == pytest.approx([0.05 * (1 - step / 20) ** 0.9 for step in range(10, 20)])


def test_changed_optimizer_options_apply_after_resuming(tmp_path, monkeypatch, caplog):
    cut(monkeypatch, "training_step", 8, kill)
    with pytest.raises(Killed):
        train(configuration(), tmp_path)
    monkeypatch.undo()
    optim = OptimConfig(lr=0.1, weight_decay=0.5)
    train(configuration(optim=optim, checkpoint=str(tmp_path / "last.ckpt")), tmp_path)
    assert "the learning rate changes from 0.0316 to 0.0631 at step 6 of 15" in caplog.text
    group = read_checkpoint(tmp_path / "last.ckpt")["optimizer_states"][0]["param_groups"][0]
    assert (group["initial_lr"], group["weight_decay"]) == (0.1, 0.5)

"""Runs by the clock, with a clock that goes on by a fixed time whenever it is read."""

import csv
import re

import pytest
import yaml
from tiny import CPU, SHAPES, components

from segnet.config import Config, DataConfig, OptimConfig
from segnet.errors import ConfigError
from segnet.models.checkpoint import read_checkpoint
from segnet.training.callbacks import budget_clock
from segnet.training.callbacks.budget_clock import BudgetClock, noted_time
from segnet.workflows.train import train


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        time, tick = 1000.0, 0.05

        def __call__(self):
            self.time += self.tick
            return self.time

    found = Clock()
    monkeypatch.setattr(budget_clock, "now", found)
    return found


def configuration(**changes):
    parts = {**components(), "dataset": SHAPES, "worst_images": 0, "budget": "20s", "trainer": {**CPU}}
    parts["data"] = DataConfig(num_workers=0, batch_size=2, crop_size=[32, 32])
    return Config(**{**parts, **changes})


def rates(folder):
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
        return [float(row["lr"]) for row in csv.DictReader(file) if row["lr"]]


def test_a_run_ends_in_time_with_an_annealed_learning_rate_and_can_be_repeated(tmp_path, clock):
    start = clock.time
    changes = {"trainer": {**CPU, "log_every_n_steps": 1}}
    results = train(configuration(**changes), tmp_path / "budget")
    assert 12 < clock.time - start < 20
    found = rates(tmp_path / "budget")
    assert found[-1] < 0.02 * max(found)
    assert found.index(max(found)) < len(found) / 4
    assert results.checkpoint.name == "best.ckpt"

    chosen = yaml.safe_load((tmp_path / "budget" / "chosen.yaml").read_text())
    assert chosen["trainer.max_steps"] == read_checkpoint(tmp_path / "budget" / "last.ckpt")["global_step"] > 10
    optim = {name[6:]: value for name, value in chosen.items() if name.startswith("optim.")}
    length = {name: chosen[f"trainer.{name}"] for name in ("max_steps", "val_check_interval")}
    again = configuration(budget=None, optim=OptimConfig(**optim), trainer={**changes["trainer"], **length})
    train(again, tmp_path / "again")
    repeated = rates(tmp_path / "again")
    assert len(repeated) == len(found)
    after = len(found) // 6  # of the warm-up, whose steps the probe could only guess
    assert max(abs(a - b) for a, b in zip(found[after:], repeated[after:], strict=True)) < 0.15 * max(found)


class Killed(Exception):
    pass


def killed(monkeypatch, config, folder):
    """Train until 10 of the 20 s are used; return the last checkpoint."""

    def kill(self, trainer, *arguments):
        if self.used > 10:
            raise Killed
        original(self, trainer, *arguments)

    original = BudgetClock.on_train_batch_end
    with monkeypatch.context() as patch:
        patch.setattr(BudgetClock, "on_train_batch_end", kill)
        with pytest.raises(Killed):
            train(config, folder)
    return read_checkpoint(folder / "last.ckpt")


def test_a_stopped_run_resumes_with_the_rest_of_its_budget(tmp_path, clock, monkeypatch):
    stopped = killed(monkeypatch, configuration(checkpoint_every=1), tmp_path / "run")
    used = stopped["callbacks"]["BudgetClock"]["used"]
    assert 6 < used < 10.5

    start = clock.time
    train(configuration(checkpoint_every=1, checkpoint="auto"), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert 1 < clock.time - start < 20 - used
    ended = read_checkpoint(tmp_path / "run" / "last.ckpt")
    assert ended["global_step"] > stopped["global_step"]

    start = clock.time
    train(configuration(checkpoint=str(tmp_path / "run" / "last.ckpt")), tmp_path / "new")  # nothing is left
    assert read_checkpoint(tmp_path / "run" / "last.ckpt")["global_step"] == ended["global_step"]


def test_the_time_after_the_last_checkpoint_counts(tmp_path, clock, monkeypatch, caplog):
    monkeypatch.setattr(budget_clock, "USED_TIME_INTERVAL", 0.5)
    stopped = killed(monkeypatch, configuration(checkpoint_every=4), tmp_path / "run")
    used = stopped["callbacks"]["BudgetClock"]["used"]
    assert noted_time(tmp_path / "run") > 9
    noted = max(14.0, used)  # as if the last checkpoint were older
    (tmp_path / "run" / "used_time.txt").write_text(f"{noted}\n")

    caplog.set_level("INFO")
    start = clock.time
    train(configuration(checkpoint_every=4, checkpoint="auto"), tmp_path / "new")
    assert clock.time - start < 20 - noted
    resumed_at = float(re.search(r"budget: (\d+) of 20 s used, with the time before the run stopped", caplog.text)[1])
    assert resumed_at >= int(noted)


@pytest.mark.parametrize(("text", "seconds"), [("12.5\n", 12.5), ("damaged", 0.0), ("nan", 0.0), (None, 0.0)])
def test_a_damaged_time_does_not_count(tmp_path, text, seconds):
    if text is not None:
        (tmp_path / "used_time.txt").write_text(text)
    assert noted_time(tmp_path) == seconds


def test_a_length_set_by_hand_can_end_a_run_before_its_budget(tmp_path, clock):
    train(configuration(budget="1h", trainer={**CPU, "max_steps": 4, "log_every_n_steps": 1}), tmp_path)
    assert len(rates(tmp_path)) == 4


def test_a_budget_without_time_to_train_is_refused_with_a_sufficient_one(tmp_path, clock):
    clock.tick = 2.0
    with pytest.raises(
        ConfigError, match=r"^budget=20s leaves too little time for training: .* set budget=\d+min or more$"
    ):
        train(configuration(), tmp_path)


def test_progress_never_decreases_and_ends_at_one(clock):
    watch = BudgetClock(30.0)
    watch.validation, watch.ending = 1.0, 2.0
    found = []
    while watch.left > 0:
        watch.on_train_batch_end(StoppableTrainer(), None, None, None, 0)
        found.append(watch.progress())
    assert found == sorted(found)
    assert found[-1] == 1


def test_slower_steps_keep_more_time_for_the_end(clock):
    watch = BudgetClock(1000.0)
    watch.validation, watch.ending = 1.0, 3.0

    def reserve(tick, steps):
        clock.tick = tick
        for _ in range(steps):
            watch.on_train_batch_end(StoppableTrainer(), None, None, None, 0)
        clock.tick = 0.0
        return watch.left - watch.training_left()

    usual = reserve(0.05, 40)
    assert usual == pytest.approx(budget_clock.RESERVE * 4.0)
    assert reserve(0.15, 40) == pytest.approx(3 * 4.0, rel=0.15)  # another program has started
    assert reserve(5.0, 40) == pytest.approx(budget_clock.MAX_RESERVE * 4.0)
    assert reserve(0.01, 80) == pytest.approx(usual)  # a faster machine needs no less


class StoppableTrainer:
    accumulate_grad_batches = 1
    default_root_dir = "gone"

"""Training progress in a terminal and in a log file, measured with a fake clock."""

import math
import re
from types import SimpleNamespace

import pytest
import torch
from tiny import CPU, configuration

from segnet.training.callbacks import progress
from segnet.training.callbacks.progress import (
    ProgressLog,
    Throughput,
    ThroughputBar,
    duration,
    memory_used,
    progress_callbacks,
)
from segnet.workflows.train import train


@pytest.fixture
def clock(monkeypatch):
    time = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: time.now)
    return time


def trainer(step, total=100, processes=1):
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    return SimpleNamespace(global_step=step, estimated_stepping_batches=total, world_size=processes, strategy=strategy)


def batch(throughput, clock, seconds, images=8, processes=1):
    clock.now += seconds
    throughput.on_train_batch_end(trainer(0, processes=processes), None, None, {"image": [0] * images}, 0)


def test_throughput_counts_all_processes_and_excludes_validations(clock):
    throughput = Throughput()
    throughput.on_train_start(trainer(0), None)
    assert math.isnan(throughput.images_per_second)
    batch(throughput, clock, 2.0, processes=4)
    clock.now += 500  # a validation
    throughput.on_validation_end(trainer(0), None)
    batch(throughput, clock, 2.0, processes=4)
    clock.now += 500  # between two epochs
    throughput.on_train_epoch_start(trainer(0), None)
    batch(throughput, clock, 4.0, processes=4)
    assert throughput.images_per_second == 3 * 8 * 4 / 8.0


def test_throughput_averages_recent_batches_only(clock):
    throughput = Throughput()
    throughput.on_train_start(trainer(0), None)
    batch(throughput, clock, 600.0)
    for _ in range(progress.RECENT):
        batch(throughput, clock, 0.5)
    assert throughput.images_per_second == 16


def test_the_time_left_ignores_steps_before_resuming(clock):
    throughput = Throughput()
    throughput.on_train_start(trainer(60), None)  # resumes at step 60
    assert math.isnan(throughput.seconds_left(trainer(60)))
    assert throughput.figures(trainer(60))["left"] == throughput.figures(trainer(60))["images/s"] == "?"
    clock.now += 30
    assert throughput.seconds_left(trainer(70)) == 90
    assert throughput.figures(trainer(70))["left"] == "0:01:30"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00:00"), (59.6, "0:01:00"), (3599.7, "1:00:00"), (360_000, "100:00:00")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_memory_used_counts_allocated_memory():
    block = torch.ones(64, 2**20, dtype=torch.uint8)
    assert memory_used(torch.device("cpu")) > block.numel()


def test_a_log_file_gets_one_line_per_validation_and_no_advertisement(tmp_path, capfd, recwarn):
    train(configuration(trainer={**CPU, "max_epochs": 2}), tmp_path)
    out, err = capfd.readouterr()
    line = (
        r"epoch   {}/2  loss \d\.\d{{4}}  lr 0\.\d{{5}}  val mIoU \d+\.\d %  \d+(\.\d)? images/s  \d+\.\d GiB  "
        r"0:00:\d\d left"
    )
    first, second = out.splitlines()
    assert re.fullmatch(line.format(1), first)
    assert re.fullmatch(line.format(2), second)
    assert "0:00:00 left" in second
    assert not err
    assert not [str(warning.message) for warning in recwarn if "pytorch_lightning" in str(warning.filename)]


def test_a_terminal_gets_a_progress_bar(monkeypatch):
    monkeypatch.setattr(progress.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert [type(callback) for callback in progress_callbacks()] == [Throughput, ThroughputBar]
    monkeypatch.setenv("TERM", "dumb")
    assert [type(callback) for callback in progress_callbacks()] == [Throughput, ProgressLog]


@pytest.mark.parametrize(("miou", "text"), [(math.nan, "n/a"), (0.5, "50.0 %")])
def test_the_progress_bar_shows_a_missing_miou(miou, text, monkeypatch):
    monkeypatch.setattr(progress.RichProgressBar, "get_metrics", lambda *_: {progress.MONITOR: torch.tensor(miou)})
    assert ThroughputBar(Throughput()).get_metrics(trainer(0), None)[progress.MONITOR] == text


def running(step, metrics):
    figures = {"train/loss": torch.tensor(0.5), "lr": torch.tensor(0.01), **metrics}
    found = trainer(step)
    found.callback_metrics, found.is_global_zero, found.max_epochs, found.sanity_checking = figures, True, -1, False
    return found


def test_a_log_file_gets_a_line_a_minute_between_validations(clock, capsys):
    log = ProgressLog(Throughput())
    log.on_train_start(running(0, {}), None)
    for step in range(1, 7):
        clock.now += 25
        log.on_train_batch_end(running(step, {}), None, None, None, 0)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:12] for line in lines] == ["step   3/100", "step   6/100"]
    assert "mIoU" not in lines[0]


def test_the_time_of_a_long_run_is_estimated_once(clock, caplog):
    caplog.set_level("INFO")
    throughput = Throughput()
    throughput.on_train_start(running(10, {}), None)
    for step in range(11, 60):
        clock.now += 2
        throughput.on_train_batch_end(running(step, {}), None, None, {"image": [0] * 8}, 0)
    assert caplog.messages == ["estimated time: 0:02:20 more at 4.0 images/s"]


def test_a_line_before_the_first_step_leaves_out_what_is_not_known(capsys):
    throughput = Throughput()
    throughput.on_train_start(running(8, {}), None)
    resumed = running(8, {})
    resumed.callback_metrics, resumed.state = {progress.MONITOR: torch.tensor(0.5)}, SimpleNamespace(fn="fit")
    ProgressLog(throughput).on_validation_end(resumed, None)
    assert re.fullmatch(r"step   8/100  val mIoU 50\.0 %  \d+\.\d GiB\n", capsys.readouterr().out)

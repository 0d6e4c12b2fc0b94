"""profile=true writes the time per part of a step, and changes nothing else."""

import json
import os

import pytest
import torch
from tiny import CPU, configuration

from segnet.errors import ConfigError
from segnet.models.checkpoint import read_checkpoint
from segnet.training.callbacks.profiling import REST, STEP, STEP_PARTS, TABLE, TRACE, table
from segnet.workflows.train import train

SHAPES = {"name": "shapes", "num_train": 48, "num_val": 2, "size": [40, 32]}  # 12 steps an epoch
ONE_EPOCH = {**CPU, "max_epochs": 1}


def parts_of(folder):
    """Parse the table of parts: {name: (milliseconds, percent)}."""
    lines = (folder / TABLE).read_text().split("\n\n")[0].splitlines()[1:]
    rows = [line.rsplit(maxsplit=2) for line in lines]
    return {name.strip(): (float(milliseconds), float(share.rstrip("%"))) for name, milliseconds, share in rows}


def test_a_profiled_run_writes_a_trace_and_a_table_with_unchanged_results(tmp_path):
    for name, profile in (("plain", False), ("profiled", True)):
        train(configuration(dataset=SHAPES, trainer=ONE_EPOCH, profile=profile), tmp_path / name)
    plain, profiled = tmp_path / "plain", tmp_path / "profiled"
    assert {TRACE, TABLE} == set(os.listdir(profiled)) - set(os.listdir(plain))
    weights, expected = (read_checkpoint(folder / "last.ckpt")["state_dict"] for folder in (profiled, plain))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)

    rows = parts_of(profiled)
    assert list(rows) == [*STEP_PARTS.values(), REST, STEP]
    assert rows["forward and loss"][0] > 0
    assert rows["backward"][0] > 0
    assert sum(milliseconds for milliseconds, _ in rows.values()) == pytest.approx(2 * rows[STEP][0], abs=0.5)
    assert rows[STEP][1] == 100
    assert "aten::" in (profiled / TABLE).read_text()

    events = json.loads((profiled / TRACE).read_text())["traceEvents"]
    names = [event.get("name") for event in events]
    assert names.count("forward and loss") == names.count("backward") == 6
    assert sum(str(name).startswith("ProfilerStep#") for name in names) == 6


def test_an_epoch_shorter_than_the_profile_is_measured(tmp_path):
    train(configuration(dataset={**SHAPES, "num_train": 28}, trainer=ONE_EPOCH, profile=True), tmp_path)
    names = [event.get("name") for event in json.loads((tmp_path / TRACE).read_text())["traceEvents"]]
    assert names.count("forward and loss") == 3  # of 7 steps, without the first four
    assert parts_of(tmp_path)[STEP][0] > 0


def test_a_run_too_short_to_profile_logs_a_warning(tmp_path, caplog):
    train(configuration(dataset={**SHAPES, "num_train": 16}, trainer=ONE_EPOCH, profile=True), tmp_path)
    assert "the first 4 steps are not measured" in caplog.text
    assert not (tmp_path / TABLE).exists()


def test_two_profilers_are_refused(tmp_path):
    config = configuration(trainer={**ONE_EPOCH, "profiler": "simple"}, profile=True)
    with pytest.raises(ConfigError, match=r"leave out trainer\.profiler=simple"):
        train(config, tmp_path)


def test_the_fractions_add_up_to_one():
    text = table({"one": 0.2, "two": 0.3}, total=1.0, steps=10)
    assert [line.split()[-2:] for line in text.splitlines()[1:]] == [
        ["20.0", "20.0%"],
        ["30.0", "30.0%"],
        ["50.0", "50.0%"],
        ["100.0", "100.0%"],
    ]

"""Random configurations: what is drawn composes, what is written can be read, and each end gets its name."""

import signal
import sys

import numpy as np
import pytest
from random_configurations import KINDS, Data, Ended, draw, judged, run, summary, write_data

from segnet.cli.composition import composed
from segnet.config import Config
from segnet.data import build_splits


def test_a_configuration_depends_on_the_seed_and_its_number_alone():
    drawn = [draw(3, number) for number in range(20)]
    assert [draw(3, number) for number in range(20)] == drawn
    assert len({one.options for one in drawn}) == 20
    assert draw(4, 0).options != drawn[0].options


def test_drawn_options_exist():
    for number in range(12):
        words = [option.replace("{root}", "data") for option in draw(0, number).options]
        config = composed("train", Config, [*words, "dataset.root=data"])
        assert config.dataset["name"] == "folder"


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_image_is_written_as_it_is_read(kind, tmp_path):
    data = Data(kind, ((50, 90), (3, 2)), 2, 1, 11, ignored=True)
    write_data(data, tmp_path, 0)
    spec = {"name": "folder", "root": str(tmp_path), "class_names": [f"c{label}" for label in range(11)]}
    for channels in {3, KINDS[kind].channels}:
        splits = build_splits({**spec, "channels": channels}, ["train", "val"])
        assert [len(split) for split in splits.values()] == [2, 1]
        first, second = (splits["train"].load(index) for index in range(2))
        assert first.image.shape == (50, 90, channels)
        assert second.mask.shape == (3, 2)
        assert (first.mask[:12] == 255).all()
        assert first.mask[12:].max() <= 10
        assert np.ptp(first.image) > 100


@pytest.mark.parametrize(
    ("code", "seconds", "output", "outcome"),
    [
        (0, 9.0, "val mIoU 3.0 %\nreport: report.html\n", "trained"),
        (2, 9.0, "data: 3 images\nsegnet: error: optim.lr=-1 must be above 0\n", "refused"),
        (2, 9.0, "segnet: error: optim.lr=-1 must be above 0\nmore\n", "not one line"),
        (3, 9.0, "segnet: error: a\nsegnet: error: b\n", "not one line"),
        (3, 9.0, "", "not one line"),
        (5, 9.0, "segnet: error: out of memory with 8 crops: lower data.batch_size\n", "out of memory"),
        (-9, 9.0, "data: 3 images\n", "out of memory"),
        (-9, 300.0, "data: 3 images\n", "does not end"),
        (1, 9.0, "Traceback (most recent call last):\nKeyError: 3\n", "stack trace"),
        (5, 9.0, "Traceback (most recent call last):\nsegnet: error: a\n", "stack trace"),
        (-11, 9.0, "", "exit code -11"),
        (6, 9.0, "segnet: error: a\n", "exit code 6"),
        (0, 9.0, "segnet: error: a\n", "error of a run that ended well"),
    ],
)
def test_each_end_has_its_name(code, seconds, output, outcome):
    assert judged(Ended(code, seconds, 100, output), longest=300.0) == outcome


def test_a_process_is_measured_and_limited(tmp_path):
    ended = run([sys.executable, "-c", "import sys; print('a'); print('b', file=sys.stderr); sys.exit(3)"], tmp_path)
    assert ended.code == 3
    assert sorted(ended.output.split()) == ["a", "b"]
    large = "pixels = bytearray(300 * 2**20); print(len(pixels))"
    assert run([sys.executable, "-c", large], tmp_path).peak > 300  # Linux counts the memory of the forking process too
    refused = run([sys.executable, "-c", large], tmp_path, memory=0.2)
    assert (refused.code, refused.last_line) == (1, "MemoryError")
    stuck = run([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, longest=0.2)
    assert stuck.code == -signal.SIGKILL


def test_the_summary_counts_outcomes():
    rows = [{"outcome": outcome, "peak": peak} for outcome, peak in (("trained", 5), ("refused", 9), ("trained", 7))]
    assert summary(rows) == ["trained: 2, at most 7 MiB", "refused: 1, at most 9 MiB"]

"""Random configurations: what is drawn composes, and each end gets its name."""

import pytest
from limited_processes import Ended
from random_configurations import draw, judged, summary

from segnet.cli.composition import composed
from segnet.config import Config


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


def test_the_summary_counts_outcomes():
    rows = [{"outcome": outcome, "peak": peak} for outcome, peak in (("trained", 5), ("refused", 9), ("trained", 7))]
    assert summary(rows) == ["trained: 2, at most 7 MiB", "refused: 1, at most 9 MiB"]

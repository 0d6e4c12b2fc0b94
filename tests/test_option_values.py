"""Values of options that are refused before anything starts."""

import subprocess
import sys

import pytest

from segnet.cli.composition import composed
from segnet.config import Config
from segnet.errors import ConfigError
from segnet.option_values import check_values, parse_budget
from segnet.verb_config import BenchmarkConfig, CompareConfig, CrossvalConfig, InspectConfig, RankConfig

PAIR = r"must be \[height, width\]"
SEED = "must be between 0 and 4294967295"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("seed=-1", f"^seed=-1 {SEED}$"),
        ("seed=99999999999", f"^seed=99999999999 {SEED}$"),
        ("dataset.seed=-1", f"^dataset.seed=-1 {SEED}$"),
        ("data.crop_size=[1,2,3]", rf"^data\.crop_size=\[1, 2, 3\] {PAIR}"),
        ("data.crop_size=[64]", rf"^data\.crop_size=\[64\] {PAIR}"),
        ("data.crop_size=[]", rf"^data\.crop_size=\[\] {PAIR}"),
        ("data.crop_size=-5", rf"^data\.crop_size=\[-5, -5\] {PAIR}, each 1 or more"),
        ("dataset.size=[64]", rf"^dataset\.size=\[64\] {PAIR}"),
        ("data.scale_range=[1]", r"must be \[smallest, largest\]"),
        ("optim.betas=[0.9,0.9,0.9]", "must be two numbers"),
        ("trainer.max_steps=0", r"^trainer\.max_steps=0 must be a whole number, 1 or more$"),
        ("trainer.max_epochs=1.5", r"^trainer\.max_epochs=1\.5 must be a whole number, 1 or more$"),
        ("trainer.max_epochs=-1", "would never end"),
        ("data.num_workers=-1", r"^data\.num_workers=-1 must be 0 or more$"),
        ("data.flip=2", "must be a probability between 0 and 1"),
        ("optim.lr=-1", r"^optim\.lr=-1\.0 must be 0 or more$"),
        ("optim.lr=nan", "must be 0 or more"),
        ("output_stride=7", "^output_stride=7 is unknown: choose from 8, 16, 32$"),
        ("precision=foo", "^precision=foo is unknown"),
        ("budget=0", "at least 20s"),
        ("budget=abc", "is not a time"),
        ("budget=60", "^budget=60 has no unit: write 60s or 60min$"),
        ("validation.window=0", r"^validation\.window=0 must be 1 or more pixels"),
    ],
)
def test_a_value_out_of_its_range_is_refused_by_the_command_line(argument, message):
    with pytest.raises(ConfigError, match=message):
        composed("train", Config, ["dataset=shapes", argument])


@pytest.mark.parametrize(
    "config",
    [
        Config(seed=-1),
        CrossvalConfig(seed=-1),
        CompareConfig(seed=-1),
        InspectConfig(seed=-1),
        RankConfig(seed=-1),
        RankConfig(batch_size=0),
        BenchmarkConfig(image_size=[512]),
        BenchmarkConfig(batch_size=0),
        Config(trainer={"max_steps": -1}),
    ],
)
def test_a_value_out_of_its_range_is_refused_in_every_verb(config):
    with pytest.raises(ConfigError, match=r"must be|would never end"):
        check_values(config)


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(seed=2**32 - 1, mean=[0.5], budget="30s", trainer={"max_epochs": -1}),
        Config(trainer={"max_epochs": -1, "max_steps": 5}),
        Config(trainer={"max_epochs": 5, "max_steps": -1}),
    ],
)
def test_valid_values_pass(config):
    check_values(config)


def test_checks_load_no_torch():
    command = "import sys, segnet.option_values; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30min", 1800), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1.5 h", 5400), ("1h 1min 5s", 3665)],
)
def test_times_are_parsed_to_seconds(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "min", "-5min", "3 minutes", "1h30", "00:30:00", "1e3s", "nan"])
def test_an_invalid_time_is_refused_in_one_line(text):
    with pytest.raises(ConfigError, match=r"^budget=.* is not a time: write 90s, 30min, 2h or 1h30m$"):
        parse_budget(text)


def test_a_budget_shorter_than_the_start_up_is_refused():
    with pytest.raises(ConfigError, match="at least 20s"):
        parse_budget("5s")

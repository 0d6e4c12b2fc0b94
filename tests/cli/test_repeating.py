"""The command that repeats a run with a budget, of command lines and of calls from Python."""

import shlex
from dataclasses import replace

import pytest
import yaml
from tiny import configuration

from segnet.cli.composition import composed
from segnet.cli.repeating import config_folder, overrides_of_call, overrides_of_config, repeating_command, write_command
from segnet.config import Config, DataConfig, OptimConfig

FOLDER = {"name": "folder", "root": "my data", "class_names": ["a", "b"], "id_map": {0: 0, "other": 1}}


def test_a_budget_ends_with_the_command_that_repeats_it(tmp_path):
    options = {"data.batch_size": 8, "data.crop_size": [96, 128], "trainer.max_epochs": -1, "trainer.max_steps": 70}
    (tmp_path / "chosen.yaml").write_text(yaml.safe_dump(options))
    overrides = ["dataset=folder", "++dataset.root='my data'", "budget=3min", "checkpoint=auto", "data.batch_size=4"]
    overrides.append("data.crop_size=null")
    command = repeating_command(overrides, tmp_path)
    assert shlex.split(command) == [
        *["segnet", "train", "dataset=folder", "dataset.root='my data'", "data.batch_size=4"],
        *["data.crop_size=[96,128]", "trainer.max_steps=70"],
    ]


def test_the_command_line_keeps_its_folder_of_choices(tmp_path):
    arguments = ["--config-dir", "mine", "experiment=a", "budget=3min"]
    command = write_command([*config_folder(arguments), "experiment=a", "budget=3min"], tmp_path)
    assert shlex.split(command)[2:5] == ["--config-dir", str(config_folder(arguments)[1]), "experiment=a"]
    assert (tmp_path / "command.txt").read_text() == f"{command}\n"
    assert config_folder(["experiment=a"]) == []


@pytest.mark.parametrize(
    "config",
    [
        Config(dataset={"name": "camvid", "root": "x"}),
        Config(dataset={"name": "shapes"}, budget="30min"),
        Config(
            dataset=FOLDER,
            data=DataConfig(crop_size=[32, 32]),
            optim=OptimConfig(lr=0.00123456789),
            backbone_weights=None,
            loss={"name": "ohem"},
            norm={"name": "group", "num_groups": 4},
            auxiliary_head={"name": "fcn"},
        ),
        configuration(),
    ],
    ids=["camvid", "shapes", "folder", "tiny"],
)
def test_a_configuration_of_python_is_composed_again_from_its_options(config):
    words = overrides_of_config(config)
    assert composed("train", Config, words) == config
    assert not any(word.startswith("data.cutmix") for word in words)  # a default


def test_a_configuration_that_no_command_line_says_has_no_options():
    assert overrides_of_config(replace(Config(), dataset={"name": "camvid"})) is None  # without root


def test_a_call_gives_the_options_of_a_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mydata").mkdir()
    words = overrides_of_call(["mydata", "--seed", "3", "--config-dir", "mine"], {"optim__lr": 0.1}, Config())
    assert words[0] == "--config-dir"
    assert {"dataset=folder", "seed=3", "optim.lr=0.1"} < set(words)
    assert overrides_of_call([Config(dataset=FOLDER)], {"seed": 3}, Config(dataset=FOLDER, seed=3))[-1] == "seed=3"

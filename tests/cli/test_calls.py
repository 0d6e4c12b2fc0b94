"""Options of a call from Python, and the state of Hydra before and after it."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra

from segnet.cli.calls import changed_config, composed_call
from segnet.cli.composition import composed
from segnet.config import Config, DataConfig, OptimConfig
from segnet.errors import ConfigError
from segnet.verb_config import EvaluateConfig


def called(*options, verb="train", schema=Config, **values):
    return composed_call(verb, schema, options, values, Path("runs/mine"))[0]


@pytest.mark.parametrize(
    ("values", "argument"),
    [
        ({"optim__lr": 1e-05}, "optim.lr=1e-05"),
        ({"optim.lr": 0.5}, "optim.lr=0.5"),
        ({"data__crop_size": (32, 48)}, "data.crop_size=[32,48]"),
        ({"data__crop_size": np.array([32, 48])}, "data.crop_size=[32,48]"),
        ({"optim__lr": np.float32(0.25)}, "optim.lr=0.25"),
        ({"trainer__precision": "bf16-mixed"}, "trainer.precision=bf16-mixed"),
        ({"trainer": {"max_epochs": 3}}, "trainer.max_epochs=3"),
        ({"deterministic": True}, "deterministic=true"),
        ({"data__cache": None}, "data.cache=null"),
        ({"backbone": "resnet50_vd"}, "backbone=resnet50_vd"),
        ({"auxiliary_head": "fcn", "auxiliary_head__weight": 0.2}, None),
    ],
)
def test_a_keyword_is_an_option_of_the_command_line(values, argument):
    arguments = [argument] if argument else ["auxiliary_head=fcn", "auxiliary_head.weight=0.2"]
    assert called(**values) == composed("train", Config, arguments)


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "two words",
        "it's",
        'a "b"',
        "back\\slash",
        "ends in\\",
        "\\'",
        "a,b=[c]{d:e}",
        "tür",
        "1",
        "null",
        "~x",
        "",
    ],
)
def test_text_values_arrive_unchanged(text):
    config = called(dataset="folder", dataset__root=Path("x") / text, dataset__class_names=[text, "other"])
    assert config.dataset["root"] == str(Path("x") / text)
    assert config.dataset["class_names"] == [text, "other"]


def test_mappings_arrive_unchanged():
    config = called(
        dataset="folder", dataset__root="x", dataset__class_names=["a"], dataset__id_map={0: "ignore", 7: 0}
    )
    assert config.dataset["id_map"] == {0: "ignore", 7: 0}


def test_keywords_win_over_strings_and_experiments():
    config = called("experiment=camvid_resnet18_vd", "dataset.root=x", "seed=1", seed=2, data__batch_size=3)
    assert (config.seed, config.data.batch_size, config.data.crop_size) == (2, 3, [256, 320])


def test_choices_in_a_config_folder_are_found(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 77\n")
    assert called("--config-dir", str(tmp_path), experiment="mine").seed == 77


@pytest.mark.parametrize(
    ("options", "values", "parts"),
    [
        ((), {"optim__lrr": 1}, ["optim.lrr", "optim.lr"]),
        ((), {"epochs": 3}, ["epochs", "trainer.max_epochs=3"]),
        ((), {"dataset": "foldr"}, ["dataset=foldr", "Did you mean 'folder'?"]),
        ((), {"dataset": {"root": "x"}}, ["dataset='CHOICE'", "dataset__root"]),
        ((), {"optim__lr": "abc"}, ["optim.lr", "abc"]),
        ((), {"optim__lr": object()}, ["optim.lr", "not this type"]),
        (("--multirun",), {}, ["--multirun", "command line only"]),
        (("optim.lr=1,2",), {}, ["optim.lr=1,2"]),
        ((3,), {}, ["3", "name=value"]),
    ],
)
def test_invalid_options_are_refused_in_one_line(options, values, parts):
    with pytest.raises(ConfigError) as raised:
        called(*options, **values)
    assert "\n" not in str(raised.value)
    for part in parts:
        assert part in str(raised.value)


def test_the_run_folder_is_the_default_or_the_given_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, default = composed_call("train", Config, [], {"backbone": "resnet50_vd"}, None)
    assert default.parent == tmp_path / "runs"
    assert default.name.endswith("_shapes_resnet50_vd")
    _, named = composed_call("train", Config, ["hydra.run.dir=there"], {}, None)
    assert named == tmp_path / "there"
    _, given = composed_call("train", Config, [], {}, Path("it's, here"))
    assert given == tmp_path / "it's, here"
    _, of_config = changed_config("train", Config(), {}, None, {"dataset": "folder", "backbone": "resnet"})
    assert of_config.name.endswith("_folder_resnet")


def test_two_calls_in_one_second_have_two_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("segnet.cli.calls.run_folder_of", lambda tree: tmp_path / "runs" / "now")
    folders = []
    for _ in range(3):
        _, folder = changed_config("train", Config(), {}, None, {})
        folder.mkdir(parents=True)
        folders.append(folder.name)
    assert folders == ["now", "now_2", "now_3"]


def test_only_rank_zero_names_the_run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANK", "1")
    _, folder = composed_call("train", Config, [], {}, None)
    assert folder == tmp_path


def test_the_callers_hydra_state_is_restored(tmp_path):
    (tmp_path / "own.yaml").write_text("answer: 42\n")
    ConfigStore.instance().store("schema", node={"mine": 1})
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(tmp_path), version_base="1.2"):
        assert called(seed=5).seed == 5
        with pytest.raises(ConfigError):
            called(seeed=5)
        changed_config("evaluate", EvaluateConfig(checkpoint="x"), {}, None, {})
        assert compose("own").answer == 42
        assert ConfigStore.instance().load("schema.yaml").node == {"mine": 1}
    assert not GlobalHydra.instance().is_initialized()


def test_a_configuration_is_checked_and_changed_as_a_copy():
    config = Config(optim=OptimConfig(lr=0.1), dataset={"name": "folder", "root": "x"})
    changed, _ = changed_config(
        "train", config, {"optim__lr": 0.2, "dataset__root": Path("y"), "seed": 3}, Path("r"), {}
    )
    assert (changed.optim.lr, changed.dataset, changed.seed) == (0.2, {"name": "folder", "root": "y"}, 3)
    assert (config.optim.lr, config.dataset["root"], config.seed) == (0.1, "x", 0)
    unchanged, folder = changed_config("train", config, {}, Path("r"), {})
    assert asdict(unchanged) == asdict(config)
    assert folder == Path("r").absolute()


@pytest.mark.parametrize(
    ("config", "values", "part"),
    [
        (Config(optim=OptimConfig(lr="abc")), {}, "optim.lr"),
        (Config(data=DataConfig(crop_size="big")), {}, "data.crop_size"),
        (Config(), {"optim__lr": "abc"}, "optim.lr"),
        (Config(), {"optimm__lr": 1}, "optim.lr"),
        (Config(), {"seed": object()}, "seed"),
        (Config(dataset={"name": "folder", "root": object()}), {}, "dataset.root"),
    ],
)
def test_a_configuration_with_a_wrong_value_is_refused(config, values, part):
    with pytest.raises(ConfigError, match=part) as raised:
        changed_config("train", config, values, Path("r"), {})
    assert "\n" not in str(raised.value)

"""Composition of command lines, and one error line for each wrong option."""

import subprocess
import sys
from pathlib import Path

import pytest

from segnet.cli.composition import composed, run
from segnet.config import Config
from segnet.errors import ConfigError, DataError, MachineError
from segnet.training.specs import complete_specs
from segnet.verb_config import EvaluateConfig, InspectConfig, ShardConfig

ROOT = Path(__file__).resolve().parents[2]


def configured(arguments, tmp_path, name="train", schema=Config):
    """The configurations and folders that the task receives."""
    calls = []
    run(name, schema, lambda *call: calls.append(call), [*arguments, f"hydra.run.dir={tmp_path}"])
    return calls


def test_the_default_dataset_is_shapes(tmp_path):
    [(config, output_dir)] = configured([], tmp_path)
    assert isinstance(config, Config)
    assert config.dataset["name"] == "shapes"
    assert config.trainer["max_epochs"] == 6
    assert output_dir == tmp_path


@pytest.mark.parametrize("verb", [("train", Config), ("evaluate", EvaluateConfig)])
@pytest.mark.parametrize("folder", ["file", "file/run"])
def test_an_impossible_run_folder_is_reported_in_one_line(verb, folder, tmp_path):
    (tmp_path / "file").touch()
    name, schema = verb
    chosen = ["checkpoint=a.ckpt", "dataset=shapes"] if name == "evaluate" else []
    with pytest.raises(MachineError, match=r": the run folder cannot be created \(.*\): choose another") as caught:
        run(name, schema, lambda *_: None, [*chosen, f"hydra.run.dir={tmp_path / folder}"])
    assert caught.value.exit_code == 5


def test_backbone_and_stride_reach_both_specs(tmp_path):
    [(config, _)] = configured(["backbone=resnet101_vd", "output_stride=8"], tmp_path)
    assert config.backbone["depths"] == [3, 4, 23, 3]
    config = complete_specs(config)
    assert (config.backbone["output_stride"], config.decoder["output_stride"]) == (8, 8)


def test_any_argument_of_the_trainer_can_be_set(tmp_path):
    [(config, _)] = configured(["trainer.accumulate_grad_batches=2", "trainer.max_epochs=1"], tmp_path)
    assert config.trainer["accumulate_grad_batches"] == 2
    assert config.trainer["max_epochs"] == 1


def test_terms_of_a_loss_and_options_of_the_auxiliary_head_can_be_set_and_added(tmp_path):
    arguments = ["loss=ce_dice", "loss.terms.dice.weight=0.25", "loss.terms.ohem.thresh=null"]
    [(config, _)] = configured([*arguments, "auxiliary_head=fcn", "auxiliary_head.weight=0.2"], tmp_path)
    assert config.loss["terms"] == {
        "cross_entropy": {"weight": 1.0},
        "dice": {"weight": 0.25},
        "ohem": {"thresh": None},
    }
    assert config.auxiliary_head == {"name": "fcn", "weight": 0.2}


def test_experiments_override_defaults_and_the_command_line_overrides_experiments(tmp_path):
    [(config, _)] = configured(
        ["experiment=camvid_resnet18_vd", "dataset.root=somewhere", "data.batch_size=3"], tmp_path
    )
    assert config.dataset == {"name": "camvid", "root": "somewhere"}
    assert config.data.batch_size == 3
    assert config.data.crop_size == [256, 320]


def test_choices_in_a_config_folder_are_found(tmp_path):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 77\n")
    [(config, _)] = configured(["--config-dir", str(tmp_path / "conf"), "experiment=mine"], tmp_path / "run")
    assert config.seed == 77


@pytest.mark.parametrize(
    ("argument", "parts"),
    [
        ("backbone=resnet51_vd", ["backbone=resnet51_vd", "Did you mean 'resnet50_vd'?", "resnet101_vd"]),
        ("optim.lrr=1", ["optim.lrr", "Did you mean 'optim.lr'?"]),
        ("+optim.lrr=1", ["optim.lrr", "Did you mean 'optim.lr'?"]),
        ("optm.lr=1", ["optm.lr", "Did you mean 'optim.lr'?"]),
        ("bakbone=resnet18_vd", ["bakbone", "Did you mean 'backbone'?"]),
        ("+seeed=1", ["seeed", "Did you mean 'seed'?"]),
        ("optim.lr=abc", ["optim.lr", "abc", "Float"]),
        ("optim.lr", ["'optim.lr'", "option=value"]),
        ("optim.lr=[1", ["optim.lr=[1", "cannot be read"]),
        ("dataset=camvid", ["dataset.root is not set", "dataset.root=..."]),
        ("auxiliary_head=fnc", ["auxiliary_head=fnc", "Did you mean 'fcn'?"]),
    ],
)
def test_a_wrong_option_is_one_line_with_a_suggestion(argument, parts, tmp_path):
    with pytest.raises(ConfigError) as caught:
        configured([argument], tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    assert not list(tmp_path.iterdir())


def test_a_missing_config_folder_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere: no such folder"):
        configured(["--config-dir", str(tmp_path / "nowhere")], tmp_path)


def test_a_broken_yaml_is_named(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "broken.yaml").write_text("seed: {1\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        configured(["--config-dir", str(tmp_path), "experiment=broken"], tmp_path)


def test_evaluate_requires_a_checkpoint(tmp_path):
    with pytest.raises(ConfigError, match="checkpoint is not set"):
        configured(["dataset=shapes"], tmp_path, "evaluate", EvaluateConfig)


def test_an_error_of_the_task_is_raised_and_leaves_no_empty_folder(tmp_path):
    def task(config, output_dir):
        raise DataError("no images")

    with pytest.raises(DataError, match="no images"):
        run("train", Config, task, [f"hydra.run.dir={tmp_path / 'run'}"])
    assert not (tmp_path / "run").exists()


def test_a_failed_run_leaves_no_empty_runs_folder(tmp_path, monkeypatch):
    def task(config, output_dir):
        assert output_dir.is_dir()
        raise DataError("no images")

    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no images"):
        run("train", Config, task, ["dataset=shapes"])
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_calls_the_task_once_for_each_value(tmp_path):
    calls = []
    run(
        "train",
        Config,
        lambda *call: calls.append(call),
        ["--multirun", "optim.lr=0.1,0.2", "trainer.max_epochs=1,2", f"hydra.sweep.dir={tmp_path}"],
    )
    assert [(config.optim.lr, config.trainer["max_epochs"]) for config, _ in calls] == [
        (0.1, 1),
        (0.1, 2),
        (0.2, 1),
        (0.2, 2),
    ]
    assert len({output_dir for _, output_dir in calls}) == 4


def test_an_error_in_a_launchers_process_is_returned_by_hydra(tmp_path, monkeypatch, capsys):
    """submitit runs jobs in other processes: an error kept there would be lost, and the sweep would succeed."""

    def task(config, output_dir):
        monkeypatch.setattr("os.getpid", lambda: 0)
        raise DataError("no images")

    with pytest.raises(DataError, match="no images"):
        run("train", Config, task, [f"hydra.run.dir={tmp_path}"])
    assert "Error executing job" in capsys.readouterr().err


def test_a_script_can_compose_a_command_line():
    config = composed("train", Config, ["optim.lr=0.25", "trainer.precision=bf16-mixed"])
    assert isinstance(config, Config)
    assert (config.optim.lr, config.trainer["precision"]) == (0.25, "bf16-mixed")
    with pytest.raises(ConfigError, match=r"Did you mean 'optim\.lr'"):
        composed("train", Config, ["optim.lrr=1"])


@pytest.mark.parametrize(
    ("option", "message"),
    [("checkpoint=auto", "resumes one run"), ("trainer.devices=2", "would run the whole sweep again")],
)
def test_options_for_a_single_run_are_refused_in_a_sweep(option, message, tmp_path):
    with pytest.raises(ConfigError, match=f"{message}: leave out --multirun"):
        configured(["--multirun", "seed=1,2", option, f"hydra.sweep.dir={tmp_path}"], tmp_path)


@pytest.mark.parametrize(("variable", "folders"), [("RANK", 0), ("SLURM_PROCID", 0), ("OTHER", 1)])
def test_only_rank_zero_creates_a_run_folder(variable, folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "1")
    run("train", Config, lambda config, output_dir: (output_dir / "file").touch(), [])
    assert len(list(tmp_path.glob("runs/*"))) == folders


def test_help_lists_the_choices():
    done = subprocess.run([sys.executable, "train.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for word in ("resnet101_vd", "deeplabv3plus", "camvid", "cross_entropy", "camvid_resnet18_vd", "max_epochs"):
        assert word in done.stdout


@pytest.mark.parametrize("verb", ["evaluate", "inspect", "shard"])
def test_help_of_verbs_that_need_a_dataset_lists_the_choices(verb):
    command = [sys.executable, "-m", "segnet", verb, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"segnet {verb}" in done.stdout
    assert "camvid" in done.stdout


@pytest.mark.parametrize(("name", "schema"), [("inspect", InspectConfig), ("shard", ShardConfig)])
def test_a_missing_dataset_is_an_error_with_the_choices(name, schema):
    with pytest.raises(ConfigError, match=r"dataset is not set: add dataset=\.\.\., one of .*camvid.*shapes"):
        composed(name, schema, [])


@pytest.mark.parametrize("group", ["logger", "auxiliary_head", "experiment"])
def test_a_choice_can_be_set_to_null(group):
    assert composed("train", Config, [f"{group}=null"]) == composed("train", Config, [])


def test_a_dataset_set_to_null_is_missing():
    with pytest.raises(ConfigError, match="dataset is not set"):
        composed("train", Config, ["dataset=null"])

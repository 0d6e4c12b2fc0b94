"""segnet.train and segnet.crossval match the command line."""

import json
import signal
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from calling import KEYWORDS, WORDS, assert_same_run, command_line, metrics
from tiny import CPU, SHAPES, configuration

import segnet
from segnet.api import Run
from segnet.cli.composition import composed
from segnet.config import Config
from segnet.errors import ConfigError
from segnet.training.budget import backbone_for
from segnet.verb_config import CrossvalConfig


@pytest.fixture(scope="module")
def of_command_line(tmp_path_factory):
    """The run folder of `segnet train` with OPTIONS."""
    folder = tmp_path_factory.mktemp("command_line")
    command_line("train", *WORDS, f"hydra.run.dir={folder}")
    return folder


def test_keywords_train_the_same_run_as_the_command_line(trained, of_command_line):
    assert_same_run(trained.folder, of_command_line)
    assert trained.checkpoint == trained.folder / "best.ckpt"
    assert trained.miou == json.loads((of_command_line / "results.json").read_text())["miou"]


def test_strings_train_the_same_run_repeatedly(of_command_line, tmp_path):
    for folder in (tmp_path / "a", tmp_path / "b"):
        run = segnet.train(*WORDS[:5], **dict(list(KEYWORDS.items())[5:]), output_dir=folder)
        assert_same_run(run.folder, of_command_line)


def test_a_configuration_trains_the_same_run(of_command_line, tmp_path):
    config = composed("train", Config, WORDS)
    before = asdict(config)
    run = segnet.train(config, output_dir=str(tmp_path / "run"))
    assert_same_run(run.folder, of_command_line)
    assert asdict(config) == before


def test_keywords_change_a_configuration(tmp_path):
    run = segnet.train(configuration(), output_dir=tmp_path, trainer__max_epochs=1, seed=4)
    stored = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert (stored["trainer"]["max_epochs"], stored["seed"]) == (1, 4)
    assert run.results.num_images == 5


@pytest.mark.parametrize(
    ("options", "values", "is_kept"),
    [
        ([], {}, False),
        ([], {"backbone_weights": None}, False),
        (["backbone=resnet18_vd"], {}, True),
        ([], {"backbone": "resnet18_vd"}, True),
        ([], {"backbone__depths": [2, 2, 2, 2]}, True),
        ([], {"backbone.block": "basic"}, True),
        ([Config()], {"dataset": {"name": "shapes"}}, False),
        ([Config()], {"backbone__block": "basic"}, True),
    ],
)
def test_a_budget_keeps_a_named_backbone(options, values, is_kept, tmp_path, monkeypatch):
    passed = []
    monkeypatch.setattr("segnet.workflows.train.train", lambda config, folder: passed.append(config))
    segnet.train(*options, **values, budget="30min", output_dir=tmp_path)
    [config] = passed
    assert config.backbone["depths"] == [2, 2, 2, 2]
    assert (backbone_for(config, "cuda") == config.backbone) is is_kept


def test_a_resumed_run_stays_in_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = segnet.train(configuration(), output_dir="run", trainer__max_epochs=1)
    second = segnet.train(configuration(), checkpoint=first.folder / "last.ckpt")
    assert second.folder == first.folder == tmp_path / "run"
    assert len([row for row in metrics(second.folder) if row["val/miou"]]) == 2
    assert not (tmp_path / "runs").exists()


def test_signal_handlers_of_the_caller_are_restored(tmp_path):
    def own(signum, frame):
        """A notebook's handler."""

    before = signal.signal(signal.SIGINT, own)
    try:
        segnet.train(configuration(), output_dir=tmp_path, trainer__max_epochs=1)
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def test_only_rank_zero_has_results():
    other = Run(Path("runs/mine"), None)
    assert other.checkpoint == Path("runs/mine/best.ckpt")
    assert other.miou != other.miou
    assert other._repr_mimebundle_() == {"text/plain": repr(other)}


def test_a_run_with_a_budget_keeps_the_command_that_repeats_it(tmp_path, monkeypatch):
    def run(config, folder):
        (folder / "chosen.yaml").write_text("trainer.max_steps: 70")
        return SimpleNamespace(checkpoint=folder / "best.ckpt")

    monkeypatch.setattr("segnet.workflows.train.train", run)
    for name, options in (("words", ["dataset=shapes"]), ("config", [Config(dataset={"name": "shapes"})])):
        segnet.train(*options, output_dir=tmp_path / name, budget="3min", seed=7)
        command = (tmp_path / name / "command.txt").read_text()
        assert command.startswith("segnet train ")
        assert {"dataset=shapes", "seed=7", "trainer.max_steps=70"} < set(command.split())
        assert "budget" not in command
    segnet.train("dataset=shapes", output_dir=tmp_path / "plain")
    assert not (tmp_path / "plain" / "command.txt").exists()


def test_folds_are_trained_scored_and_judged(tmp_path):
    """The options of a training serve a cross-validation, and its folder a search for label errors."""
    config = configuration(worst_images=0, trainer={**CPU, "max_epochs": 1}, dataset={**SHAPES, "num_train": 9})
    found = segnet.crossval(config, folds=2, output_dir=tmp_path / "folds")
    record = json.loads((found.folder / "crossval.json").read_text())
    assert found.miou == record["pooled"]["miou"]
    assert [path.relative_to(found.folder).as_posix() for path in found.checkpoints] == [
        fold["checkpoint"] for fold in record["folds"]
    ]
    assert all(path.is_file() for path in (*found.checkpoints, found.folder / "report.html"))
    assert len(list((found.folder / "masks").iterdir())) == 9
    shown = found._repr_mimebundle_()
    assert "pooled" in shown["text/html"]
    assert f"pooled mIoU {100 * found.miou:.1f} %)" in repr(found)

    doubted = segnet.doubt(crossval=found.folder, device="cpu", num_images=1, output_dir=tmp_path / "doubt")
    assert len(doubted.suspects) == 9
    again = segnet.crossval(config, folds=2, checkpoint="auto", output_dir=tmp_path / "other")
    assert again.folder == found.folder
    assert not (tmp_path / "other").exists()


def test_a_cross_validation_takes_words_and_configurations(tmp_path, monkeypatch):
    passed = []

    def run(config, folder):
        passed.append(config)
        raise ConfigError("enough")

    monkeypatch.setattr("segnet.cli.crossval.cross_validated", run)
    config = composed("crossval", CrossvalConfig, [*WORDS, "folds=3"])
    for options, values in (
        (WORDS, {"folds": 3}),
        ([composed("train", Config, WORDS)], {"folds": 3}),
        ([replace(config, folds=2)], {"folds": 3}),
    ):
        with pytest.raises(ConfigError, match="enough"):
            segnet.crossval(*options, **values, output_dir=tmp_path / "folds")
    assert passed == [config] * 3
    assert not (tmp_path / "folds").exists()

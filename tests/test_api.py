"""segnet.train, evaluate, inspect and export match the command line."""

import csv
import json
import signal
import subprocess
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from tiny import configuration
from warm_python import WARM_PYTHON

import segnet
from segnet.api import Run
from segnet.cli.composition import composed
from segnet.config import Config
from segnet.errors import CheckpointError, ConfigError, DataError, MachineError, SegnetError
from segnet.models.checkpoint import read_checkpoint
from segnet.training.budget import backbone_for
from segnet.verb_config import EvaluateConfig

OPTIONS = {
    "backbone.depths": [1, 1, 1, 1],
    "decoder.aspp_channels": 8,
    "decoder.decoder_channels": 8,
    "decoder.low_level_channels": 4,
    "dataset.num_train": 16,
    "dataset.num_val": 5,
    "dataset.size": [48, 40],
    "data.crop_size": [32, 32],
    "data.batch_size": 4,
    "data.num_workers": 0,
    "trainer.accelerator": "cpu",
    "trainer.max_epochs": 2,
    "trainer.log_every_n_steps": 2,
}
WORDS = [f"{name}={str(value).replace(' ', '')}" for name, value in OPTIONS.items()]
KEYWORDS = {name.replace(".", "__"): value for name, value in OPTIONS.items()}
DATASET = ["dataset=shapes", "dataset.num_val=5", "dataset.size=[48,40]", "data.num_workers=0"]


def command_line(*arguments):
    subprocess.run([*WARM_PYTHON, "-m", "segnet", *arguments], check=True, capture_output=True)


def metrics(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def assert_same_run(folder, expected):
    first, second = (read_checkpoint(each / "best.ckpt")["state_dict"] for each in (folder, expected))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert metrics(folder) == metrics(expected)
    stored = [yaml.safe_load((each / "config.yaml").read_text()) for each in (folder, expected)]
    assert stored[0] == stored[1]
    assert {path.name for path in folder.iterdir()} == {path.name for path in expected.iterdir()}


@pytest.fixture(scope="module")
def of_command_line(tmp_path_factory):
    """The run folder of `segnet train` with OPTIONS."""
    folder = tmp_path_factory.mktemp("command_line")
    command_line("train", *WORDS, f"hydra.run.dir={folder}")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with keyword options."""
    return segnet.train(**KEYWORDS, output_dir=tmp_path_factory.mktemp("keywords"))


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


def test_evaluate_matches_the_command_line(trained, tmp_path):
    command_line(
        "evaluate", f"checkpoint={trained.checkpoint}", *DATASET, "flip=true", f"hydra.run.dir={tmp_path / 'a'}"
    )
    keywords = {"checkpoint": trained.checkpoint, "flip": True, "output_dir": tmp_path / "b"}
    by_options = segnet.evaluate(*DATASET, **keywords)
    expected = (tmp_path / "a" / "results.json").read_text()
    assert (by_options.folder / "results.json").read_text() == expected
    assert by_options.miou == json.loads(expected)["miou"]
    assert segnet.evaluate(**keywords).results.confusion == by_options.results.confusion  # on the run's own dataset
    by_training = segnet.evaluate(configuration(), **keywords)
    assert by_training.results.confusion == by_options.results.confusion
    dataset = {"name": "shapes", "num_val": 5, "size": [48, 40]}
    by_config = segnet.evaluate(
        EvaluateConfig(checkpoint=str(trained.checkpoint), dataset=dataset, flip=True), output_dir=tmp_path / "c"
    )
    assert by_config.results.confusion == by_options.results.confusion


def test_inspect_matches_the_command_line(tmp_path):
    options = ["dataset=shapes", "dataset.num_train=6", "dataset.num_val=3", "num_images=2"]
    command_line("inspect", *options, f"hydra.run.dir={tmp_path / 'a'}")
    expected = json.loads((tmp_path / "a" / "inspection.json").read_text())
    inspected = segnet.inspect(*options, output_dir=tmp_path / "b")
    assert json.loads((inspected.folder / "inspection.json").read_text()) == expected
    assert inspected.report.errors == []
    assert (inspected.folder / "contact_sheet.png").exists()
    of_config = segnet.inspect(configuration(), splits=["val"], num_images=0, output_dir=tmp_path / "c")
    assert [split.split for split in of_config.report.splits] == ["val"]
    assert not (of_config.folder / "contact_sheet.png").exists()


def test_inspect_returns_the_errors_of_a_dataset(tmp_path):
    for folder in ("images", "masks"):
        for split in ("train", "val"):
            (tmp_path / folder / split).mkdir(parents=True)
            (tmp_path / folder / split / "a.png").write_bytes(b"no image")
    inspected = segnet.inspect(
        dataset="folder", dataset__root=tmp_path, dataset__class_names=["a", "b"], output_dir=tmp_path / "out"
    )
    assert len(inspected.report.errors) >= 2
    with pytest.raises(DataError):
        inspected.report.require_sound()


def test_export_matches_the_command_line(trained, tmp_path):
    command_line("export", str(trained.checkpoint), "--output", str(tmp_path / "a.onnx"), "--output-kind", "classes")
    exported = segnet.export(trained.checkpoint, output=tmp_path / "b.onnx", output_kind="classes")
    assert exported.path == tmp_path / "b.onnx"
    assert (tmp_path / "a.onnx").stat().st_size == exported.path.stat().st_size
    assert exported.metadata.classes.names == segnet.Predictor(exported.path).classes.names
    assert len(exported.comparisons) == 4
    with pytest.raises(ConfigError, match=r"^output .*b\.onnx: exists already; overwrite replaces it"):
        segnet.export(trained.checkpoint, output=exported.path)
    segnet.export(trained.checkpoint, "safetensors", tmp_path / "folder")
    assert (tmp_path / "folder" / "model.safetensors").exists()


def test_results_have_a_notebook_representation(trained, tmp_path):
    inspected = segnet.inspect(dataset="shapes", dataset__num_train=2, dataset__num_val=1, output_dir=tmp_path)
    for result in (trained, inspected):
        shown = result._repr_mimebundle_(include=None, exclude=None)
        assert "background" in shown["text/html"]
        assert type(result).__name__ in shown["text/plain"]
    assert f"mIoU {100 * trained.miou:.1f} %)" in repr(trained)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: segnet.train(dataset="foldr"), ConfigError),
        (lambda: segnet.train(Config(), "seed=1"), ConfigError),
        (lambda: segnet.train("seed=1", Config()), ConfigError),
        (lambda: segnet.train("--help"), ConfigError),
        (lambda: segnet.train(dataset="folder", dataset__root="nowhere", dataset__class_names=["a", "b"]), DataError),
        (lambda: segnet.train(configuration(), backbone_weights="nowhere.pth"), CheckpointError),
        (lambda: segnet.evaluate(dataset="shapes"), ConfigError),
        (lambda: segnet.evaluate(checkpoint="nowhere.ckpt"), SegnetError),
        (lambda: segnet.evaluate(configuration()), ConfigError),
        (lambda: segnet.evaluate(checkpoint="nowhere.ckpt", dataset="shapes"), CheckpointError),
        (lambda: segnet.inspect(), ConfigError),
        (lambda: segnet.export("nowhere.ckpt"), CheckpointError),
        (lambda: segnet.export("nowhere.ckpt", "onx"), ConfigError),
        (lambda: segnet.export("nowhere.ckpt", int8=True), ConfigError),
    ],
)
def test_errors_are_exceptions_of_one_line_and_leave_no_folder(call, error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as raised:
        call()
    assert isinstance(raised.value, SegnetError)
    assert "\n" not in str(raised.value)
    assert not [path for path in tmp_path.rglob("*") if path.name != "runs"]


def test_an_impossible_run_folder_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="choose another output_dir"):
        segnet.train(output_dir=tmp_path / "file" / "run")


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

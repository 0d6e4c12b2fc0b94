"""`segnet crossval` from the command line."""

import json

import pytest

from segnet.cli import crossval
from segnet.cli.evaluate import main as evaluate
from segnet.cli.grammar import to_overrides
from segnet.errors import ConfigError
from segnet.verb_config import CrossvalConfig

OPTIONS = [
    *["dataset.num_train=5", "dataset.num_val=2", "dataset.size=[32,32]", "data.crop_size=32", "data.batch_size=2"],
    *["data.num_workers=0", "backbone.base_channels=8", "backbone.depths=[1,1,1,1]", "trainer.max_epochs=1"],
    *["trainer.accelerator=cpu", "worst_images=0"],
]


def test_folds_of_train_and_val_end_in_a_table_and_a_report(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "a"
    assert crossval.main(["folds=2", "splits=[train,val]", *OPTIONS, f"hydra.run.dir={folder}"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    record = json.loads((folder / "crossval.json").read_text())
    assert record["num_images"] == 7
    assert "2 folds, 7 held-out images" in printed
    assert f"pooled mIoU {100 * record['pooled']['miou']:.1f} %" in printed
    assert f"report: {folder / 'report.html'}" in printed
    assert f"{folder}/fold1/best.ckpt {folder}/fold2/best.ckpt" in printed
    again = tmp_path / "evaluation"  # the dataset of a fold's run is its fold
    assert evaluate([str(folder / "fold2" / "best.ckpt"), "trainer.accelerator=cpu", f"hydra.run.dir={again}"]) == 0
    assert json.loads((again / "results.json").read_text())["miou"] == record["folds"][1]["miou"]


@pytest.mark.parametrize(
    ("arguments", "overrides"),
    [
        (["--folds", "3", "--resume"], ["folds=3", "checkpoint=auto"]),
        (["--save-probabilities", "folds=3"], ["save_probabilities=true", "folds=3"]),
    ],
)
def test_options_are_written_as_those_of_train(arguments, overrides):
    assert to_overrides("crossval", CrossvalConfig, arguments) == overrides


@pytest.mark.parametrize(
    ("option", "answer"),
    [("k=3", "Write folds=3"), ("groups=x", "Write group=x"), ("epochs=3", "trainer.max_epochs=3")],
)
def test_options_of_other_tools_get_a_suggestion(option, answer, tmp_path):
    with pytest.raises(ConfigError, match=answer):
        crossval.main([option, f"hydra.run.dir={tmp_path}"])

"""`segnet compare`: checkpoints and evaluations, the table, and the files in the run folder."""

import json

import pytest

from segnet.cli import compare, evaluate
from segnet.errors import CheckpointError, ConfigError


def test_two_checkpoints_of_a_run_are_compared(run, tmp_path, capsys):
    """best.ckpt is evaluated on the dataset of its run; the counts of last.ckpt are those of an evaluation."""
    folder, results = run
    stored = tmp_path / "evaluation"
    evaluate.main([str(folder / "last.ckpt"), "per_image=true", f"hydra.run.dir={stored}"])
    capsys.readouterr()
    words = [str(folder / "best.ckpt"), str(stored), "draws=1000", f"hydra.run.dir={tmp_path / 'comparison'}"]
    assert compare.main(words) == 0
    record = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    assert record["miou"]["first"] == pytest.approx(results.scores.miou)
    assert record["num_images"] == 5
    assert record["includes_seeds"] is False
    assert (tmp_path / "comparison" / "per_image_1.json").exists()
    output = capsys.readouterr().out
    assert f"first:  {folder / 'best.ckpt'}" in output
    assert "dataset of " in output
    lines = [line.split() for line in output.splitlines()]
    [last] = [line for line in lines if line[:1] == ["mIoU"]]
    assert last[1] == f"{100 * results.scores.miou:.1f}"
    assert "hold for these two files" in output

    again = [str(tmp_path / "comparison" / "per_image_1.json"), str(stored), "draws=1000"]
    assert compare.main([*again, f"hydra.run.dir={tmp_path / 'again'}"]) == 0
    assert json.loads((tmp_path / "again" / "comparison.json").read_text())["classes"] == record["classes"]


def test_a_missing_checkpoint_is_reported_before_any_evaluation(run, tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.ckpt: no such checkpoint"):
        compare.main([str(run[0] / "best.ckpt"), "none.ckpt", f"hydra.run.dir={tmp_path / 'comparison'}"])
    assert not (tmp_path / "comparison").exists()


def test_several_processes_are_refused(run, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    folder = run[0]
    with pytest.raises(ConfigError, match="torchrun started 2 processes, but compare runs in one"):
        compare.main([str(folder / "best.ckpt"), str(folder / "last.ckpt"), f"hydra.run.dir={tmp_path / 'c'}"])

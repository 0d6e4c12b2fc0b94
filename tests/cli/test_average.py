"""`segnet average` takes checkpoints by position, and the dataset of the first one's run."""

import pytest

from segnet.cli.average import main
from segnet.cli.grammar import to_overrides
from segnet.errors import CheckpointError
from segnet.verb_config import AverageConfig


def test_checkpoints_by_position_are_one_list():
    assert to_overrides("average", AverageConfig, ["a.ckpt", "b.ckpt"]) == ["checkpoint=[a.ckpt,b.ckpt]"]


def test_the_average_of_a_run_s_checkpoints_is_printed_and_written(run, tmp_path, capsys):
    checkpoints = [str(run[0] / name) for name in ("best.ckpt", "last.ckpt")]
    assert main([*checkpoints, "num_images=4", "data.num_workers=0", f"hydra.run.dir={tmp_path / 'new'}"]) == 0
    out = capsys.readouterr().out
    assert all(f"{name} " in out for name in (*checkpoints, "average"))
    assert "estimated from 4 train crops" in out
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["average.ckpt", "config.yaml", "results.json"]


def test_a_missing_checkpoint_leaves_no_folder(run, tmp_path):
    with pytest.raises(CheckpointError, match=r"gone.ckpt: no such checkpoint"):
        main([str(run[0] / "best.ckpt"), "gone.ckpt", f"hydra.run.dir={tmp_path / 'new'}"])
    assert not (tmp_path / "new").exists()

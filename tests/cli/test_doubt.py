"""`segnet doubt` takes the folder of a cross-validation, or checkpoints, by position."""

import pytest

from segnet.cli.doubt import main
from segnet.cli.grammar import to_overrides
from segnet.errors import ConfigError
from segnet.verb_config import DoubtConfig


def test_a_folder_of_folds_and_checkpoints_are_told_apart(tmp_path):
    (tmp_path / "folds.json").write_text("{}")
    assert to_overrides("doubt", DoubtConfig, [str(tmp_path)]) == [f"crossval={tmp_path}"]
    assert to_overrides("doubt", DoubtConfig, ["a.ckpt", "b.ckpt"]) == ["checkpoint=[a.ckpt,b.ckpt]"]


def test_nothing_to_judge_by_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="set crossval=FOLDER of a segnet crossval, or checkpoint="):
        main([f"hydra.run.dir={tmp_path / 'new'}"])
    assert not (tmp_path / "new").exists()

"""`segnet rank` takes images and checkpoints by position."""

import pytest

from segnet.cli.grammar import to_overrides
from segnet.errors import ConfigError
from segnet.verb_config import RankConfig


def test_images_and_checkpoints_are_told_apart(tmp_path):
    (tmp_path / "a b").mkdir()
    arguments = [str(tmp_path), str(tmp_path / "a b"), "@list.txt", "a.ckpt", "b.ckpt", "number=5"]
    assert to_overrides("rank", RankConfig, arguments) == [
        "number=5",
        "checkpoint=[a.ckpt,b.ckpt]",
        f"images=[{tmp_path},'{tmp_path}/a b','@list.txt']",
    ]
    assert to_overrides("rank", RankConfig, ["images=photos"]) == ["images=[photos]"]
    with pytest.raises(ConfigError, match=r"photos: images=\.\.\. names the images, too"):
        to_overrides("rank", RankConfig, ["photos", "images=[other]"])


def test_the_folder_of_a_run_is_no_pool(tmp_path):
    for name in ("best.ckpt", "config.yaml"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match="is the folder of a run: write checkpoint="):
        to_overrides("rank", RankConfig, [str(tmp_path)])

"""Folders of disk caches share one size limit; the least recently used is removed first."""

import os
from pathlib import Path

import pytest

from segnet.data.cache.folders import make_room
from segnet.errors import MachineError


def folder_of(root: Path, name: str, size: int, last_use: int) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "a.sample").write_bytes(bytes(size))
    os.utime(folder, (last_use, last_use))
    return folder


def test_least_recently_used_folders_are_removed(tmp_path):
    own = folder_of(tmp_path, "own", 20, 0)
    others = [folder_of(tmp_path, str(number), 30, 100 - number) for number in range(3)]
    assert make_room(tmp_path, own, size=60, limit=130) == 80  # 110 bytes exist, 40 will be added
    assert [other.exists() for other in others] == [True, True, False]
    assert make_room(tmp_path, own, size=1000, limit=130) == 20
    assert not any(other.exists() for other in others)
    assert (own / "a.sample").exists()


def test_a_folder_above_a_lowered_limit_is_emptied(tmp_path):
    own = folder_of(tmp_path, "own", 200, 0)
    assert make_room(tmp_path, own, size=200, limit=100) == 0
    assert list(own.iterdir()) == []


def test_a_cache_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match=r"data\.cache=disk: .* cannot be written"):
        make_room(tmp_path / "file", tmp_path / "file" / "own", 1, 1)

"""Atomic writes: complete or absent, with the permissions of other new files."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from segnet.errors import MachineError
from segnet.system.files import UMASK, read_object, removing_if_empty, replacing


@pytest.mark.parametrize("durable", [True, False])
def test_the_target_is_replaced_atomically(tmp_path, durable):
    target = tmp_path / "sub" / "a.txt"
    for text in ("first", "second"):
        with replacing(target, durable) as temporary:
            assert temporary.parent == target.parent
            temporary.write_text(text)
            assert not target.exists() or target.read_text() == "first"
    assert target.read_text() == "second"
    assert os.listdir(target.parent) == ["a.txt"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~UMASK


def test_an_error_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail():
        with replacing(target) as temporary:
            temporary.write_text("new")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_impossible_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match=r"file/a\.txt: cannot be written"), replacing(tmp_path / "file" / "a.txt"):
        pass


def test_threads_do_not_change_the_umask(tmp_path):
    def write(number):
        with replacing(tmp_path / str(number), durable=False) as temporary:
            temporary.write_text("x")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(200)))
    umask = os.umask(UMASK)
    assert umask == UMASK
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o666 & ~UMASK}


def test_empty_new_folders_are_removed(tmp_path):
    (tmp_path / "old").mkdir()
    folder = tmp_path / "old" / "new" / "run"
    with removing_if_empty(folder):
        folder.mkdir(parents=True)
    assert os.listdir(tmp_path) == ["old"]
    assert os.listdir(tmp_path / "old") == []


def test_new_folders_with_files_and_existing_empty_folders_are_kept(tmp_path):
    for name in ("new", "old"):
        folder = tmp_path / name / "run"
        if name == "old":
            folder.mkdir(parents=True)
        with removing_if_empty(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "a.txt").touch() if name == "new" else None
    assert (tmp_path / "new" / "run" / "a.txt").exists()
    assert (tmp_path / "old" / "run").is_dir()


@pytest.mark.parametrize(
    ("content", "found"),
    [(b'{"a": 1}', {"a": 1}), (b"[1]", {}), (b'{"a": ', {}), (b"\xff\xfe", {}), (None, {})],
)
def test_a_missing_or_damaged_object_is_empty(tmp_path, content, found):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    assert read_object(path) == found

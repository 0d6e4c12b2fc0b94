"""Code in a .pt2 file is not executed."""

import io
import zipfile

import pytest
import torch

from segnet.errors import CheckpointError
from segnet.inference.runtimes.program import ProgramRuntime


class Evil:
    def __reduce__(self):
        return (open, ("ran", "w"))


def rewritten(source, target, change) -> None:
    """A copy of an archive with records replaced by `change`: name, bytes -> bytes."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for info in old.infolist():
            new.writestr(info.filename, change(info.filename, old.read(info)))


def test_a_pickle_in_the_archive_is_not_executed(exports, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    torch.save(Evil(), buffer)
    changed = []

    def poison(name, content):
        if "sample_inputs" in name:
            changed.append(name)
            return buffer.getvalue()
        return content

    rewritten(exports.get("pt2"), tmp_path / "evil.pt2", poison)
    assert changed
    with pytest.raises(CheckpointError, match=r"evil\.pt2"):
        ProgramRuntime(tmp_path / "evil.pt2", "cpu")
    assert not (tmp_path / "ran").exists()


def test_constants_that_are_objects_are_refused(exports, tmp_path):
    source = exports.get("pt2")
    rewritten(source, tmp_path / "a.pt2", lambda name, content: content)
    with zipfile.ZipFile(tmp_path / "a.pt2", "a") as archive:
        root = archive.namelist()[0].split("/")[0]
        archive.writestr(f"{root}/data/constants/opaque_obj_0", b"x")
    with pytest.raises(CheckpointError, match="other objects than tensors"):
        ProgramRuntime(tmp_path / "a.pt2", "cpu")

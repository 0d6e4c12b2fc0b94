"""Files of torch.save: valid ones are read, all others are refused without executing code."""

import io
import os
import zipfile

import pytest
import torch

from segnet.errors import CheckpointError
from segnet.system.torch_files import load_torch

CONTENT = {"a": torch.arange(6.0), "b": [1, "x", None]}


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_saved_checkpoint_loads_unchanged(tmp_path, mapped, legacy):
    torch.save(CONTENT, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    loaded = load_torch(tmp_path / "a.pt", "a weight file", legacy=legacy, mapped=mapped)
    assert torch.equal(loaded["a"], CONTENT["a"])
    assert loaded["b"] == CONTENT["b"]


def test_legacy_pickles_need_permission(tmp_path):
    torch.save(CONTENT, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        load_torch(tmp_path / "a.pt", "a checkpoint")


class Payload:
    def __reduce__(self):
        return (os.mkdir, ("sentinel",))


def test_callables_are_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Payload()}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"other objects than tensors and plain values \((posix|nt)\.mkdir\)"):
        load_torch(tmp_path / "a.pt", "a checkpoint")
    assert not (tmp_path / "sentinel").exists()


@pytest.mark.parametrize("divisor", [2, 3, 5, 7, 50])
def test_a_truncated_pickle_in_a_valid_archive_is_refused(tmp_path, divisor):
    buffer = io.BytesIO()
    torch.save(CONTENT, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(tmp_path / "a.pt", "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data[: len(data) // divisor] if name.endswith("data.pkl") else data)
    with pytest.raises(CheckpointError, match=r"a\.pt: (is not a checkpoint|contains other objects)") as error:
        load_torch(tmp_path / "a.pt", "a checkpoint")
    assert "\n" not in str(error.value)

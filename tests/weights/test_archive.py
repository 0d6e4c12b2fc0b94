"""Reading model.pdparams from an archive, and ignoring its other contents."""

import io
import os
import pickle
import tarfile

import numpy as np
import pytest
import torch

from segnet.errors import CheckpointError
from segnet.weights import archive
from segnet.weights.formats import read_weight_file

STATE = {"conv.weight": np.arange(6, dtype=np.float32)}


def packed(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize(("name", "mode"), [("a.tar.gz", "w:gz"), ("a.tgz", "w:gz"), ("a.tar", "w")])
@pytest.mark.parametrize("member", ["model.pdparams", "resnet50/model.pdparams", "../../up.pdparams", "/abs.pdparams"])
def test_weights_are_read_without_unpacking(tmp_path, name, mode, member):
    path = packed(tmp_path / name, [("readme.txt", b"x"), (member, pickle.dumps(STATE, protocol=2))], mode)
    state, meta = read_weight_file(path)
    assert torch.equal(state["conv.weight"], torch.arange(6.0))
    assert meta == {}
    assert os.listdir(tmp_path) == [name]


def test_links_are_not_followed(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("model.pdparams")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(CheckpointError, match=r"contains no \.pdparams file"):
        read_weight_file(tmp_path / "a.tar.gz")


def test_an_archive_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_UNPACKED", 2**30)
    path = packed(tmp_path / "a.tar.gz", [("model.pdparams", b"")])
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("model.pdparams")
        info.size = 2**31
        tar.fileobj.write(info.tobuf())
        tar.offset += 512
    with pytest.raises(CheckpointError, match="unpacks to more than 1 GiB"):
        read_weight_file(path)


@pytest.mark.parametrize("cut", [20, 100])
def test_damaged_archives_are_reported_in_one_line(tmp_path, cut):
    path = packed(tmp_path / "a.tar.gz", [("model.pdparams", pickle.dumps(STATE, protocol=2))])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match=r"a\.tar\.gz: ") as error:
        read_weight_file(path)
    assert "\n" not in str(error.value)

"""The cached export of a checkpoint: created on request, then used by default, invalidated by a changed checkpoint."""

import os
import signal
import time

import pytest
import torch
from exports import write_checkpoint

from segnet.errors import Interrupted
from segnet.exporters import EXPORTERS
from segnet.exporters.onnx import export_onnx
from segnet.inference.runtimes import open_runtime
from segnet.inference.runtimes.cache import cache_places
from segnet.inference.runtimes.onnx import OnnxRuntime
from segnet.inference.runtimes.pytorch import TorchRuntime
from segnet.system.signals import ending_at_once

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


def images() -> torch.Tensor:
    return torch.randint(0, 256, (1, 3, 33, 47), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def same(runtime, checkpoint) -> bool:
    return torch.allclose(runtime(images()), TorchRuntime(checkpoint, "cpu")(images()), rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def exported():
    """ONNX files of the tests, by the digest of their checkpoint."""
    return {}


@pytest.fixture(autouse=True)
def _export_a_checkpoint_once(monkeypatch, exported):
    """An export takes seconds: write a second one of an equal checkpoint from the bytes of the first."""

    def export(model, metadata, path):
        if metadata.digest in exported:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(exported[metadata.digest])
        else:
            export_onnx(model, metadata, path)
            exported[metadata.digest] = path.read_bytes()

    monkeypatch.setitem(EXPORTERS, "onnx", export)


@pytest.fixture
def _only_onnxruntime(monkeypatch):
    monkeypatch.setattr(
        "segnet.inference.runtimes._is_usable", lambda name, precision: (name, precision) == ("onnxruntime", "float32")
    )


@pytest.mark.usefixtures("_only_onnxruntime")
def test_the_export_is_cached_until_the_checkpoint_changes(tmp_path):
    path = write_checkpoint(tmp_path / "best.ckpt")
    first = open_runtime(path, "cpu", "onnxruntime")
    kept = tmp_path / "best.cache.onnx"
    assert sorted(tmp_path.iterdir()) == [kept, path]
    assert same(first, path)
    time = kept.stat().st_mtime_ns
    assert isinstance(open_runtime(path, "cpu"), OnnxRuntime)  # exists, and is the default
    assert isinstance(open_runtime(path, "cpu", precision="bf16"), TorchRuntime)
    assert kept.stat().st_mtime_ns == time

    write_checkpoint(path, seed=1)
    by_itself = open_runtime(path, "cpu")
    assert isinstance(by_itself, TorchRuntime)
    again = open_runtime(path, "cpu", "onnxruntime")
    assert same(again, path)
    assert not same(first, path)

    kept.write_bytes(b"damaged")
    assert isinstance(open_runtime(path, "cpu"), TorchRuntime)
    assert same(open_runtime(path, "cpu", "onnxruntime"), path)


def test_a_read_only_folder_uses_the_users_cache(tmp_path, monkeypatch):
    path = write_checkpoint(tmp_path / "best.ckpt")
    monkeypatch.setattr(os, "access", lambda folder, mode: folder != path.parent)  # root may write to any folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert isinstance(open_runtime(path, "cpu", "onnxruntime"), OnnxRuntime)
    beside, in_cache = cache_places(path)
    assert not beside.exists()
    assert in_cache.is_file()
    assert in_cache.is_relative_to(tmp_path / "cache" / "segnet")


def test_a_signal_during_the_export_is_not_an_export_error(tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(torch.export, "export", interrupted)
    path = write_checkpoint(tmp_path / "best.ckpt", seed=2)  # exported by no other test
    with pytest.raises(Interrupted) as caught, ending_at_once("while predicting"):
        open_runtime(path, "cpu", "onnxruntime")
    assert caught.value.exit_code == 143
    assert list(tmp_path.iterdir()) == [path]

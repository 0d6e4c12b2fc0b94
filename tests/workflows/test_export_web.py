"""A page is written only for a proven model, in the runtime that is named in the report."""

import shutil

import pytest
from exports import write_checkpoint
from web_runtime import installed, stand_in

from segnet.errors import CheckpointError, ConfigError, MachineError
from segnet.exporters.web import embedded_files
from segnet.exporters.web.node import find_node
from segnet.inference.runtimes import open_runtime
from segnet.workflows import export_web
from segnet.workflows.export import export


@pytest.fixture
def checkpoint(exports, monkeypatch):
    """A checkpoint whose ONNX file exists: tracing takes seconds."""
    pytest.importorskip("onnxruntime")
    onnx = exports.get("onnx")
    monkeypatch.setattr(export_web, "EXPORTERS", {"onnx": lambda model, metadata, path: shutil.copy(onnx, path)})
    return exports.checkpoint


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A stand-in for onnxruntime-web, and no Node.js that could not run it."""
    monkeypatch.setattr(export_web, "find_node", lambda: None)
    return str(stand_in(tmp_path / "package"))


def test_without_node_the_model_is_proven_in_onnxruntime(exports, checkpoint, tmp_path, package):
    lines = []
    page = tmp_path / "a.html"
    metadata = export(checkpoint, "web", page, "logits", lines.append, web_runtime=package)
    assert lines[0].startswith("compared in onnxruntime; with Node.js and a folder of onnxruntime-web")
    assert [line.size[0] for line in lines[1:]] == [1, 1, 1, 1, 1, 2, 5]
    model = embedded_files(page)["model"]
    assert model == exports.get("onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(model)
    assert open_runtime(tmp_path / "model.onnx", "cpu", "onnxruntime").metadata.digest == metadata.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "model.onnx", "package"]


def test_a_model_that_differs_leaves_no_page(checkpoint, tmp_path, monkeypatch, package):
    monkeypatch.setattr(export_web, "open_runtime", lambda *given: lambda images: -open_runtime(*given)(images))
    with pytest.raises(CheckpointError, match="results differ from the checkpoint's"):
        export(checkpoint, "web", tmp_path / "a.html", "logits", lambda _: None, web_runtime=package)
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


def test_what_is_missing_or_impossible_is_reported_before_the_model_is_traced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export_web, "EXPORTERS", {})
    path = write_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(MachineError, match="npm install onnxruntime-web@"):
        export(tmp_path / "not-loaded.ckpt", "web", tmp_path / "a.html", "logits", lambda _: None)
    with pytest.raises(ConfigError, match="leave out --output-kind classes"):
        export(path, "web", tmp_path / "a.html", "classes", lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.mark.skipif(find_node() is None, reason="needs Node.js")
def test_with_node_the_model_is_proven_in_the_runtime_of_the_page(checkpoint, tmp_path):
    lines = []
    export(checkpoint, "web", tmp_path / "a.html", "logits", lines.append, web_runtime=str(installed()))
    assert lines[0].startswith("compared in onnxruntime-web ")
    assert min(line.agreement for line in lines[1:]) > 0.9999
    assert max(line.error / line.largest for line in lines[1:]) < 1e-4

"""segnet.export matches the command line."""

import pytest
from calling import command_line

import segnet
from segnet.errors import ConfigError


def test_export_matches_the_command_line(trained, tmp_path):
    command_line("export", str(trained.checkpoint), "--output", str(tmp_path / "a.onnx"), "--output-kind", "classes")
    exported = segnet.export(trained.checkpoint, output=tmp_path / "b.onnx", output_kind="classes")
    assert exported.path == tmp_path / "b.onnx"
    assert (tmp_path / "a.onnx").stat().st_size == exported.path.stat().st_size
    assert exported.metadata.classes.names == segnet.Predictor(exported.path).classes.names
    assert len(exported.comparisons) == 7
    with pytest.raises(ConfigError, match=r"^output .*b\.onnx: exists already; overwrite replaces it"):
        segnet.export(trained.checkpoint, output=exported.path)
    segnet.export(trained.checkpoint, "safetensors", tmp_path / "folder")
    assert (tmp_path / "folder" / "model.safetensors").exists()

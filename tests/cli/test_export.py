"""`segnet export` from the command line."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exports import write_checkpoint
from PIL import Image
from warm_python import WARM_PYTHON

from segnet.cli.export import main
from segnet.cli.predict import main as predict
from segnet.errors import CheckpointError, ConfigError, MachineError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A working folder with a checkpoint and an image."""
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "a.ckpt")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8)).save("a.png")
    return tmp_path


def test_an_export_predicts_like_its_checkpoint(folder, capsys):
    predict(["a.png", "--checkpoint", "a.ckpt", "--output", "torch"])
    for arguments in (["--format", "pt2"], ["--format", "safetensors", "--output", "model"]):
        assert main(["a.ckpt", *arguments]) == 0
    out = capsys.readouterr().out
    assert "1 x 225 x 161: largest error" in out
    assert "uint8 images (batch, 3, height, width) of 0-255 -> logits (batch, 4, height, width), float32" in out
    assert "exported: a.pt2 (" in out
    for checkpoint in ("a.pt2", "model"):
        output = checkpoint.removesuffix(".pt2") + "-masks"
        assert predict(["a.png", "--checkpoint", checkpoint, "--output", output]) == 0
    masks = [np.asarray(Image.open(f"{name}/a_mask.png")) for name in ("torch", "a-masks", "model-masks")]
    assert (masks[0] == masks[1]).mean() > 0.999
    assert (masks[0] == masks[2]).all()


def test_onnx_export_runs_from_the_command_line(folder):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [*WARM_PYTHON, "-m", "segnet", "export", "a.ckpt", "--output-kind", "classes"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-2].endswith("-> class ids (batch, height, width), uint8")
    assert result.stderr == ""
    session = pytest.importorskip("onnxruntime").InferenceSession("a.onnx")
    assert session.get_inputs()[0].type == "tensor(uint8)"
    ids = session.run(None, {"images": np.zeros((2, 3, 19, 35), np.uint8)})[0]
    assert (ids.dtype, ids.shape) == (np.uint8, (2, 19, 35))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["none.ckpt"], CheckpointError, "none.ckpt: no such checkpoint"),
        (["a.ckpt", "--format", "pt2", "--output", "a.onnx"], ConfigError, "format pt2 needs the suffix .pt2"),
        (["a.ckpt", "--format", "tflite"], ConfigError, "invalid choice: 'tflite'"),
        (["a.ckpt", "--int8"], ConfigError, "--int8 needs images: --calibrate FOLDER"),
        (["a.ckpt", "--calibrate", "data"], ConfigError, "are for --int8"),
        (["a.ckpt", "--format", "pt2", "--int8", "--dataset", "shapes"], ConfigError, "--int8 is for --format onnx or"),
        (["a.ckpt", "--runtime", "cdn"], ConfigError, "--runtime is for --format web, not onnx"),
        (
            ["a.ckpt", "--format", "web", "--runtime", "none"],
            ConfigError,
            "--runtime none: is not a folder of onnxruntime-web",
        ),
        (["a.ckpt", "--format", "web", "--output", "a.htm"], ConfigError, "format web needs the suffix .html"),
    ],
)
def test_impossible_exports_are_reported(folder, arguments, error, message, capsys):
    with pytest.raises(error, match=message):
        main(arguments)
    assert not capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == ["a.ckpt", "a.png"]


@pytest.mark.parametrize(
    "arguments",
    [["a.ckpt", "b.ckpt"], ["--checkpoint", "a.ckpt", "--checkpoint", "b.ckpt"], ["checkpoint=[a.ckpt,b.ckpt]"]],
)
def test_an_ensemble_has_no_export(arguments):
    with pytest.raises(ConfigError, match=r"export: a\.ckpt and b\.ckpt: an export holds one model; predict"):
        main(arguments)


def test_an_existing_export_is_kept(folder):
    Path("a.pt2").write_text("mine")
    with pytest.raises(ConfigError, match=r"a\.pt2: exists already; --overwrite replaces it"):
        main(["a.ckpt", "--format", "pt2"])
    assert Path("a.pt2").read_text() == "mine"


def test_a_missing_package_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MachineError, match=r'pip install "segnet\[onnx\]"'):
        main(["a.ckpt"])
    assert not Path("a.onnx").exists()

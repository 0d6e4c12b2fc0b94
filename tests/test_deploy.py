"""The Python and C++ programs of docs/guides/deployment.md run on the exports that they name."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exports import CLASSES
from PIL import Image

from segnet.inference.predictor import Predictor
from segnet.workflows.export import export

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "guides" / "deployment.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"<!-- deploy: run -->\n```python\n(.*?)```", TEXT, flags=re.DOTALL)
NEEDS = [["onnx", "onnxscript", "onnxruntime"], ["onnx", "onnxscript", "openvino"], [], ["huggingface_hub"]]
PROGRAM, BUILD = re.findall(r"<!-- deploy: build -->\n```(?:cpp)?\n(.*?)```", TEXT, flags=re.DOTALL)
CASES = list(zip(SNIPPETS, NEEDS, strict=True))


@pytest.mark.parametrize(("snippet", "needs"), CASES, ids=["onnx", "openvino", "pt2", "hub"])
def test_the_python_snippets_run(exports, tmp_path, monkeypatch, capsys, snippet, needs):
    for package in needs:
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8)
    Image.fromarray(image).save("photo.png")
    for name, format in (("best.onnx", "onnx"), ("best.xml", "openvino"), ("best.pt2", "pt2")):
        if name in snippet:
            for suffix in {Path(name).suffix, ".bin" if format == "openvino" else Path(name).suffix}:
                shutil.copy(exports.get(format).with_suffix(suffix), f"best{suffix}")
    if "HubModel" in snippet:
        export(exports.checkpoint, "safetensors", Path("model"), "logits", lambda _: None)
    names: dict[str, object] = {}
    exec(snippet, names)
    if "mask" not in names:
        assert "('sky', 'Straße', 'tree', 'car')" in capsys.readouterr().out
        return
    expected = Predictor(exports.checkpoint, "cpu")(image).mask
    assert (np.asarray(names["mask"]) == expected).mean() > 0.999
    if "palette" in names:
        colors = np.asarray(Image.open("colors.png"))
        assert (colors == np.array(CLASSES.palette, np.uint8)[expected]).mean() > 0.999
        assert "Straße: " in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_the_cpp_program_builds_and_runs(exports, tmp_path):
    for package in ("onnx", "onnxscript", "openvino"):
        pytest.importorskip(package)
    image = np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "photo.ppm")
    export(exports.checkpoint, "onnx", tmp_path / "ids.onnx", "classes", lambda _: None)
    (tmp_path / "segment.cpp").write_text(PROGRAM, encoding="utf-8")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # "python" is this one
    done = subprocess.run(
        ["bash", "-euc", BUILD], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    mask = np.asarray(Image.open(tmp_path / "mask.pgm"))
    assert (mask == Predictor(exports.checkpoint, "cpu")(image).mask).mean() > 0.999

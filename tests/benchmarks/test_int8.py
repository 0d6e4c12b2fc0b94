"""The benchmark of 8 bits, on a tiny checkpoint, with a fake NNCF."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

import int8
from int8 import EXACT, sensitive

FAKE_NNCF = """#!/bin/sh
# arguments: -c, the script, the model, the images, the output, the preset
printf '%s %s\\n' "$(basename "$4")" "$6" >> "$0.log"
cp "$4" "$0.npz"
cp "${3%.onnx}.xml" "$5"
cp "${3%.onnx}.bin" "${5%.xml}.bin"
"""


# A process of its own, as a user starts it: two runtimes with several models each stay in a process until its end.
WITHOUT_BF16 = """
import sys
import int8
int8.cpu_has_bf16 = lambda: False
int8.end_process(lambda: int8.main(sys.argv[1:]))
"""


def test_each_model_has_a_row(run, tmp_path):
    nncf = tmp_path / "python"
    nncf.write_text(FAKE_NNCF)
    nncf.chmod(0o755)
    arguments = [str(run[0] / "best.ckpt"), "--dataset", "shapes", "--calibration-images", "2", "--every", "50"]
    arguments += ["--size", "32", "48", "--repeats", "1", "--nncf", str(nncf)]
    command = [sys.executable, "-c", WITHOUT_BF16, *arguments]
    path = os.pathsep.join([str(Path(int8.__file__).parent), *sys.path])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()[-7:]
    rows = {line[:36].strip(): line[36:].split() for line in lines}
    assert list(rows) == [
        EXACT,
        "OpenVINO int8",
        "OpenVINO int8, parts in float32",
        "OpenVINO int8 of NNCF, performance",
        "OpenVINO int8 of NNCF, mixed",
        "onnxruntime float32",
        "onnxruntime int8",
    ]
    assert rows[EXACT][2:4] == ["1.00x", "100.00%"]
    # The fake one copies the float32 model.
    assert rows["OpenVINO int8 of NNCF, mixed"][3:] == rows[EXACT][3:]
    assert (tmp_path / "python.log").read_text() == "float32.npz performance\nfloat32.npz mixed\n"
    images = list(np.load(tmp_path / "python.npz").values())
    assert [(len(image), image.dtype) for image in images] == [(1, np.uint8)] * 2
    for name, row in rows.items():
        assert float(row[3].rstrip("%")) > 80, name


def test_a_failing_nncf_ends_the_benchmark(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no such module >&2\nexit 1\n")
    python.chmod(0o755)
    calibration = SimpleNamespace(batches=lambda dtype: iter([{int8.INPUT: np.zeros((1, 3, 4, 4), dtype)}]))
    with pytest.raises(SystemExit, match="no such module"):
        int8.quantized_by_nncf(str(python), tmp_path / "a.onnx", calibration, SimpleNamespace(input="uint8"))


def test_depthwise_first_and_last_convolutions_are_sensitive():
    def node(name: str, operator: str = "Conv", groups: int = 1) -> SimpleNamespace:
        return SimpleNamespace(name=name, op_type=operator, attribute=[SimpleNamespace(name="group", i=groups)])

    nodes = [node("a"), node("b"), node("c", groups=8), node("d"), node("e", "Relu", 8), node("f")]
    assert sensitive(SimpleNamespace(node=nodes)) == ["a", "c", "f"]
    assert sensitive(SimpleNamespace(node=nodes[:1])) == ["a"]

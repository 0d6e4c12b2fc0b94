"""onnxruntime-web in Node.js computes the logits of onnxruntime; failures are one line."""

import shutil
import stat

import pytest
import torch
from web_runtime import installed, stand_in

from segnet.errors import MachineError
from segnet.exporters.web.node import find_node, running_in_node
from segnet.exporters.web.runtime import find_web_runtime
from segnet.models.checkpoint import load_checkpoint

NEEDS_NODE = pytest.mark.skipif(find_node() is None, reason="needs Node.js")


@NEEDS_NODE
def test_the_logits_are_those_of_the_model(exports):
    runtime = find_web_runtime(str(installed()))
    model, classes = load_checkpoint(exports.checkpoint)
    images = torch.randint(0, 256, (2, 3, 19, 35), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with running_in_node(find_node(), runtime, exports.get("onnx"), len(classes.names)) as run:
        for batch in (images, images[:1, :, :3, :5]):
            with torch.inference_mode():
                expected = model(batch)
            torch.testing.assert_close(run(batch), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@NEEDS_NODE
def test_a_runtime_that_fails_is_one_line(tmp_path):
    runtime = find_web_runtime(str(stand_in(tmp_path / "package")))
    (tmp_path / "model.onnx").write_bytes(b"")
    with (
        running_in_node(find_node(), runtime, tmp_path / "model.onnx", 2) as run,
        pytest.raises(MachineError, match=r"onnxruntime-web 9\.9\.9 fails in Node\.js: TypeError: .*$"),
    ):
        run(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))


@pytest.mark.parametrize(("answer", "found"), [("v18.0.1", True), ("v16.20.0", False), ("hello", False)])
def test_an_old_node_is_not_used(tmp_path, monkeypatch, answer, found):
    if shutil.which("sh") is None:
        pytest.skip("needs a shell")
    node = tmp_path / "node"
    node.write_text(f"#!/bin/sh\necho {answer}\n")
    node.chmod(node.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert (find_node() == str(node)) == found
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert find_node() is None

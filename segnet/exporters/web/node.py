"""onnxruntime-web in Node.js, so that the runtime of a page is the one of its proof."""

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segnet.errors import MachineError
from segnet.exporters.web.runtime import WebRuntime

LEAST_NODE = 18  # the first version with the WebAssembly that onnxruntime-web needs
PROOF_SCRIPT = Path(__file__).parent / "static" / "proof.mjs"


def find_node() -> str | None:
    """Return the path of a Node.js that runs onnxruntime-web; None: there is none."""
    node = shutil.which("node")
    if node is None:
        return None
    try:
        asked = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60)
        major = int(asked.stdout.strip().lstrip("v").split(".")[0])
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return node if major >= LEAST_NODE else None


@contextmanager
def running_in_node(
    node: str, runtime: WebRuntime, model: Path, num_classes: int
) -> Iterator[Callable[[Tensor], Tensor]]:
    """Yield a function from images (B, 3, H, W), uint8, to logits (B, classes, H, W), computed by WebAssembly.

    Raises:
        MachineError: onnxruntime-web cannot be started, or cannot run the model; also from the yielded function.
    """
    script, wasm = runtime.local("wasm")
    with (
        tempfile.TemporaryDirectory(prefix="segnet-") as folder,
        open(Path(folder) / "errors", "w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            [node, str(PROOF_SCRIPT), str(script), str(wasm), str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        requests, answers = process.stdin, process.stdout
        assert requests is not None
        assert answers is not None
        given, taken = Path(folder) / "images", Path(folder) / "logits"

        def run(images: Tensor) -> Tensor:
            batch, _, height, width = images.shape
            given.write_bytes(images.contiguous().numpy().tobytes())
            request = {"images": str(given), "shape": list(images.shape), "logits": str(taken)}
            with contextlib.suppress(OSError):  # it has ended
                print(json.dumps(request), file=requests, flush=True)
            if answers.readline() != "done\n":
                process.wait()
                errors.seek(0)
                raise MachineError(f"onnxruntime-web {runtime.version} fails in Node.js: {_error_line(errors.read())}")
            logits = np.fromfile(taken, np.float32)
            return torch.from_numpy(logits.reshape(batch, num_classes, height, width))

        try:
            yield run
        finally:
            process.kill()


def _error_line(errors: str) -> str:
    """The line with the error, from what Node.js prints about an uncaught one."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return next((line for line in lines if "Error" in line), lines[-1] if lines else "no message")

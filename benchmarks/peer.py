"""segmentation_models.pytorch's DeepLabV3+ in its own process, controlled by a benchmark.

It needs its own environment, because it installs torchvision:

    python3.11 -m venv peer-env
    peer-env/bin/pip install -c constraints.txt torch torchvision timm segmentation-models-pytorch pillow
    peer-env/bin/pip install -c constraints.txt onnx onnxscript onnxruntime openvino

As a script in that environment it is the peer: for each line "way encoder output_stride height width" on stdin it runs
the model once on a uint8 image of that size in float32, normalization included, and prints the seconds; with the
argument cpu-time those of the process's CPU time. Ways:

* eager: torch with `torch.inference_mode`.
* onnxruntime: the model of `torch.onnx.export` for that size, with onnxruntime's default options.
* openvino: the model of `openvino.convert_model` for that size, in float32 (by default it is bf16 on some CPUs).
* flops: prints the floating point operations of convolutions and products instead.
"""

import importlib
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

NUM_CLASSES = 19
WAYS = ("eager", "onnxruntime", "openvino")
CPU_TIME = "cpu-time"


class Peer:
    """The peer process, as a context manager.

    Args:
        python: path of Python in the peer's environment.
        threads: threads that it uses; None: the default of each library.
        cpu_time: measure the process's CPU time, not the time.
    """

    def __init__(self, python: str, threads: int | None = None, *, cpu_time: bool = False) -> None:
        environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
        self._process = subprocess.Popen(
            [python, __file__, *([CPU_TIME] if cpu_time else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=environment,
        )
        self.versions = self._read()

    def run(self, way: str, encoder: str, output_stride: int, height: int, width: int) -> float:
        """Seconds of one run, or the operations for way "flops"; the first run of a model also builds it."""
        assert self._process.stdin
        print(way, encoder, output_stride, height, width, file=self._process.stdin, flush=True)
        return float(self._read())

    def _read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the peer's process ended: its message is above")
        return line.strip()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


class Models:
    """The peer's model of one encoder and stride, and its exports; `clock` returns seconds."""

    def __init__(self, encoder: str, output_stride: int, clock: Callable[[], float]) -> None:
        import segmentation_models_pytorch as smp
        import torch

        self._clock = clock
        self.network = smp.DeepLabV3Plus(
            encoder, encoder_weights=None, encoder_output_stride=output_stride, classes=NUM_CLASSES
        ).eval()
        self._mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        self._std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        self._runs: dict[tuple[str, int, int], Callable[[Any], Any]] = {}

    def seconds(self, way: str, height: int, width: int) -> float:
        """Time from a uint8 image to its logits [seconds]; the export is not timed."""
        import torch

        with torch.inference_mode():
            if (way, height, width) not in self._runs:
                opener = {"eager": lambda _: self.network, "onnxruntime": self._onnxruntime, "openvino": self._openvino}
                with torch.inference_mode(False), torch.no_grad():
                    self._runs[way, height, width] = opener[way](torch.zeros(1, 3, height, width))
            run = self._runs[way, height, width]
            image = torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8)
            start = self._clock()
            logits = run((image / 255 - self._mean) / self._std)
            seconds = self._clock() - start
        assert tuple(logits.shape) == (1, NUM_CLASSES, height, width)
        return seconds

    def flops(self, height: int, width: int) -> int:
        """Count the floating point operations of convolutions and matrix products."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self.network(torch.zeros(1, 3, height, width))
        flops: int = counter.get_total_flops()
        return flops

    def _onnxruntime(self, image: Any) -> Callable[[Any], Any]:
        import onnxruntime
        import torch

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "smp.onnx"
            torch.onnx.export(self.network, (image,), path, dynamo=True, external_data=False, verbose=False)
            options = onnxruntime.SessionOptions()
            if "OMP_NUM_THREADS" in os.environ:
                options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
            session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda normalized: session.run(None, {name: normalized.numpy()})[0]

    def _openvino(self, image: Any) -> Callable[[Any], Any]:
        import openvino

        converted = openvino.convert_model(self.network, example_input=image, input=[list(image.shape)])
        options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if "OMP_NUM_THREADS" in os.environ:
            options["INFERENCE_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"]
        request = openvino.Core().compile_model(converted, "CPU", options).create_infer_request()
        return lambda normalized: request.infer({0: normalized.numpy()})[0]


def import_torchvision() -> None:
    """Import torchvision, or declare two of its operators: its CUDA build cannot be imported beside a CPU torch."""
    import torch

    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # half imported


def main() -> None:
    """The loop of the peer process."""
    replies, sys.stdout = sys.stdout, sys.stderr  # the exporters print to it
    warnings.simplefilter("ignore")
    import_torchvision()
    import segmentation_models_pytorch as smp
    import timm
    import torch

    print(
        f"segmentation_models_pytorch {smp.__version__}, timm {timm.__version__}, torch {torch.__version__}",
        file=replies,
        flush=True,
    )
    clock = time.process_time if CPU_TIME in sys.argv[1:] else time.perf_counter
    models: dict[tuple[str, int], Models] = {}
    for line in sys.stdin:
        way, encoder, output_stride, height, width = line.split()
        key = encoder, int(output_stride)
        if key not in models:
            models.clear()
            models[key] = Models(*key, clock)
        size = int(height), int(width)
        answer = models[key].flops(*size) if way == "flops" else models[key].seconds(way, *size)
        print(answer, file=replies, flush=True)


if __name__ == "__main__":
    main()

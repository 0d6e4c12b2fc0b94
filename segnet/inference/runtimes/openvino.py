"""Runtime for exported ONNX files and OpenVINO IR: OpenVINO on the CPU."""

import os
import threading
from typing import Any

import torch
from torch import Tensor

from segnet.errors import MachineError
from segnet.inference.runtimes.exported import (
    import_checked,
    require_cpu,
    require_model_file,
    require_working,
    to_input,
    to_logits,
)
from segnet.models.metadata import KEY, Metadata
from segnet.system.integrity import refusing_damage
from segnet.system.machine import usable_precision

OPENVINO_PRECISIONS = {"float32": "f32", "bf16": "bf16"}


class OpenVINORuntime:
    """Runs an ONNX or .xml file of segnet; implements `segnet.inference.runtimes.Runtime`.

    Args:
        path: path of the file; an .xml file needs its .bin file in the same folder.
        device: None or "cpu".
        precision: "float32" or "bf16"; a CPU without bf16 instructions uses float32 and logs a warning.

    Attributes:
        metadata: metadata stored in the file.
        has_digest: whether the file contains a digest, which was verified.

    Raises:
        CheckpointError: the file cannot be used.
        MachineError: another device, a CPU without bf16, or OpenVINO is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], device: str | None = None, precision: str = "float32") -> None:
        path = require_model_file(path)
        if path.suffix == ".xml":
            require_model_file(path.with_suffix(".bin"))
        self.device = require_cpu(device, "openvino")
        openvino: Any
        openvino, self.has_digest = import_checked("openvino", "openvino", path)
        core = openvino.Core()
        precision = usable_precision(precision, "cpu")
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise MachineError("precision=bf16: this CPU has no bf16 instructions; use float32")
        with refusing_damage(path, "is not an OpenVINO model, or damaged"):
            model = core.read_model(path)
            # OpenVINO's default is bf16 if the CPU supports it.
            options = {
                "INFERENCE_PRECISION_HINT": OPENVINO_PRECISIONS[precision],
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "PERFORMANCE_HINT": "LATENCY",
            }
            self._compiled = core.compile_model(model, "CPU", options)
            stored = _stored(model)
        self.metadata = Metadata.read(stored, path)
        self.classes = self.metadata.classes
        self.channels = self.metadata.channels
        self.value_range = self.metadata.value_range
        self.has_probabilities = self.metadata.output == "logits"
        self.temperature = self.metadata.temperature_of_logits
        self._requests = threading.local()  # an infer request is not thread-safe
        if not self.has_digest:
            require_working(self, path)

    def __call__(self, images: Tensor) -> Tensor:
        if not hasattr(self._requests, "request"):
            self._requests.request = self._compiled.create_infer_request()
        output = self._requests.request.infer({0: to_input(images, self.metadata).numpy()})[0]
        return to_logits(output, self.metadata)


def _stored(model: Any) -> str | None:
    """The metadata of segnet in an OpenVINO model, from ONNX or IR."""
    place = ["framework", KEY]
    return model.get_rt_info(place).value if model.has_rt_info(place) else None

"""Runtime for exported ONNX files: onnxruntime on the CPU."""

import os
from typing import Any

import torch
from torch import Tensor

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


class OnnxRuntime:
    """Runs an ONNX file of segnet; implements `segnet.inference.runtimes.Runtime`.

    Args:
        path: path of the file.
        device: None or "cpu".

    Attributes:
        metadata: metadata stored in the file.
        has_digest: whether the file contains a digest, which was verified.

    Raises:
        CheckpointError: the file cannot be used. MachineError: another device, or onnxruntime is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], device: str | None = None) -> None:
        path = require_model_file(path)
        self.device = require_cpu(device, "onnxruntime")
        onnxruntime: Any
        onnxruntime, self.has_digest = import_checked("onnxruntime", "onnx", path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Between two layers threads spin: on a busy machine, sleeping ones wake too late. After a batch they must stop,
        # because they would occupy the cores that compute the argmax.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 3  # errors only
        with refusing_damage(path, "is not an ONNX model, or damaged"):
            # Pass bytes: a path that is not UTF-8 would fail. This also prevents reading external data files.
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
            stored = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        self.metadata = Metadata.read(stored, path)
        self.classes = self.metadata.classes
        self.channels = self.metadata.channels
        self.value_range = self.metadata.value_range
        self.has_probabilities = self.metadata.output == "logits"
        self.temperature = self.metadata.temperature_of_logits
        self._input = self._session.get_inputs()[0].name
        if not self.has_digest:
            require_working(self, path)

    def __call__(self, images: Tensor) -> Tensor:
        output = self._session.run(None, {self._input: to_input(images, self.metadata).numpy()})[0]
        return to_logits(output, self.metadata)

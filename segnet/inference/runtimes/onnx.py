"""Runtime for exported ONNX files: onnxruntime on the CPU."""

import os
from typing import Any

import numpy as np
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
from segnet.inference.runtimes.optimization import keep_layer_memory
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
        self._input, self._output = self._session.get_inputs()[0].name, self._session.get_outputs()[0].name
        keep_layer_memory()
        if not self.has_digest:
            require_working(self, path)

    def __call__(self, images: Tensor) -> Tensor:
        array = to_input(images, self.metadata).numpy()
        if not self.has_probabilities:
            return to_logits(self._session.run(None, {self._input: array})[0], self.metadata)
        batch_size, _, height, width = array.shape
        logits = torch.empty(batch_size, len(self.classes.names), height, width)  # its memory is in use already
        binding = self._session.io_binding()
        binding.bind_cpu_input(self._input, array)
        binding.bind_output(self._output, "cpu", 0, np.float32, logits.shape, logits.data_ptr())
        self._session.run_with_iobinding(binding)
        return logits

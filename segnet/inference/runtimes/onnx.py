"""An exported ONNX file, run by onnxruntime on the CPU."""

import os

import torch
from torch import Tensor

from segnet.errors import CheckpointError, first_line
from segnet.extras import import_extra
from segnet.inference.runtimes.exported import require_cpu, require_model_file, to_input, to_logits
from segnet.models.metadata import KEY, Metadata


class OnnxRuntime:
    """Runs an ONNX file of segnet; the contract is `segnet.inference.runtimes.Runtime`.

    Args:
        path: of the file.
        device: None or "cpu".

    Attributes:
        metadata: what the file tells of itself.

    Raises:
        CheckpointError: the file cannot be used. MachineError: another device, or onnxruntime is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], device: str | None = None) -> None:
        onnxruntime = import_extra("onnxruntime", "onnx")
        self.device = require_cpu(device, "onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Its threads would go on turning after a batch, on the cores that then look for the highest class.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors alone
        path = require_model_file(path)
        try:
            # By its bytes: a name that is not UTF-8 would fail. No file beside it is read then.
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own, of many kinds
            raise CheckpointError(f"{path}: is not an ONNX model, or damaged ({first_line(error)})") from None
        self.metadata = Metadata.read(self._session.get_modelmeta().custom_metadata_map.get(KEY), path)
        self.classes = self.metadata.classes
        self.channels = self.metadata.channels
        self._input = self._session.get_inputs()[0].name

    def __call__(self, images: Tensor) -> Tensor:
        output = self._session.run(None, {self._input: to_input(images, self.metadata).numpy()})[0]
        return to_logits(output, self.metadata)

"""Runtime for exported ONNX files and OpenVINO IR: OpenVINO on the CPU."""

import os
import threading
from collections import OrderedDict
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
from segnet.inference.runtimes.optimization import REPEATED, keep_layer_memory
from segnet.models.metadata import KEY, Metadata
from segnet.system.integrity import refusing_damage
from segnet.system.machine import usable_precision

OPENVINO_PRECISIONS = {"float32": "f32", "bf16": "bf16"}
KEPT_PIXELS = 2**21  # pixels of the batches of all shapes that have their own model: each keeps its memory [pixels]
KEPT_SHAPES = 4  # number of these models: each also has its own copy of the weights

Shape = tuple[int, ...]


class OpenVINORuntime:
    """Runs an ONNX or .xml file of segnet; implements `segnet.inference.runtimes.Runtime`.

    A model that is compiled for one shape is faster than one for all shapes: OpenVINO joins more operators, and
    concatenates without a copy. So the first shape gets its own model, and so does each shape that comes REPEATED times
    in a row; KEPT_SHAPES of them are kept. Images of other shapes, and batches of more than KEPT_PIXELS, run in a model
    for all shapes.

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
        self._path = path = require_model_file(path)
        if path.suffix == ".xml":
            require_model_file(path.with_suffix(".bin"))
        self.device = require_cpu(device, "openvino")
        self._openvino: Any
        self._openvino, self.has_digest = import_checked("openvino", "openvino", path)
        self._core = self._openvino.Core()
        precision = usable_precision(precision, "cpu")
        if precision == "bf16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise MachineError("precision=bf16: this CPU has no bf16 instructions; use float32")
        # OpenVINO's default is bf16 if the CPU supports it.
        self._options = {
            "INFERENCE_PRECISION_HINT": OPENVINO_PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        with refusing_damage(path, "is not an OpenVINO model, or damaged"):
            model = self._core.read_model(path)
            stored = _stored(model)
        self.metadata = Metadata.read(stored, path)
        self.classes = self.metadata.classes
        self.channels = self.metadata.channels
        self.value_range = self.metadata.value_range
        self.has_probabilities = self.metadata.output == "logits"
        self.temperature = self.metadata.temperature_of_logits
        self._lock = threading.Lock()
        self._model = self._channels_last(model) if self.has_probabilities else model
        self._of_shape: OrderedDict[Shape, _Compiled] = OrderedDict()  # the least recently used first
        self._of_any: _Compiled | None = None
        self._lately: tuple[Shape, int] = ((), 0)  # the last shape without a model, and how often it came in a row
        keep_layer_memory()
        if not self.has_digest:
            require_working(self, path)

    def __call__(self, images: Tensor) -> Tensor:
        images = to_input(images, self.metadata)
        compiled = self._compiled(tuple(images.shape))
        if not self.has_probabilities:
            return to_logits(compiled(images), self.metadata)
        batch_size, _, height, width = images.shape
        logits = torch.empty(batch_size, height, width, len(self.classes.names))
        return compiled(images, logits).permute(0, 3, 1, 2)

    def _compiled(self, shape: Shape) -> "_Compiled":
        """The model for a shape."""
        with self._lock:
            if shape in self._of_shape:
                self._of_shape.move_to_end(shape)
                self._lately = ((), 0)
                return self._of_shape[shape]
            before, times = self._lately
            self._lately = (shape, times + 1 if shape == before else 1)
            if _pixels_of(shape) <= KEPT_PIXELS and (not self._of_shape or self._lately[1] >= REPEATED):
                while (
                    len(self._of_shape) >= KEPT_SHAPES or sum(map(_pixels_of, (shape, *self._of_shape))) > KEPT_PIXELS
                ):
                    self._of_shape.popitem(last=False)
                self._of_shape[shape] = self._compile(shape)
                return self._of_shape[shape]
            if self._of_any is None:
                self._of_any = self._compile((-1, self.channels, -1, -1))
            return self._of_any

    def _compile(self, shape: Shape) -> "_Compiled":
        """Compile the model for a shape; -1 is any size."""
        with refusing_damage(self._path, "is not an OpenVINO model, or damaged"):
            self._model.reshape(list(shape))
            return _Compiled(self._openvino, self._core.compile_model(self._model, "CPU", self._options))

    def _channels_last(self, model: Any) -> Any:
        """Let a model return its logits as (B, H, W, classes), the order in which OpenVINO computes them."""
        preprocess = self._openvino.preprocess.PrePostProcessor(model)
        preprocess.output().model().set_layout(self._openvino.Layout("NCHW"))
        preprocess.output().tensor().set_layout(self._openvino.Layout("NHWC"))
        return preprocess.build()


class _Compiled:
    """A compiled model; thread-safe."""

    def __init__(self, openvino: Any, model: Any) -> None:
        self._openvino, self._model = openvino, model
        self._requests = threading.local()  # an infer request is not thread-safe

    def __call__(self, images: Tensor, output: Tensor | None = None) -> Tensor:
        """Run the model.

        Args:
            output: a contiguous tensor to write the result to, which saves a copy; None: a new one.
        """
        if not hasattr(self._requests, "request"):
            self._requests.request = self._model.create_infer_request()
        request = self._requests.request
        if output is None:
            return torch.from_numpy(request.infer({0: images.numpy()})[0])
        request.set_output_tensor(0, self._openvino.Tensor(output.numpy(), shared_memory=True))
        request.infer({0: images.numpy()}, share_inputs=True, share_outputs=True)
        return output


def _pixels_of(shape: Shape) -> int:
    batch_size, _, height, width = shape
    return batch_size * height * width


def _stored(model: Any) -> str | None:
    """The metadata of segnet in an OpenVINO model, from ONNX or IR."""
    place = ["framework", KEY]
    return model.get_rt_info(place).value if model.has_rt_info(place) else None

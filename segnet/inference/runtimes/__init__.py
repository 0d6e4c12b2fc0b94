"""Runtimes of a trained model: torch, or another library for exported files.

The interface: a runtime has `classes`, `channels` and `device`, and maps a batch of images to logits. Sliding windows
and test-time augmentation are implemented once for all runtimes in `segnet.inference.predictor`.
"""

import importlib.util
import logging
import os
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from segnet.choices import PREDICTION_PRECISIONS, RUNTIMES
from segnet.classes import Classes
from segnet.components import did_you_mean
from segnet.errors import ConfigError
from segnet.extras import import_extra
from segnet.inference.runtimes.automatic import AutomaticRuntime, choices_folder
from segnet.inference.runtimes.cache import open_cached
from segnet.inference.runtimes.onnx import OnnxRuntime
from segnet.inference.runtimes.openvino import OpenVINORuntime
from segnet.inference.runtimes.program import ProgramRuntime
from segnet.inference.runtimes.pytorch import TorchRuntime
from segnet.models.temperature import Temperature

log = logging.getLogger(__name__)

EXTRAS = {"openvino": "openvino", "onnxruntime": "onnx"}  # library -> segnet's extra
# Libraries for each kind of exported file; the first one installed is the default.
OF_SUFFIX = {".onnx": ("openvino", "onnxruntime"), ".xml": ("openvino",), ".pt2": ("torch",)}


class Runtime(Protocol):
    """A loaded model.

    Attributes:
        classes: names, palette and ignore_index.
        channels, value_range: those of the images, for `segnet.images.bands.read_bands`.
        device: device of images and logits.
        has_probabilities: False for an exported file that returns class ids: its probabilities are 0 and 1.
        temperature: softmax of the logits, divided by it, gives calibrated probabilities.
    """

    classes: Classes
    channels: int
    value_range: tuple[float, float] | None
    device: torch.device
    has_probabilities: bool
    temperature: Temperature

    def __call__(self, images: Tensor) -> Tensor:
        """Map images (B, channels, H, W), uint8 or float32, 0-255, any H, W >= 1, to float32 logits (B, classes, H, W).

        Both are on `device`. Thread-safe.
        """
        ...


def open_runtime(
    model: str | os.PathLike[str],
    device: str | None = None,
    runtime: str | None = None,
    precision: str | None = None,
) -> Runtime:
    """Open a trained model.

    For a checkpoint, `onnxruntime` and `openvino` run an export that is created once and cached next to it. The export
    takes longer than predicting many images. The default is therefore a cached export on a CPU if it exists, else
    torch.

    Args:
        model: path of a segnet checkpoint, of a folder or .safetensors file of `segnet.models.pretrained`, or of a
            file from `segnet export`: .onnx, .xml, .pt2.
        device: "cpu", "cuda", "cuda:1", "mps"; None: a GPU if available.
        runtime: one of RUNTIMES; None: automatic.
        precision: "float32"; "bf16" with torch or openvino, falls back to float32 on a CPU without bf16 instructions;
            "fp16" with torch on a GPU; "auto": the fastest that gives nearly the same masks, see
            `segnet.inference.runtimes.automatic`; None: float32.

    Raises:
        CheckpointError: the file cannot be used. MachineError: an unavailable device, or a missing package.
        ConfigError: an unknown runtime or precision, or one not supported by the file, device or runtime.
    """
    precision = precision or "float32"
    for option, value, choices in (("runtime", runtime, RUNTIMES), ("precision", precision, PREDICTION_PRECISIONS)):
        if value is not None and value not in choices:
            raise ConfigError(f"{option}={value} is unknown.{did_you_mean(value, choices)}")
    path = Path(model)
    if precision == "auto":
        return AutomaticRuntime(partial(_open, path, device), runtime, path, choices_folder())
    return _open(path, device, runtime, precision)


def _open(path: Path, device: str | None, runtime: str | None, precision: str) -> Runtime:
    if path.suffix in OF_SUFFIX:
        return _open_file(path, device, runtime, precision)
    if os.path.isdir(path) or path.suffix == ".safetensors":
        if runtime not in (None, "torch"):
            raise ConfigError(f"runtime={runtime} does not run {path}: use torch, or the original checkpoint")
        return TorchRuntime(path, device, precision)
    if runtime == "torch" or (runtime is None and not _on_cpu(device)):
        return TorchRuntime(path, device, precision)
    candidates = [runtime] if runtime else [name for name in ("openvino", "onnxruntime") if _is_usable(name, precision)]
    for name in candidates:
        _require_precision(name, precision)
        if importlib.util.find_spec(name) is None:  # only a runtime that the user named
            import_extra(name, EXTRAS[name])  # raises, before an export of some seconds
        opened = open_cached(
            path, partial(_open_exported, name, device=device, precision=precision), export=bool(runtime)
        )
        if opened is not None:
            return opened
    return TorchRuntime(path, device, precision)


def _open_file(path: Path, device: str | None, runtime: str | None, precision: str) -> Runtime:
    possible = OF_SUFFIX[path.suffix]
    if runtime is not None and runtime not in possible:
        raise ConfigError(f"runtime={runtime} does not run {path}: use {' or '.join(possible)}")
    chosen = runtime or next((name for name in possible if _is_usable(name, precision)), possible[-1])
    if chosen == "torch":
        if precision != "float32":
            raise ConfigError(f"precision={precision}: {path} is float32; use the checkpoint for other precisions")
        return ProgramRuntime(path, device)
    _require_precision(chosen, precision)
    opened = _open_exported(chosen, path, device, precision)
    if not opened.has_digest:
        log.info("%s: exported by an older segnet without a digest; damage to the file cannot be detected", path)
    return opened


def _open_exported(name: str, path: Path, device: str | None, precision: str) -> OnnxRuntime | OpenVINORuntime:
    if name == "onnxruntime":
        return OnnxRuntime(path, device)
    return OpenVINORuntime(path, device, precision)


def _require_precision(runtime: str, precision: str) -> None:
    """Check that a runtime supports a precision.

    Raises:
        ConfigError: it does not.
    """
    if precision == "fp16" or (precision, runtime) == ("bf16", "onnxruntime"):
        others = "openvino or torch" if precision == "bf16" else "torch on a GPU"
        raise ConfigError(f"precision={precision} is not supported by runtime={runtime}: use {others}")


def _is_usable(name: str, precision: str) -> bool:
    """Whether a library is installed and supports the precision."""
    fits = precision == "float32" or (precision, name) == ("bf16", "openvino")
    return name == "torch" or (fits and importlib.util.find_spec(name) is not None)


def _on_cpu(device: str | None) -> bool:
    return device == "cpu" if device is not None else not torch.cuda.is_available()

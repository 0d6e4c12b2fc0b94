"""`segnet info`: describe a checkpoint, an exported model or a pretrained folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from segnet.classes import Classes
from segnet.inference.runtimes import open_runtime
from segnet.inference.runtimes.exported import require_model_file
from segnet.models.checkpoint import TEMPERATURE_KEY, load_checkpoint, read_checkpoint
from segnet.models.pretrained import CONFIG, is_pretrained, load_pretrained
from segnet.system.integrity import refusing_damage

EXPORTED = {".onnx": "ONNX", ".xml": "OpenVINO", ".pt2": "torch.export"}


def model_info(path: Path) -> dict[str, Any]:
    """Describe a model file.

    Args:
        path: a .ckpt, .onnx, .xml, .pt2 or .safetensors file, or a folder of `segnet.models.pretrained`.

    Returns:
        JSON-compatible builtins: format, size [bytes] and classes. If the file stores them, also backbone, decoder,
        output stride, number of parameters, normalization, epoch, step, val mIoU (fraction) and training options.

    Raises:
        CheckpointError: the file cannot be used.
        MachineError: an export needs a package that is not installed.
    """
    with refusing_damage(path, "cannot be described"):
        if path.suffix in EXPORTED:
            return _exported(path)
        if is_pretrained(path):
            return _pretrained(path)
        return _checkpoint(path)


def _checkpoint(path: Path) -> dict[str, Any]:
    stored = read_checkpoint(path)
    model, classes = load_checkpoint(path)
    hyper_parameters = stored["hyper_parameters"]
    info = {"format": "segnet checkpoint", "size": path.stat().st_size, **_architecture(hyper_parameters["model"])}
    info["parameters"] = _num_parameters(model)
    info |= {name: stored[key] for name, key in (("epoch", "epoch"), ("step", "global_step")) if key in stored}
    score = _best_score(stored.get("callbacks", {}))
    if score is not None:
        info["val_miou"] = score
    info |= {"temperature": list(model.temperature.values)} | _calibrated(stored)
    training = {key: value for key, value in hyper_parameters.items() if key not in ("model", "classes")}
    return {**info, "training": training, "classes": _classes(classes)}


def _pretrained(path: Path) -> dict[str, Any]:
    folder = path.parent if path.suffix == ".safetensors" else path
    model, classes = load_pretrained(path)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    return {
        "format": "safetensors folder",
        "size": size,
        **_architecture(config),
        "parameters": _num_parameters(model),
        "temperature": list(model.temperature.values),
        "classes": _classes(classes),
    }


def _exported(path: Path) -> dict[str, Any]:
    runtime = open_runtime(require_model_file(path))
    metadata = getattr(runtime, "metadata")  # noqa: B009  # every exported file's runtime has it; the contract does not
    size = path.stat().st_size
    if path.suffix == ".xml":
        size += path.with_suffix(".bin").stat().st_size
    return {
        "format": f"{EXPORTED[path.suffix]} export",
        "size": size,
        "input": f"{metadata.input} images (batch, {metadata.channels}, height, width), 0-255",
        "output": metadata.output,
        "mean": list(metadata.mean),
        "std": list(metadata.std),
        "temperature": list(metadata.temperature.values),
        "made_from": metadata.digest,
        "classes": _classes(metadata.classes),
    }


def _architecture(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "backbone": dict(spec["backbone"]),
        "decoder": dict(spec["decoder"]),
        "output_stride": spec["backbone"].get("output_stride"),
        "channels": len(spec["mean"]),
        "mean": list(spec["mean"]),
        "std": list(spec["std"]),
    }


def _num_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _best_score(callbacks: Mapping[str, Any]) -> float | None:
    """Return the best val mIoU of the run up to this checkpoint; None if the file does not store it."""
    for name, state in callbacks.items():
        if name.startswith("BestCheckpoint") and state.get("current_score") is not None:
            return float(state["current_score"])
    return None


def _calibrated(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the temperature was fitted to; empty for a checkpoint without one."""
    record = stored.get(TEMPERATURE_KEY)
    return {} if record is None else {"calibration": {key: value for key, value in record.items() if key != "values"}}


def _classes(classes: Classes) -> dict[str, Any]:
    return {**classes.to_dict(), "number": len(classes.names)}

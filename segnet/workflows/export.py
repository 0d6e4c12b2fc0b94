"""Export a checkpoint, and compare the exported file with it in its own runtime before it is kept."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from segnet.choices import EXPORT_SUFFIXES, WEB
from segnet.classes import Classes
from segnet.exporters import EXPORTERS, exportable, metadata_of
from segnet.exporters.openvino import convert_onnx, export_openvino
from segnet.exporters.web.runtime import find_web_runtime
from segnet.inference.runtimes import open_runtime
from segnet.inference.runtimes.cache import file_digest
from segnet.models.checkpoint import load_checkpoint, read_checkpoint
from segnet.models.metadata import Metadata
from segnet.models.pretrained import load_pretrained, save_pretrained
from segnet.training.metrics import percent
from segnet.workflows.export_proof import require_equal, require_same_in_batches
from segnet.workflows.export_web import write_proven_page
from segnet.workflows.quantize import Calibration, quantize

RUNTIME_OF = {"onnx": "onnxruntime", "openvino": "openvino", "pt2": "torch"}


def export(
    checkpoint: Path,
    format: str,
    output: Path,
    output_kind: str,
    report: Callable[[object], None],
    calibrate: Callable[[Classes], Calibration] | None = None,
    web_runtime: str | None = None,
) -> Metadata:
    """Export a checkpoint, and compare the exported file with it; no file is left if they differ.

    Args:
        checkpoint: path of a segnet checkpoint.
        format: from `segnet.choices.FORMATS`.
        output: path of the exported file; a folder for safetensors.
        output_kind: "logits" or "classes".
        report: called with each comparison, and with the mIoU before and after quantization.
        calibrate: returns calibration images for the given classes; with it the export (onnx or openvino) is quantized
            to 8 bits.
        web_runtime: folder of onnxruntime-web, or "cdn", for format web; None: node_modules.

    Returns:
        The metadata stored in the file.

    Raises:
        CheckpointError: the checkpoint cannot be used, or the export computes different results.
        ConfigError: the format cannot hold the model.
        MachineError: a package is not installed, or the file cannot be written.
    """
    if format == WEB and output_kind == "logits":  # the other one is refused with the model's classes
        find_web_runtime(web_runtime)  # before the model is loaded
    model, classes = load_checkpoint(checkpoint)
    kind = "uint8" if model.in_channels == 3 else "float32"
    metadata = metadata_of(model, classes, kind, output_kind, file_digest(checkpoint))
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        written = Path(folder) / f"{output.stem}{EXPORT_SUFFIXES.get(format, '')}"
        onnx_file = written.with_suffix(".onnx")
        if format == WEB:
            write_proven_page(model, metadata, web_runtime, output.stem, written, report)
            _put_in_place(written, output)
            return metadata
        if format == "safetensors":
            spec = read_checkpoint(checkpoint)["hyper_parameters"]["model"]
            save_pretrained(spec, model.state_dict(), classes, written, model.temperature)
            run: Callable[[Tensor], Tensor] = torch.inference_mode()(load_pretrained(written)[0])
        else:
            if calibrate and format == "openvino":  # its ONNX file is quantized: tracing a model takes long
                export_openvino(exportable(model, metadata), metadata, written, onnx_file)
            else:
                EXPORTERS[format](exportable(model, metadata), metadata, written)
            run = open_runtime(written, "cpu", RUNTIME_OF[format])
        require_equal(model, run, metadata, report)
        if calibrate:
            calibration = calibrate(classes)
            for samples in (calibration.images, calibration.val):
                samples.take_value_range(metadata.value_range, checkpoint)
            _quantize(onnx_file, metadata, written, RUNTIME_OF[format], calibration, report)
        _put_in_place(written, output)
    return metadata


def _quantize(
    onnx_file: Path,
    metadata: Metadata,
    written: Path,
    runtime: str,
    calibration: Calibration,
    report: Callable[[object], None],
) -> None:
    """Replace the export `written` by its ONNX file, quantized to 8 bits; report the mIoU before and after.

    Raises:
        CheckpointError: the quantized model's results for an image depend on its batch.
    """
    before = calibration.measure(open_runtime(written, "cpu", runtime))
    small = written.with_name(f"{written.stem}-8.onnx")
    quantize(onnx_file, small, calibration, metadata.input)
    if written.suffix == ".xml":
        convert_onnx(small, written)
    else:
        os.replace(small, written)
    run = open_runtime(written, "cpu", runtime)
    require_same_in_batches(run, metadata)
    after = calibration.measure(run)
    report(
        f"int8 by {calibration.num_images} images; mIoU of {len(calibration.val)} val images: "
        f"{percent(before)} in float32, {percent(after)} in int8"
    )


def _put_in_place(written: Path, output: Path) -> None:
    """Move the written file, or the files of a folder, to the output path; OpenVINO's .bin file goes first."""
    if written.is_dir():
        output.mkdir(exist_ok=True)
        for file in written.iterdir():
            os.replace(file, output / file.name)
        return
    weights = written.with_suffix(".bin")
    if weights.exists():
        os.replace(weights, output.with_suffix(".bin"))
    os.replace(written, output)

"""Export a checkpoint, and compare the exported file with it in its own runtime before it is kept."""

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segnet.choices import EXPORT_SUFFIXES
from segnet.classes import Classes
from segnet.errors import CheckpointError
from segnet.exporters import EXPORTERS, exportable, metadata_of
from segnet.exporters.openvino import convert_onnx, export_openvino
from segnet.inference.decisions import Decision, decision_of
from segnet.inference.runtimes import Runtime, open_runtime
from segnet.inference.runtimes.cache import file_digest
from segnet.models.checkpoint import load_checkpoint, read_checkpoint
from segnet.models.metadata import Metadata
from segnet.models.pretrained import load_pretrained, save_pretrained
from segnet.training.metrics import percent
from segnet.workflows.quantize import Calibration, quantize

RUNTIME_OF = {"onnx": "onnxruntime", "openvino": "openvino", "pt2": "torch"}
SIZES = ((1, 128, 192), (2, 97, 255), (1, 225, 161), (1, 3, 5))  # batch, height, width
LEAST_AGREEMENT = 0.9999


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of an export with its model, on images of one size.

    Attributes:
        size: batch, height, width.
        error: largest absolute difference of the logits; None if the export returns class ids.
        largest: largest absolute logit of the model.
        agreement: fraction of pixels with the same class, or of planes' pixels with the same value, 0-1.
    """

    size: tuple[int, int, int]
    error: float | None
    largest: float
    agreement: float

    def __str__(self) -> str:
        batch, height, width = self.size
        error = "" if self.error is None else f"largest error {self.error:.1e} of {self.largest:.1f}, "
        return f"{batch} x {height} x {width}: {error}argmax agreement {100 * self.agreement:.3f}%"


def export(
    checkpoint: Path,
    format: str,
    output: Path,
    output_kind: str,
    report: Callable[[object], None],
    calibrate: Callable[[Classes], Calibration] | None = None,
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

    Returns:
        The metadata stored in the file.

    Raises:
        CheckpointError: the checkpoint cannot be used, or the export computes different results.
        MachineError: a package is not installed, or the file cannot be written.
    """
    model, classes = load_checkpoint(checkpoint)
    kind = "uint8" if model.in_channels == 3 else "float32"
    metadata = metadata_of(model, classes, kind, output_kind, file_digest(checkpoint))
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        written = Path(folder) / f"{output.stem}{EXPORT_SUFFIXES.get(format, '')}"
        onnx_file = written.with_suffix(".onnx")
        if format == "safetensors":
            spec = read_checkpoint(checkpoint)["hyper_parameters"]["model"]
            save_pretrained(spec, model.state_dict(), classes, written, model.temperature)
            run: Callable[[Tensor], Tensor] = _inference(load_pretrained(written)[0])
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
    """Replace the export `written` by its ONNX file, quantized to 8 bits; report the mIoU before and after."""
    before = calibration.measure(open_runtime(written, "cpu", runtime))
    small = written.with_name(f"{written.stem}-8.onnx")
    quantize(onnx_file, small, calibration, metadata.input)
    if written.suffix == ".xml":
        convert_onnx(small, written)
    else:
        os.replace(small, written)
    after = calibration.measure(open_runtime(written, "cpu", runtime))
    report(
        f"int8 by {calibration.num_images} images; mIoU of {len(calibration.val)} val images: "
        f"{percent(before)} in float32, {percent(after)} in int8"
    )


def require_equal(
    model: nn.Module, run: Callable[[Tensor], Tensor] | Runtime, metadata: Metadata, report: Callable[[object], None]
) -> None:
    """Compare an export with its model at SIZES.

    Raises:
        CheckpointError: at some size the fraction of pixels with the same class is below LEAST_AGREEMENT.
    """
    for images in example_images(metadata.channels):
        comparison = compare_outputs(model, run, images, metadata.output, decision_of(metadata.classes))
        report(comparison)
        if not comparison.agreement >= LEAST_AGREEMENT:
            raise CheckpointError(
                f"the export's results differ from the checkpoint's ({comparison}; {100 * LEAST_AGREEMENT:g}% "
                "is required): nothing was written. Please report it"
            )


def compare_outputs(
    model: nn.Module, run: Callable[[Tensor], Tensor], images: Tensor, output_kind: str, decision: Decision
) -> Comparison:
    """Compare model and export on images (B, C, H, W), uint8."""
    expected, given = _inference(model)(images), run(images)
    masks = [decision.masks(decision.scores(logits)) for logits in (expected, given)]
    agreement = (masks[0] == masks[1]).double().mean().item()
    error = (expected - given).abs().max().item() if output_kind == "logits" else None
    batch, _, height, width = images.shape
    return Comparison((batch, height, width), error, expected.abs().max().item(), agreement)


def example_images(channels: int) -> Iterator[Tensor]:
    """Yield images of SIZES: smooth colors with a little noise, so that predictions have regions as in photos."""
    generator = torch.Generator().manual_seed(0)
    for batch, height, width in SIZES:
        coarse = torch.rand(batch, channels, 5, 7, generator=generator) * 255
        smooth = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
        noise = 8 * torch.randn(smooth.shape, generator=generator)
        yield (smooth + noise).round().clamp(0, 255).to(torch.uint8)


def _inference(model: nn.Module) -> Callable[[Tensor], Tensor]:
    return torch.inference_mode()(model)


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

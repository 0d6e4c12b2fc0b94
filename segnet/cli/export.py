"""`segnet export`: a checkpoint -> an exported model with verified outputs."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segnet.choices import EXPORT_SUFFIXES, FORMATS, OUTPUT_KINDS, WEB
from segnet.cli.arguments import Parser, add_checkpoints
from segnet.cli.help import choices_of
from segnet.cli.output import say
from segnet.errors import ConfigError, ExitCode
from segnet.published.zoo import find_model
from segnet.system.signals import ending_at_once

if TYPE_CHECKING:
    from segnet.classes import Classes
    from segnet.models.metadata import Metadata
    from segnet.workflows.quantize import Calibration


ONE_MODEL = "an export holds one model; predict, evaluate and serve take several"


def main(arguments: Sequence[str]) -> int:
    """Export a checkpoint and verify its outputs; return exit code 0."""
    options = build_parser().parse_args(arguments)
    named = [*options.models, *(name for group in options.checkpoint for name in group)]
    if not named:
        raise ConfigError("export: no checkpoint; add one, such as segnet export best.ckpt --format onnx")
    if len(named) > 1:
        raise ConfigError(f"export: {' and '.join(named)}: {ONE_MODEL}")
    checkpoint = Path(named[0])
    output = output_path(options, checkpoint)
    waiting = [f"checkpoint: {checkpoint}"]  # printed with the first result: an error is the only line

    def report(line: object) -> None:
        while waiting:
            say(waiting.pop())
        say(f"  {line}")

    with ending_at_once("while exporting: nothing was written"):
        metadata = exported(options, checkpoint, output, report)
    say(_describe(options.format, metadata))
    say(f"exported: {output} ({_megabytes(output):.1f} MB)")
    return ExitCode.OK


def exported(
    options: argparse.Namespace, checkpoint: Path, output: Path, report: Callable[[object], None]
) -> "Metadata":
    """Export a checkpoint with the options; see `segnet.workflows.export.export`."""
    from segnet.workflows.export import export  # late: imports torch, and --help stays fast

    calibrate = _int8(options)
    if options.runtime and options.format != WEB:
        raise ConfigError(f"--runtime is for --format {WEB}, not {options.format}")
    found = find_model(checkpoint)
    return export(found, options.format, output, options.output_kind, report, calibrate, options.runtime)


def _int8(options: argparse.Namespace) -> "Callable[[Classes], Calibration] | None":
    """A function that opens the calibration images of --int8; None without --int8.

    Raises:
        ConfigError: incompatible options.
    """
    if not options.int8:
        if options.calibrate or options.dataset:
            raise ConfigError("--calibrate and --dataset are for --int8: add it")
        return None
    if options.format not in ("onnx", "openvino"):
        raise ConfigError(f"--int8 is for --format onnx or openvino, not {options.format}")
    if not options.calibrate and not options.dataset:
        raise ConfigError("--int8 needs images: --calibrate FOLDER with images and masks, as dataset=folder trains on")
    from segnet.workflows.quantize import Calibration

    name = options.dataset or "folder"
    return lambda classes: Calibration.open(name, options.calibrate, classes, options.calibration_images)


def output_path(options: argparse.Namespace, checkpoint: Path) -> Path:
    """Return the path of the export: --output, or a name next to the checkpoint.

    Raises:
        ConfigError: the suffix does not match the format, or the path exists.
    """
    suffix = EXPORT_SUFFIXES.get(options.format, "")
    default = checkpoint.with_suffix(suffix) if suffix else checkpoint.with_name(f"{checkpoint.stem}_pretrained")
    output = Path(options.output) if options.output else default
    if suffix and output.suffix != suffix:
        raise ConfigError(f"--output {output}: a model of format {options.format} needs the suffix {suffix}")
    taken = os.path.exists(output) and not (output.is_dir() and not any(output.iterdir()))
    if taken and not options.overwrite:
        raise ConfigError(f"--output {output}: exists already; --overwrite replaces it")
    if taken and output.is_dir() and suffix:
        raise ConfigError(f"--output {output}: is a folder; give the name of a file")
    return output


def _describe(format: str, metadata: "Metadata") -> str:
    num_classes = len(metadata.classes.names)
    image = f"{metadata.input} images (batch, {metadata.channels}, height, width) of 0-255"
    if format == "safetensors":
        return f"{num_classes} classes; segnet.hub.HubModel.from_pretrained reads it"
    if format == WEB:
        return f"{num_classes} classes; open it in a browser: it needs no server"
    if metadata.output == "logits":
        return f"{image} -> logits (batch, {num_classes}, height, width), float32"
    if metadata.classes.is_multilabel:
        return f"{image} -> planes (batch, {num_classes}, height, width) of 0 and 1, uint8"
    return f"{image} -> class ids (batch, height, width), {'uint8' if num_classes <= 256 else 'int32'}"


def _megabytes(output: Path) -> float:
    files = list(output.iterdir()) if output.is_dir() else [output]
    if output.suffix == ".xml":
        files.append(output.with_suffix(".bin"))
    return sum(file.stat().st_size for file in files) / 1e6


def build_parser() -> Parser:
    """Build the parser of `segnet export`."""
    parser = Parser(
        prog="segnet export",
        description="Exports a checkpoint, and verifies its outputs at four sizes and in batches in the target "
        "runtime. No file is written if they differ. Normalization is part of the export: inputs are images with "
        "values 0-255.",
    )
    parser.add_argument(
        "models", nargs="*", metavar="CHECKPOINT", help="a segnet checkpoint, or a name of segnet models"
    )
    add_checkpoints(parser, "same as the positional argument")
    parser.add_argument("--format", choices=FORMATS, default="onnx", help="default: onnx")
    parser.add_argument(
        "--output", metavar="PATH", help="output file, or folder for safetensors; default: next to the checkpoint"
    )
    parser.add_argument("--output-kind", choices=OUTPUT_KINDS, default="logits", help="default: logits")
    parser.add_argument("--int8", action="store_true", help="8-bit weights and activations (onnx, openvino)")
    parser.add_argument(
        "--calibrate",
        metavar="FOLDER",
        help="root of a dataset for --int8: train gives the value ranges, val the mIoU",
    )
    parser.add_argument("--dataset", choices=choices_of("dataset"), help="layout of that dataset; default: folder")
    parser.add_argument(
        "--calibration-images", type=int, default=64, metavar="N", help="calibration images; default: 64"
    )
    parser.add_argument(
        "--runtime",
        metavar="FOLDER",
        help="for web: folder of the npm package onnxruntime-web, or cdn: the page downloads it; default: node_modules",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing export")
    return parser

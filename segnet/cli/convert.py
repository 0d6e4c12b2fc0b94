"""`segnet convert`: a trained PaddleSeg or mmsegmentation model -> a segnet checkpoint."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from segnet.class_sets import CLASS_SETS
from segnet.cli.arguments import Parser
from segnet.cli.output import say
from segnet.config import OUTPUT_STRIDES
from segnet.errors import ConfigError, ExitCode, MachineError

if TYPE_CHECKING:
    from segnet.published.convert import BuildSettings


def main(arguments: Sequence[str]) -> int:
    """Convert a foreign model into a checkpoint; return exit code 0."""
    options = build_parser().parse_args(arguments)
    output = _require_place(Path(options.output), options.overwrite)
    multi_grid = None if options.multi_grid is None else _multi_grid(options.multi_grid)
    from segnet.published.convert import convert, named_classes, published_settings, stored_classes
    from segnet.weights.load import read_weights  # late: imports torch, and --help stays fast

    named = None if options.classes is None else named_classes(options.classes)  # before a download
    weights = read_weights(options.source)
    classes = named or stored_classes(weights)
    settings = _chosen_settings(options, multi_grid, published_settings(weights))
    model = convert(weights, classes, settings, output)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    say(f"{options.source}: {len(classes.names)} classes, {num_parameters:,} parameters, all loaded")
    say(
        f"assuming --output-stride {settings.output_stride} "
        f"--multi-grid {','.join(map(str, settings.multi_grid)) if settings.multi_grid else 'none'}"
        f"{' --align-corners' if settings.align_corners else ''}: weights do not record them; "
        "set these options if your model differs"
    )
    say(f"checkpoint: {output}")
    return ExitCode.OK


def _chosen_settings(
    options: argparse.Namespace, multi_grid: tuple[int, ...] | None, published: "BuildSettings"
) -> "BuildSettings":
    """The published settings, overridden by the command line; `multi_grid` is --multi-grid."""
    chosen = published
    if options.output_stride is not None:
        chosen = replace(chosen, output_stride=options.output_stride)
    if options.multi_grid is not None:
        chosen = replace(chosen, multi_grid=multi_grid)
    return replace(chosen, align_corners=True) if options.align_corners else chosen


def _multi_grid(text: str) -> tuple[int, ...] | None:
    if text == "none":
        return None
    factors = text.split(",")
    if not all(factor.strip().isdecimal() and int(factor) for factor in factors):
        raise ConfigError(f"--multi-grid {text}: must be none or factors such as 1,2,4")
    return tuple(int(factor) for factor in factors)


def _require_place(path: Path, overwrite: bool) -> Path:
    """Check the output path of the checkpoint.

    Raises:
        ConfigError: the file exists, or its suffix is not .ckpt.
        MachineError: its folder does not exist.
    """
    if path.suffix != ".ckpt":
        raise ConfigError(f"--output {path}: a checkpoint's name ends in .ckpt")
    if os.path.exists(path) and not overwrite:
        raise ConfigError(f"--output {path}: exists already; --overwrite replaces it")
    if not path.absolute().parent.is_dir():
        raise MachineError(f"--output {path}: folder {path.absolute().parent} does not exist; create it first")
    return path


def build_parser() -> Parser:
    """Build the parser of `segnet convert`."""
    parser = Parser(
        prog="segnet convert",
        description="Converts PaddleSeg's DeepLabV3 and DeepLabV3P models (.pdparams) and mmsegmentation's DeepLabV3 "
        "and DeepLabV3+ with ResNetV1c or V1d (.pth) into a checkpoint. No code inside the file is executed.",
    )
    parser.add_argument("source", metavar="FILE", help="path or URL of the trained model")
    parser.add_argument("--output", required=True, metavar="FILE.ckpt")
    parser.add_argument(
        "--classes",
        metavar="NAME",
        help=f"{', '.join(sorted(CLASS_SETS))}, a list such as road,tree,car, or a YAML file with names, palette and "
        "ignore_index; default: the classes that mmsegmentation stored in the file",
    )
    parser.add_argument(
        "--output-stride",
        type=int,
        choices=OUTPUT_STRIDES,
        help="output stride of the backbone; default: that stored in the file, else 8 as published",
    )
    parser.add_argument(
        "--multi-grid",
        metavar="1,2,4|none",
        help="with the meaning of the original project: factors on the last stage's dilation (PaddleSeg, published "
        "with 1,2,4) or the dilations of its blocks (mmsegmentation; default: those stored in the file, else none)",
    )
    parser.add_argument("--align-corners", action="store_true", help="for models trained on 769 x 769 crops")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing checkpoint")
    return parser

"""Exports of ResNet_vd and DeepLabV3+ against their models: numerical errors and agreement.

    python benchmarks/export_parity.py

Random weights, 19 classes, the images of `segnet.workflows.export_proof`: four sizes, and batches of 1, 2 and 5. Needs
the extras onnx and openvino. Prints the worst size and the worst batch: the largest error relative to the largest
logit, and the fraction of pixels with the same class. Exit code 1 if an export would have been refused.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from predict_cpu import write_checkpoint

from segnet.choices import EXPORT_SUFFIXES, WEB
from segnet.cli import end_process
from segnet.cli.arguments import Parser
from segnet.errors import SegnetError
from segnet.workflows.export import export
from segnet.workflows.export_proof import SIZES, Comparison

LAYERS: dict[int, dict[str, Any]] = {
    18: {"block": "basic", "depths": [2, 2, 2, 2]},
    50: {"depths": [3, 4, 6, 3]},
    101: {"depths": [3, 4, 23, 3]},
}
FORMATS = [format for format in EXPORT_SUFFIXES if format != WEB]  # it is the ONNX file in a page


def main() -> int:
    """Export every model; return 0 if every export agrees."""
    parser = Parser(prog="export_parity.py", description="Exports against the models that they were made from.")
    parser.add_argument("--layers", type=int, nargs="+", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    options = parser.parse_args()
    print(f"torch {torch.__version__}\n{'':33s} four sizes{'':17s} batches of 1, 2 and 5")
    print(f"{'model':24s}{'format':10s}" + 2 * " largest error  same class")
    failures = 0
    for layers in options.layers:
        for output_stride in (16, 8):
            failures += compare(layers, output_stride, options.formats)
    return 1 if failures else 0


def compare(layers: int, output_stride: int, formats: list[str]) -> int:
    """Print a line per format; return the number of failures."""
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "model.ckpt"
        write_checkpoint(checkpoint, LAYERS[layers], output_stride)
        for format in formats:
            found: list[Any] = []
            name = f"resnet{layers}_vd, stride {output_stride}"
            try:
                export(checkpoint, format, Path(folder) / f"model{EXPORT_SUFFIXES[format]}", "logits", found.append)
            except SegnetError as error:
                print(f"{name:24s}{format:10s} {error}")
                failures += 1
                continue
            sizes, batches = found[: len(SIZES)], found[len(SIZES) :]
            print(f"{name:24s}{format:10s}{worst(sizes)}{worst(batches)}", flush=True)
    return failures


def worst(comparisons: Sequence[Comparison]) -> str:
    """Two columns: the largest error relative to the largest logit, and the smallest agreement."""
    error = max((it.error or 0) / it.largest for it in comparisons)
    return f" {error:13.1e}  {100 * min(it.agreement for it in comparisons):9.4f}%"


if __name__ == "__main__":
    end_process(main)

"""`segnet.export`."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from segnet.cli.arguments import python_names
from segnet.errors import ConfigError
from segnet.inference.ensemble import StrPath
from segnet.models.metadata import Metadata


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported model.

    Attributes:
        path: the file, or the folder of format safetensors.
        metadata: metadata stored in the file: classes, channels, output.
        comparisons: one line per image size at which export and checkpoint were compared, and for `int8`.
    """

    path: Path
    metadata: Metadata = field(repr=False)
    comparisons: tuple[str, ...]


def export(
    checkpoint: StrPath,
    format: str = "onnx",
    output: StrPath | None = None,
    *,
    output_kind: str = "logits",
    int8: bool = False,
    calibrate: StrPath | None = None,
    dataset: str | None = None,
    calibration_images: int = 64,
    runtime: StrPath | None = None,
    overwrite: bool = False,
) -> Exported:
    """Export a checkpoint to another runtime, like `segnet export`.

    The export is verified in its runtime: it is kept only if its outputs match those of the checkpoint.

    Args:
        checkpoint: path of a segnet checkpoint, or the name of a published model.
        format: "onnx", "openvino", "pt2", "safetensors" or "web".
        output: path to write; None: next to the checkpoint.
        output_kind: "logits", or "classes" for class ids.
        int8: whether to quantize weights and activations to 8 bits (onnx, openvino); needs `calibrate`.
        calibrate: root of a dataset for int8: train gives the value ranges, val the mIoU.
        dataset: layout of `calibrate`; None: folder.
        calibration_images: number of calibration images.
        runtime: folder of the npm package onnxruntime-web for "web", or "cdn"; None: that of node_modules.
        overwrite: whether to replace an existing file.

    Raises:
        ConfigError: incompatible options, a model that the format cannot hold, or the output exists.
        CheckpointError: the checkpoint cannot be used, or the outputs of the export differ.
        MachineError: a package is not installed, or the file cannot be written.
    """
    from segnet.cli.export import ONE_MODEL, build_parser, exported, output_path

    if not isinstance(checkpoint, str | os.PathLike):
        raise ConfigError(f"export: checkpoint={checkpoint!r}: {ONE_MODEL}")
    words = [f"--format={format}", f"--output-kind={output_kind}", f"--calibration-images={calibration_images}"]
    words += [f"--{name}" for name, wanted in (("int8", int8), ("overwrite", overwrite)) if wanted]
    for name, value in (("output", output), ("calibrate", calibrate), ("dataset", dataset), ("runtime", runtime)):
        if value is not None:
            words.append(f"--{name}={os.fspath(value)}")
    comparisons: list[str] = []
    source = Path(os.path.expanduser(checkpoint))
    with python_names():
        options = build_parser().parse_args(words)
        path = output_path(options, source)
        metadata = exported(options, source, path, lambda line: comparisons.append(str(line)))
    return Exported(path, metadata, tuple(comparisons))

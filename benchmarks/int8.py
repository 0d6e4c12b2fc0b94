"""8 bits on a CPU: speed, agreement with float32 and val mIoU of a checkpoint, in each runtime and precision.

    segnet train experiment=camvid_resnet18_vd dataset.root=CAMVID hydra.run.dir=run
    python benchmarks/int8.py run/best.ckpt --dataset camvid --root CAMVID --nncf nncf-env/bin/python

segnet needs the extras onnx and openvino. The models are those of `segnet export`, with and without --int8, and one
more whose depthwise, first and last convolutions keep float32. `--nncf` adds the post-training quantization of NNCF
with the same calibration images, run by OpenVINO too. It has its own environment, because segnet does not need it:

    python3.11 -m venv nncf-env
    nncf-env/bin/pip install -c constraints.txt nncf openvino

Everything runs in one process with one thread, in turn. The script prints for each model:

* the shortest CPU time of one image, and the speed as a ratio to float32 in OpenVINO,
* the fraction of pixels with the class of float32 in OpenVINO, over every k-th val image,
* the mIoU of all val images.
"""

import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from side_by_side import machine, times

from segnet.cli import end_process
from segnet.cli.arguments import Parser
from segnet.exporters import exportable, metadata_of
from segnet.exporters.onnx import INPUT
from segnet.exporters.openvino import convert_onnx, export_openvino
from segnet.inference.decisions import decision_of
from segnet.inference.runtimes import Runtime, open_runtime
from segnet.inference.runtimes.cache import file_digest
from segnet.models.checkpoint import load_checkpoint
from segnet.models.metadata import Metadata
from segnet.system.machine import cpu_has_bf16
from segnet.training.metrics import percent
from segnet.workflows.quantize import Calibration, quantize

CPU = torch.device("cpu")
EXACT = "OpenVINO float32"
PRESETS = ("performance", "mixed")  # of NNCF: symmetric ranges of activations, and asymmetric ones
NNCF = """
import sys
import nncf
import numpy as np
import openvino
model, images, output, preset = sys.argv[1:]
images = list(np.load(images).values())
model = openvino.Core().read_model(model)
model = nncf.quantize(model, nncf.Dataset(images), preset=nncf.QuantizationPreset(preset), subset_size=len(images))
openvino.save_model(model, output, compress_to_fp16=False)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = Parser(prog="int8.py", description="8 bits on a CPU: speed, agreement and mIoU.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--dataset", default="folder", help="layout of the dataset; default: folder")
    parser.add_argument("--root", metavar="FOLDER", help="root of the dataset; train calibrates, val is measured")
    parser.add_argument("--calibration-images", type=int, default=16, metavar="N", help="default: 16")
    parser.add_argument(
        "--every", type=int, default=8, metavar="K", help="agreement of every K-th val image; default: 8"
    )
    parser.add_argument("--size", type=int, nargs=2, default=[512, 512], metavar=("H", "W"), help="of the timed image")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--nncf", metavar="PYTHON", help="Python of an environment with NNCF and OpenVINO")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        calibration, files = written(options, Path(folder))
        runs = opened(files)
        print(f"{machine(CPU)}; {calibration.num_images} calibration images, CPU time of one thread")
        measure(runs, calibration, options)
    return 0


def measure(runs: Mapping[str, Runtime], calibration: Calibration, options: Any) -> None:
    """Print a line per model."""
    shape = 1, runs[EXACT].channels, *options.size
    image = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    taken = times({name: partial(run, image) for name, run in runs.items()}, options.repeats, CPU, time.process_time)
    for name, run in runs.items():
        shortest, exact = min(taken[name]), min(taken[EXACT])
        same = agreement(run, runs[EXACT], calibration, options.every)
        print(
            f"{name:36s} {1000 * shortest:7.1f} ms {exact / shortest:6.2f}x   "
            f"{100 * same:6.2f}% same class   mIoU {percent(calibration.measure(run))}"
        )


def written(options: Any, folder: Path) -> tuple[Calibration, dict[str, Path]]:
    """Export and quantize the checkpoint; return the calibration images and the files by title."""
    model, classes = load_checkpoint(options.checkpoint)
    kind = "uint8" if model.in_channels == 3 else "float32"
    metadata = metadata_of(model, classes, kind, "logits", file_digest(options.checkpoint))
    calibration = Calibration.open(options.dataset, options.root, classes, options.calibration_images)
    for samples in (calibration.images, calibration.val):
        samples.take_value_range(metadata.value_range, options.checkpoint)
    files = {name: folder / f"{name.replace(' ', '-')}.onnx" for name in ("float32", "int8", "int8, parts in float32")}
    exact, all_layers, parts = files.values()
    export_openvino(exportable(model, metadata), metadata, exact.with_suffix(".xml"), exact)
    quantize(exact, all_layers, calibration, kind)
    quantize(exact, parts, calibration, kind, sensitive)
    for file in (all_layers, parts):
        convert_onnx(file, file.with_suffix(".xml"))
    rows = {f"OpenVINO {name}": file.with_suffix(".xml") for name, file in files.items()}
    if options.nncf:
        rows |= quantized_by_nncf(options.nncf, exact, calibration, metadata)
    return calibration, rows | {"onnxruntime float32": exact, "onnxruntime int8": all_layers}


def sensitive(graph: Any) -> list[str]:
    """Names of an ONNX graph's depthwise convolutions, and of its first and its last convolution."""
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    grouped = [node for node in convolutions if any(it.name == "group" and it.i > 1 for it in node.attribute)]
    return list(dict.fromkeys(node.name for node in (convolutions[0], *grouped, convolutions[-1])))


def quantized_by_nncf(python: str, model: Path, calibration: Calibration, metadata: Metadata) -> dict[str, Path]:
    """Quantize an ONNX file by NNCF, once for each preset; return the OpenVINO files by title."""
    images, raw = model.with_suffix(".npz"), model.with_name("nncf.xml")
    np.savez(images, *(batch[INPUT] for batch in calibration.batches(metadata.input)))
    files = {}
    for preset in PRESETS:
        output = model.with_name(f"nncf-{preset}.xml")
        command = [python, "-c", NNCF, str(model), str(images), str(raw), preset]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise SystemExit(f"{python} failed:\n{result.stderr}")
        convert_onnx(raw, output)  # with a digest of the new file
        files[f"OpenVINO int8 of NNCF, {preset}"] = output
    return files


def opened(files: Mapping[str, Path]) -> dict[str, Runtime]:
    """Open the models, and the exact one in bf16 too if the CPU has it."""
    runs: dict[str, Runtime] = {}
    for name, path in files.items():
        runs[name] = open_runtime(path, "cpu", name.split()[0].lower())
        if name == EXACT and cpu_has_bf16():
            runs["OpenVINO bf16"] = open_runtime(path, "cpu", "openvino", "bf16")
    return runs


def agreement(run: Runtime, exact: Runtime, calibration: Calibration, every: int) -> float:
    """The fraction of pixels of every k-th val image with the same class, 0-1."""
    decision, fractions = decision_of(exact.classes), []
    for index in range(0, len(calibration.val), every):
        image = torch.from_numpy(np.ascontiguousarray(calibration.val.load(index).image.transpose(2, 0, 1)))[None]
        masks = [decision.masks(decision.scores(each(image))) for each in (run, exact)]
        fractions.append((masks[0] == masks[1]).double().mean().item())
    return sum(fractions) / len(fractions)


if __name__ == "__main__":
    end_process(main)

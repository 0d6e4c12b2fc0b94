"""Prediction on a CPU: segnet's runtimes against segmentation_models.pytorch's DeepLabV3+ in eager float32.

    python benchmarks/predict_cpu.py --peer peer-env/bin/python

`benchmarks/peer.py` says how to create the peer's environment; segnet needs the extras onnx and openvino. Both models
are DeepLabV3+ on a ResNet-50-d with random weights and 19 classes. They take one uint8 image and return logits of its
size. The decoders differ (smp's rates, one separable convolution less), so weights cannot be shared. Before the timing,
segnet's runtimes are compared with its eager model; only the output shape of the peer is checked.

Each round runs everything once, one after the other, in two processes that wait for each other. The script prints the
median time, and the median over rounds of peer time / time.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peer import NUM_CLASSES, Peer
from side_by_side import ceilings, machine
from torch import Tensor
from torch.nn import functional

from segnet.classes import Classes
from segnet.cli import end_process
from segnet.cli.arguments import Parser
from segnet.errors import SegnetError
from segnet.inference.runtimes import open_runtime
from segnet.models.checkpoint import load_checkpoint, save_checkpoint
from segnet.models.segmentation_model import SegmentationModel
from segnet.system.machine import cpu_has_bf16

SIZES = ((512, 512), (512, 1024), (1024, 1024))
ENCODERS = {
    "resnet50_vd": ("tu-resnet50d", {"depths": [3, 4, 6, 3]}),
    "resnet101_vd": ("tu-resnet101d", {"depths": [3, 4, 23, 3]}),
}
OURS = (
    ("torch", "float32"),
    ("onnxruntime", "float32"),
    ("openvino", "float32"),
    ("torch", "bf16"),
    ("openvino", "bf16"),
)
CPU = torch.device("cpu")
PAUSE = 0.05  # lets the threads of the previous run go to sleep [seconds]


def main() -> int:
    """Print a table for each stride and size."""
    parser = Parser(prog="predict_cpu.py", description="segnet on a CPU against segmentation_models.pytorch.")
    parser.add_argument("--peer", required=True, metavar="PYTHON", help="Python of the peer's environment")
    parser.add_argument("--backbone", choices=ENCODERS, default="resnet50_vd")
    parser.add_argument("--output-strides", type=int, nargs="+", default=[16, 8])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, help="threads of segnet; for the peer set OMP_NUM_THREADS")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    with Peer(options.peer) as peer, tempfile.TemporaryDirectory() as folder:
        print(f"{machine(CPU)}; peer: {peer.versions}")
        for dtype in (torch.float32, torch.bfloat16) if cpu_has_bf16() else (torch.float32,):
            print(ceilings(CPU, dtype))
        for output_stride in options.output_strides:
            checkpoint = Path(folder) / f"{options.backbone}-{output_stride}.ckpt"
            write_checkpoint(checkpoint, ENCODERS[options.backbone][1], output_stride)
            runs = open_all(checkpoint)
            for size in SIZES:
                print(f"\n{options.backbone}, output stride {output_stride}, {size[0]} x {size[1]}")
                compare_outputs(checkpoint, runs, size)
                measure(
                    runs, partial(peer.run, ENCODERS[options.backbone][0], output_stride, *size), size, options.rounds
                )
    return 0


def write_checkpoint(path: Path, backbone: Mapping[str, Any], output_stride: int) -> None:
    """Write a checkpoint with random weights."""
    torch.manual_seed(0)
    spec: dict[str, Any] = {
        "backbone": {"name": "resnet", **backbone, "output_stride": output_stride},
        "decoder": {"name": "deeplabv3plus", "output_stride": output_stride},
        "num_classes": NUM_CLASSES,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    model = SegmentationModel(**spec)
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    classes = Classes.create([f"class {index}" for index in range(NUM_CLASSES)]).to_dict()
    save_checkpoint({"state_dict": weights, "hyper_parameters": {"model": spec, "classes": classes}}, path)


def open_all(checkpoint: Path) -> dict[str, Callable[[Tensor], Tensor]]:
    """Open the runtimes that are installed, and print how long each takes."""
    runs: dict[str, Callable[[Tensor], Tensor]] = {}
    for name, precision in OURS:
        if precision == "bf16" and not cpu_has_bf16():
            print(f"{name} bf16: left out, this CPU has no bf16 instructions")
            continue
        start = time.perf_counter()
        try:
            runs[f"{name} {precision}"] = open_runtime(checkpoint, "cpu", name, precision)
        except SegnetError as error:
            print(f"{name} {precision}: left out, {error}")
            continue
        print(f"{name} {precision}: opened in {time.perf_counter() - start:.1f} s")
    return runs


def compare_outputs(checkpoint: Path, runs: Mapping[str, Callable[[Tensor], Tensor]], size: tuple[int, int]) -> None:
    """Compare classes and logits of the runtimes with the eager model."""
    coarse = 255 * torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))  # smooth regions, as in a photo
    image = functional.interpolate(coarse, size=size, mode="bilinear").to(torch.uint8)
    with torch.inference_mode():
        expected = load_checkpoint(checkpoint)[0](image)
    for name, run in runs.items():
        logits = run(image)
        agreement = (logits.argmax(dim=1) == expected.argmax(dim=1)).double().mean().item()
        error = ((logits - expected).abs().max() / expected.abs().max()).item()
        print(f"  {name:22s} argmax agreement {100 * agreement:7.3f}%, largest error {error:.1e} of the largest logit")


def measure(
    runs: Mapping[str, Callable[[Tensor], Tensor]], run_peer: Callable[[], float], size: tuple[int, int], rounds: int
) -> None:
    """Time all runtimes in turn, and print the medians."""
    image = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
    seconds: dict[str, list[float]] = {name: [] for name in ("smp eager", *runs)}
    for round_ in range(-2, rounds):  # two warm-up rounds
        time.sleep(PAUSE)
        taken = {"smp eager": run_peer()}
        for name, run in runs.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            run(image)
            taken[name] = time.perf_counter() - start
        if round_ >= 0:
            for name, value in taken.items():
                seconds[name].append(value)
    for name, values in seconds.items():
        ratio = statistics.median(peer / ours for peer, ours in zip(seconds["smp eager"], values, strict=True))
        print(f"  {name:22s} {1000 * statistics.median(values):7.0f} ms   {ratio:5.2f}x")


if __name__ == "__main__":
    end_process(main)

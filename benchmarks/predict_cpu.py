"""Prediction on a CPU: segnet's runtimes against segmentation_models.pytorch's DeepLabV3+ in the same runtimes.

    python benchmarks/predict_cpu.py --peer peer-env/bin/python --output-strides 16 --sizes 512x512 --seconds 100
    python benchmarks/predict_cpu.py --peer peer-env/bin/python --output-strides 16 --sizes 512x512 --cpu-time

`benchmarks/peer.py` says how to create the peer's environment, and how it exports its model. segnet needs the extras
onnx and openvino. Both models are DeepLabV3+ on a ResNet-50-d with random weights and 19 classes. They take one uint8
image and return logits of its size. The decoders differ (smp's rates, one separable convolution less), so weights
cannot be shared. Before the timing, segnet's runtimes are compared with its eager model; only the output shape of the
peer is checked.

Each round runs everything once, and a large convolution, one after the other in two processes that wait for each other.
The script prints medians over the rounds:

* the time,
* the speed as a ratio to smp in eager mode, and to smp's own export in the same runtime,
* the speed in floating point operations per second, as a fraction of that of the large convolution.

With --cpu-time everything has one thread, and the numbers are the shortest CPU times of the processes and their ratios.
They depend less on what else the machine does.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peer import NUM_CLASSES, WAYS, Peer
from side_by_side import LargeConvolution, ceilings, machine
from torch import Tensor
from torch.nn import functional

from segnet.classes import Classes
from segnet.cli import end_process
from segnet.cli.arguments import Parser
from segnet.errors import SegnetError
from segnet.inference.runtimes import open_runtime
from segnet.models.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from segnet.models.segmentation_model import SegmentationModel
from segnet.system.machine import cpu_has_bf16
from segnet.workflows.benchmark import count

SIZES = ("512x512", "512x1024", "1024x1024")
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
WARM_UP = 2  # rounds
CONVOLUTION = "large convolution"


@dataclass(frozen=True, slots=True)
class Way:
    """A way to predict.

    Attributes:
        run: predicts one image; returns the seconds that it took.
        flops: floating point operations of its convolutions.
        rival: name of the rival in the same runtime; None: it is a rival itself.
    """

    run: Callable[[], float]
    flops: float
    rival: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table for each stride and size."""
    parser = Parser(prog="predict_cpu.py", description="segnet on a CPU against segmentation_models.pytorch.")
    parser.add_argument("--peer", required=True, metavar="PYTHON", help="Python of the peer's environment")
    parser.add_argument("--backbone", choices=ENCODERS, default="resnet50_vd")
    parser.add_argument("--output-strides", type=int, nargs="+", default=[16, 8])
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="HxW", help="sizes of the image [pixels]")
    parser.add_argument("--precisions", nargs="+", choices=("float32", "bf16"), default=["float32", "bf16"])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, help="time for the rounds of a table, instead of --rounds")
    parser.add_argument("--threads", type=int, help="threads of segnet and of the peer")
    parser.add_argument("--cpu-time", action="store_true", help="shortest CPU times of one thread, not median times")
    options = parser.parse_args(arguments)
    if options.cpu_time and options.threads not in (None, 1):
        parser.error(f"--cpu-time measures one thread: leave out --threads {options.threads}")
    threads = 1 if options.cpu_time else options.threads
    if threads:
        torch.set_num_threads(threads)
    clock = time.process_time if options.cpu_time else time.perf_counter
    encoder, backbone = ENCODERS[options.backbone]
    with Peer(options.peer, threads, cpu_time=options.cpu_time) as peer, tempfile.TemporaryDirectory() as folder:
        print(f"{machine(CPU)}; peer: {peer.versions}")
        for dtype in (torch.float32, torch.bfloat16) if cpu_has_bf16() else (torch.float32,):
            print(ceilings(CPU, dtype, clock))
        for output_stride in options.output_strides:
            checkpoint = Path(folder) / f"{options.backbone}-{output_stride}.ckpt"
            write_checkpoint(checkpoint, backbone, output_stride)
            runs = open_all(checkpoint, options.precisions)
            for text in options.sizes:
                height, width = map(int, text.split("x"))
                print(f"\n{options.backbone}, output stride {output_stride}, {height} x {width}")
                compare_outputs(checkpoint, runs, (height, width))
                ask = partial(peer.run, encoder=encoder, output_stride=output_stride, height=height, width=width)
                ways = {f"smp {way}": Way(partial(ask, way), ask("flops")) for way in WAYS}
                ways |= our_ways(checkpoint, runs, (height, width), clock)
                measure(ways, options.rounds, options.seconds, shortest=options.cpu_time)
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


def open_all(checkpoint: Path, precisions: Collection[str]) -> dict[str, Callable[[Tensor], Tensor]]:
    """Open the runtimes that are installed in some precisions, and print how long each takes."""
    runs: dict[str, Callable[[Tensor], Tensor]] = {}
    for name, precision in OURS:
        if precision not in precisions:
            continue
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


def our_ways(
    checkpoint: Path,
    runs: Mapping[str, Callable[[Tensor], Tensor]],
    size: tuple[int, int],
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Way]:
    """The runtimes of segnet, and the large convolution; `clock` returns seconds."""
    flops = 2 * count(read_checkpoint(checkpoint)["hyper_parameters"]["model"], list(size))[1]
    image = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
    ways = {}
    for name, run in runs.items():
        rival = f"smp {name.split()[0].replace('torch', 'eager')}"
        ways[name] = Way(partial(timed, partial(run, image), clock), flops, rival)
    large = LargeConvolution(CPU, torch.float32)
    return ways | {CONVOLUTION: Way(partial(timed, large, clock), large.flops)}


def timed(run: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds of one call."""
    start = clock()
    run()
    return clock() - start


def measure(ways: Mapping[str, Way], rounds: int, limit: float | None = None, *, shortest: bool = False) -> None:
    """Time all ways in turn, and print the medians.

    Args:
        rounds: rounds after the warm-up.
        limit: time for the rounds, which replaces their number [seconds]; None: as many as `rounds`.
        shortest: print the shortest times and their ratios, not the medians of times and of each round's ratios.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    round_ = -WARM_UP  # the first run of each exports the peer's model
    while round_ < rounds:
        start = time.perf_counter()
        for name, way in ways.items():
            time.sleep(PAUSE)
            taken = way.run()
            if round_ >= 0:
                seconds[name].append(taken)
        round_ += 1
        if round_ == 0 and limit:
            rounds = max(1, int(limit / (time.perf_counter() - start)))
            print(f"  {rounds} rounds fit into {limit:g} s")
    if shortest:
        seconds = {name: [min(values)] for name, values in seconds.items()}
    for name, way in ways.items():
        flops = way.flops / ways[CONVOLUTION].flops * speed(seconds, name, CONVOLUTION)  # per second
        same = f"{speed(seconds, name, way.rival):5.2f}x {way.rival}" if way.rival else ""
        print(
            f"  {name:22s} {1000 * statistics.median(seconds[name]):7.0f} ms   "
            f"{speed(seconds, name, 'smp eager'):5.2f}x smp eager   {way.flops / 1e9:6.1f} GFLOP, "
            f"{100 * flops:5.1f}% of the convolution   {same}".rstrip()
        )


def speed(seconds: Mapping[str, list[float]], name: str, rival: str) -> float:
    """Median over the rounds of the rival's time / the time."""
    return statistics.median(a / b for a, b in zip(seconds[rival], seconds[name], strict=True))


if __name__ == "__main__":
    end_process(main)

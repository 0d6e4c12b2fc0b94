"""Prediction and its parts on a GPU, against segmentation_models.pytorch's DeepLabV3+ in the same process.

    peers/bin/python benchmarks/predict_gpu.py                        # the environment of benchmarks/train_step.py
    python benchmarks/predict_gpu.py --device cpu --sizes 64x96 --batches 1 2 --precision 32 --repeats 2    # a check

Three questions, each with its own table:

* network: images per second of eager torch, torch.compile, and CUDA graphs (torch.compile's mode reduce-overhead), with
  and without separable convolutions in the decoder; batches are on the device. The peer runs eagerly and compiled.
* depthwise: a dilated depthwise convolution with torch's kernel, and as the sum of shifted products.
* waits: how often a training step and an update of the confusion matrix make the host wait for the GPU. It should be
  never: torch's synchronization warnings are counted.

Without segmentation_models.pytorch its rows are left out.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec

import torch
from side_by_side import ceilings, machine, ratio, times
from torch import Tensor, nn
from train_step import Case, batch, ours, peer

from segnet.cli import end_process
from segnet.cli.arguments import Parser
from segnet.models.depthwise import ShiftedProducts
from segnet.models.segmentation_model import SegmentationModel
from segnet.system.machine import usable_precision
from segnet.training.metrics import ConfusionMatrix

SIZES = ["512x512", "1024x1024", "1024x2048"]
DEPTHS = {50: [3, 4, 6, 3], 101: [3, 4, 23, 3]}
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
MODES = {"eager": None, "compiled": "default", "CUDA graphs": "reduce-overhead"}
NUM_CLASSES = 19

Way = Callable[[], object]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = Parser(prog="predict_gpu.py", description="Prediction on a GPU against segmentation_models.pytorch.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", default="bf16", choices=["32", "bf16", "fp16"])
    parser.add_argument("--depth", type=int, default=50, choices=DEPTHS)
    parser.add_argument("--output-stride", type=int, default=16, choices=[8, 16])
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="HEIGHTxWIDTH")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    dtype = {"32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[
        usable_precision(options.precision, device.type)
    ]
    modes = [mode for mode in options.modes if device.type == "cuda" or mode != "CUDA graphs"]
    print(machine(device))
    print(ceilings(device, dtype))
    networks: dict[str, nn.Module] = {
        f"segnet, separable={value}": segnet(options.depth, options.output_stride, value == "true")
        for value in ("true", "false")
    }
    if find_spec("segmentation_models_pytorch"):
        case = Case(options.depth, options.output_stride, 64, 1, NUM_CLASSES)
        networks = {"smp": peer(case, torch.device("cpu"), torch.float32)[0], **networks}
    for size in options.sizes:
        height, width = map(int, size.split("x"))
        for number in options.batches:
            images = torch.randint(0, 256, (number, 3, height, width), dtype=torch.uint8, device=device)
            ways = {
                f"{name}, {mode}": prediction(network.to(device), images, dtype, MODES[mode])
                for name, network in networks.items()
                for mode in modes
            }
            report(f"network, {number} x {height} x {width}", ways, number, options.repeats, device)
    channels, side = 256, int(options.sizes[0].split("x")[0]) // options.output_stride
    for dilation in (6, 12, 18):
        ways = depthwise(torch.randn(1, channels, side, side, device=device, dtype=dtype), dilation)
        report(f"depthwise, {channels} x {side} x {side}, dilation {dilation}", ways, 1, options.repeats, device)
    crop = min(512, int(options.sizes[0].split("x")[0]))
    for name, count in waits(Case(options.depth, options.output_stride, crop, 2, NUM_CLASSES), device, dtype).items():
        print(f"waits of {name}: {'not known on a CPU' if count is None else count}")
    return 0


def segnet(depth: int, output_stride: int, separable: bool) -> SegmentationModel:
    """Build a network with random weights."""
    torch.manual_seed(0)
    spec = {"name": "resnet", "depths": DEPTHS[depth], "output_stride": output_stride}
    decoder = {"name": "deeplabv3plus", "output_stride": output_stride, "separable": separable}
    return SegmentationModel(backbone=spec, decoder=decoder, num_classes=NUM_CLASSES, mean=MEAN, std=STD)


def prediction(network: nn.Module, images: Tensor, dtype: torch.dtype, mode: str | None) -> Way:
    """Return a function that maps images to class ids; `mode` is torch.compile's, None runs eagerly.

    The peer gets what its documentation asks for, normalized float images; both take the argmax of logits of full size.
    """
    network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    is_peer = not isinstance(network, SegmentationModel)
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (MEAN, STD))

    def classes(images: Tensor) -> Tensor:
        given = (images / 255 - mean) / std if is_peer else images
        result: Tensor = network(given).argmax(1).to(torch.uint8)
        return result

    run = classes if mode is None else torch.compile(classes, mode=mode, dynamic=False)

    def way() -> Tensor:
        with torch.inference_mode(), torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
            result: Tensor = run(images)
        return result

    return way


def depthwise(features: Tensor, dilation: int) -> dict[str, Way]:
    """Return both ways of a dilated depthwise 3x3 convolution, which must agree."""
    features = features.to(memory_format=torch.channels_last)
    channels = features.shape[1]
    conv = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels, bias=False)
    conv = conv.to(features.device, features.dtype)
    ways: dict[str, Way] = {
        "torch's kernel": partial(conv, features),
        "shifted products": partial(ShiftedProducts.apply, features, conv.weight, None, conv.dilation),
    }
    ways = {name: torch.no_grad()(way) for name, way in ways.items()}
    torch.testing.assert_close(ways["shifted products"](), ways["torch's kernel"](), rtol=2e-2, atol=2e-2)
    return ways


def waits(case: Case, device: torch.device, dtype: torch.dtype) -> dict[str, int | None]:
    """Count how often the host waits for the GPU, after one run of each; None on a CPU, where the parts only run."""
    _, step = ours(case, device, dtype, compiled=False)
    _, masks = batch(case, device)
    matrix = ConfusionMatrix(NUM_CLASSES, 255).to(device)
    ways: dict[str, Way] = {"a training step": step}
    ways["an update of the confusion matrix"] = lambda: matrix.update(masks, masks)
    found: dict[str, int | None] = {}
    for name, way in ways.items():
        way()
        if device.type != "cuda":
            found[name] = None
            continue
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            way()
            torch.cuda.set_sync_debug_mode("default")
        found[name] = sum("synchroniz" in str(warning.message) for warning in seen)
    return found


def report(title: str, ways: dict[str, Way], number: int, repeats: int, device: torch.device) -> None:
    """Time the ways in turn, and print images per second and the ratio to the first way."""
    taken = times(ways, repeats, device)
    first = next(iter(taken.values()))
    print(f"\n{title}")
    for name, values in taken.items():
        print(f"  {name:32} {number / sorted(values)[len(values) // 2]:9.2f}/s, ratio {ratio(first, values):.2f}")


if __name__ == "__main__":
    end_process(main)

"""What context blocks, squeeze-and-excitation and deformable convolutions cost, beside the plain ResNet.

    python benchmarks/backbone_options.py [--size 256] [--batch-size 2] [--repeats 5]

DeepLabV3+ at output stride 16, 19 classes, one thread. The variants take turns, and times are CPU seconds, so other
work on the machine counts little. Memory is what training keeps for the backward pass.
"""

import argparse
import statistics
import time
from typing import Any

import torch
from torch import Tensor

from segnet.models.segmentation_model import SegmentationModel
from segnet.workflows.benchmark import count

LATE = [False, True, True, True]
NETWORKS: dict[str, tuple[str, list[int], str]] = {
    "resnet18_vd": ("basic", [2, 2, 2, 2], "after_conv2"),
    "resnet50_vd": ("bottleneck", [3, 4, 6, 3], "after_conv3"),
}


def variants(position: str) -> dict[str, dict[str, Any]]:
    """Options of the backbone by name of the variant."""
    return {
        "plain": {},
        "context": {"plugins": [{"name": "context", "position": position, "stages": LATE}]},
        "squeeze_excite": {"plugins": [{"name": "squeeze_excite", "position": position}]},
        "deformable": {"deformable_stages": LATE},
    }


def kept_for_backward(model: SegmentationModel, images: Tensor) -> int:
    """Bytes of the tensors that a training step keeps, each storage once, without the weights."""
    kept: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = model(images).square().mean()
    del loss
    return sum(kept.values())


def seconds_of(model: SegmentationModel, images: Tensor, training: bool) -> float:
    """CPU seconds of one training step without its update, or of one prediction."""
    model.train(training)
    start = time.process_time()
    with torch.set_grad_enabled(training):
        logits = model(images)
        if training:
            logits.square().mean().backward()
    return time.process_time() - start


def measure(name: str, size: int, batch_size: int, repeats: int) -> None:
    """Print a row for each variant of a network."""
    block, depths, position = NETWORKS[name]
    images = torch.randint(0, 256, (batch_size, 3, size, size), dtype=torch.uint8)
    specs: dict[str, dict[str, Any]] = {
        variant: {
            "backbone": {"name": "resnet", "block": block, "depths": depths, "output_stride": 16, **options},
            "decoder": {"name": "deeplabv3plus", "output_stride": 16},
            "num_classes": 19,
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
        }
        for variant, options in variants(position).items()
    }
    models = {variant: SegmentationModel(**spec) for variant, spec in specs.items()}
    for model in models.values():
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    times: dict[tuple[str, bool], list[float]] = {}
    for repeat in range(repeats + 1):
        for variant, model in models.items():
            for training in (True, False):
                seconds = seconds_of(model, images, training)
                if repeat:  # the first one chooses algorithms
                    times.setdefault((variant, training), []).append(seconds)
    plain = {training: statistics.median(times["plain", training]) for training in (True, False)}
    memory = {variant: kept_for_backward(model.train(), images) for variant, model in models.items()}
    for variant, spec in specs.items():
        parameters, macs = count(spec, [size, size])
        ratios = [statistics.median(times[variant, training]) / plain[training] for training in (True, False)]
        print(
            f"| {name} | {variant} | {parameters / 1e6:.2f} | {macs / 1e9:.2f} | {ratios[0]:.2f} | {ratios[1]:.2f} | "
            f"{memory[variant] / memory['plain']:.2f} |",
            flush=True,
        )
    print(
        f"{name} plain: {plain[True]:.2f} s training step, {plain[False]:.2f} s prediction, "
        f"{memory['plain'] / 2**20:.0f} MiB kept",
        flush=True,
    )


def main() -> None:
    """Read the options and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="side of the images [pixels]")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| network | variant | parameters [M] | GMACs | training x | prediction x | memory x |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in NETWORKS:
        measure(name, arguments.size, arguments.batch_size, arguments.repeats)


if __name__ == "__main__":
    main()

"""A training step against segmentation_models.pytorch's DeepLabV3+ in a plain loop, side by side in one process.

    python3 -m venv peers
    peers/bin/pip install -c constraints.txt torch torchvision -e . segmentation-models-pytorch
    peers/bin/python benchmarks/train_step.py                                   # this machine's CPU
    peers/bin/python benchmarks/train_step.py --device cuda --precision bf16 --compile

The peer follows its documentation: smp.DeepLabV3Plus(encoder_name="tu-resnet50d"), torch's cross entropy, SGD with
momentum, batches of normalized float32 images. segnet's step is that of its task: uint8 images, its loss and optimizer.
Neither side runs under Lightning, and batches are already on the device. Both networks are a ResNet-d with a separable
DeepLabV3+ decoder of 256 channels. They differ in details, so parameters and operations are printed. The script first
checks, on segnet's logits, that segnet's loss equals the usual one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from side_by_side import ceilings, machine, ratio, times
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from segnet.cli import end_process
from segnet.cli.arguments import Parser
from segnet.cli.composition import composed
from segnet.config import Config
from segnet.errors import MachineError
from segnet.system.machine import usable_precision
from segnet.training.optim import build_optimizer, parameter_groups
from segnet.training.specs import complete_specs
from segnet.training.task import SegmentationTask

IGNORED = 255
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
CASES = {"cpu": ["50:16:256:4:19"], "cuda": ["50:16:512:16:19", "50:8:512:8:19", "101:16:768:8:19", "50:16:512:16:150"]}


@dataclass(frozen=True)
class Case:
    """A setting: ResNet depth, output stride, side of the crops [pixels], batch size, number of classes."""

    depth: int
    stride: int
    crop: int
    batch: int
    classes: int

    def __str__(self) -> str:
        return f"R{self.depth} OS{self.stride}, {self.batch} x {self.crop} x {self.crop}, {self.classes} classes"


Step = Callable[[], Tensor]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return exit code 1 if the losses differ."""
    parser = Parser(prog="train_step.py", description="A training step against segmentation_models.pytorch's.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="32", choices=["32", "bf16"], help="bf16: autocast, on both sides")
    parser.add_argument("--compile", action="store_true", help="also measure segnet with compile=true")
    parser.add_argument("--cases", nargs="+", metavar="DEPTH:STRIDE:CROP:BATCH:CLASSES")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    precision = usable_precision(options.precision, device.type)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    print(machine(device))
    print(ceilings(device, dtype))
    for text in options.cases or CASES[device.type]:
        case = Case(*map(int, text.split(":")))
        if not _same_loss(case, device):
            print(f"{case}: the losses differ")
            return 1
        print(f"\n{case}, {precision}")
        _compare(case, device, dtype, options.compile, options.repeats)
    return 0


def _compare(case: Case, device: torch.device, dtype: torch.dtype, compiled: bool, repeats: int) -> None:
    makers: dict[str, Callable[[], tuple[nn.Module, Step]]] = {
        "smp": lambda: peer(case, device, dtype),
        "segnet": lambda: ours(case, device, dtype, False),
    }
    if compiled:
        makers["segnet, compiled"] = lambda: ours(case, device, dtype, True)
    steps, peaks = {}, {}
    for name, maker in makers.items():
        module, step = maker()
        parameters = sum(p.numel() for p in module.parameters()) / 1e6
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module.eval()(torch.zeros(1, 3, case.crop, case.crop, device=device))
        module.train()
        peaks[name] = _peak(step, device)
        steps[name] = step
        print(f"  {name:17} {parameters:6.2f} M parameters, {counter.get_total_flops() / 2e9:7.2f} GMAC an image")
    taken = times(steps, repeats, device)
    for name, values in taken.items():
        speed = case.batch / sorted(values)[len(values) // 2]
        line = f"  {name:17} {speed:8.2f} images/s, ratio {ratio(taken['smp'], values):.2f}"
        if peaks[name]:
            line += f"; {peaks[name] / 2**30:6.2f} GiB at the peak, ratio {peaks[name] / peaks['smp']:.2f}"
        print(line)


def peer(case: Case, device: torch.device, dtype: torch.dtype) -> tuple[nn.Module, Step]:
    """segmentation_models.pytorch's network in a plain loop."""
    try:
        import segmentation_models_pytorch as smp
    except ImportError:
        raise MachineError("segmentation_models.pytorch is not installed: see this file's docstring") from None
    torch.manual_seed(0)
    model = smp.DeepLabV3Plus(
        encoder_name=f"tu-resnet{case.depth}d",
        encoder_weights=None,
        encoder_output_stride=case.stride,
        classes=case.classes,
    ).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss(ignore_index=IGNORED)
    images, masks = batch(case, device)
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (MEAN, STD))
    normalized, masks = (images - mean) / std, masks.long()

    def step() -> Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss: Tensor = criterion(model(normalized), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return model, step


def ours(case: Case, device: torch.device, dtype: torch.dtype, compiled: bool) -> tuple[nn.Module, Step]:
    """segnet's task, as its trainer runs it."""
    task = _task(case).to(device)
    if compiled:
        task.compile_network()
    optimizer = build_optimizer(parameter_groups(task, task.model.backbone, task.optim), task.optim)
    images, masks = batch(case, device)

    def step() -> Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss, _ = task.losses(images, masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return task, step


def _task(case: Case) -> SegmentationTask:
    torch.manual_seed(0)
    overrides = [f"backbone=resnet{case.depth}_vd", f"output_stride={case.stride}"]
    config = complete_specs(composed("train", Config, overrides))
    return SegmentationTask(
        model={
            "backbone": config.backbone,
            "decoder": config.decoder,
            "num_classes": case.classes,
            "mean": [value / 255 for value in MEAN],
            "std": [value / 255 for value in STD],
        },
        classes={
            "names": [f"class {index}" for index in range(case.classes)],
            "palette": [[index, index, index] for index in range(case.classes)],
            "ignore_index": IGNORED,
        },
        loss={"name": "cross_entropy"},
        optim={"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4},
    )


def batch(case: Case, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images of noise, and masks of 32 x 32 patches with a tenth of the pixels ignored."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (case.batch, 3, case.crop, case.crop), dtype=torch.uint8, generator=generator)
    side = -(-case.crop // 32)
    patches = torch.randint(0, case.classes, (case.batch, side, side), generator=generator)
    masks = patches.repeat_interleave(32, 1).repeat_interleave(32, 2)[:, : case.crop, : case.crop]
    ignored = torch.rand(masks.shape, generator=generator) < 0.1
    return images.to(device), masks.where(~ignored, IGNORED).to(torch.uint8).to(device)


def _same_loss(case: Case, device: torch.device) -> bool:
    """Whether segnet's loss and gradient equal those of resized logits with torch's cross entropy."""
    task = _task(case).to(device)
    small = Case(case.depth, case.stride, min(case.crop, 128), 2, case.classes)
    images, masks = batch(small, device)
    logits = task.model.decoder(task.model.encode(images)).detach().float().requires_grad_()
    found = task.loss(logits, masks)
    large = F.interpolate(logits, size=masks.shape[1:], mode="bilinear")
    usual = F.cross_entropy(large, masks.long(), ignore_index=IGNORED)
    (gradient,), (usual_gradient,) = torch.autograd.grad(found, logits), torch.autograd.grad(usual, logits)
    error = (gradient - usual_gradient).abs().max() / usual_gradient.abs().max()
    return bool((found - usual).abs() < 1e-5 * usual and error < 1e-4)


def _peak(step: Step, device: torch.device) -> int:
    """Peak memory of the device in two steps [bytes]; 0 on a CPU, where it is not measured."""
    if device.type != "cuda":
        step()
        return 0
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    step()
    torch.cuda.reset_peak_memory_stats(device)
    step()
    return torch.cuda.max_memory_allocated(device) - before


if __name__ == "__main__":
    end_process(main)

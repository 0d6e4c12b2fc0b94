"""ResNet_vd against timm's resnet*d with the same weights: equal at output stride 32, different by design at 16 and 8.

    python benchmarks/timm_parity.py                # random weights
    python benchmarks/timm_parity.py --pretrained   # timm's, from the hub

timm needs its own environment: it installs torchvision, whose build must match that of torch.

    python3.11 -m venv timm-env
    timm-env/bin/pip install -c constraints.txt torch -e ".[timm,hub]"
    timm-env/bin/python benchmarks/timm_parity.py

If torchvision is of another build than torch, `import timm` fails with "operator torchvision::nms does not exist". No
model here calls these operators, so the script declares them and continues.

Random weights: timm's initialization, with random scales and biases in the norms, and norm statistics measured on
noise. So every weight affects the result, and activations stay in the range of a trained network.

A difference is the largest difference of a feature over its largest absolute value. The table shows the worst over all
sizes for each of the four stages. At strides 16 and 8, four lines show where differences come from:

* the default,
* with `contract_dilation`, which gives the first block of a dilated stage half of the rate, as timm does,
* with timm's 2x2 average pool of stride 1 in the shortcuts of dilated stages, which PaddleSeg and segnet do not have,
* with both, which leaves no difference.

Exit code 1 if the last, or stride 32, exceeds 1e-5.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segnet.cli import end_process
from segnet.cli.arguments import Parser
from segnet.errors import MachineError
from segnet.models.backbones.resnet import ResNet
from segnet.models.backbones.resnet.blocks import Bottleneck
from segnet.models.backbones.timm import import_timm
from segnet.weights.load import load_backbone_weights, read_weights
from segnet.weights.names import Weights, recognize, split

DEPTHS = {50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3]}
SIZES = [(65, 97), (127, 63), (33, 161), (64, 96)]
TOLERANCE = 1e-5
# name, contract_dilation, timm's pools
VARIANTS = [
    ("ours", False, False),
    ("contract_dilation", True, False),
    ("timm's pool", False, True),
    ("contract_dilation, timm's pool", True, True),
]
HUB = "timm/resnet{}d.ra2_in1k"


class TimmPool(nn.Module):
    """timm's pool in the shortcut of a dilated stage: 2x2, stride 1, zero padding on the right and below."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (0, 1, 0, 1)), 2, stride=1)


def main() -> int:
    """Compare all depths; return 0 if everything that should be equal is."""
    parser = Parser(prog="timm_parity.py", description="ResNet_vd against timm's resnet*d.")
    parser.add_argument("--pretrained", action="store_true", help="timm's weights from the hub; default: random")
    parser.add_argument("--layers", type=int, nargs="*", choices=sorted(DEPTHS), default=sorted(DEPTHS))
    options = parser.parse_args()
    timm = declare_and_import_timm()
    print(f"timm {timm.__version__}, torch {torch.__version__}, sizes {', '.join(f'{h}x{w}' for h, w in SIZES)}")
    failures = 0
    for layers in options.layers:
        weights = read_weights(HUB.format(layers)) if options.pretrained else random_weights(timm, layers)
        weights = replace(weights, state=split(weights)[0])  # less the classifier
        print(f"\nresnet{layers}_vd and timm's resnet{layers}d, {weights.source}")
        print(f"  output stride  {'':32}  stage 1  stage 2  stage 3  stage 4")
        for output_stride in (32, 16, 8):
            failures += not compare(timm, layers, output_stride, weights)
    print("\nall as expected" if not failures else f"\n{failures} comparisons failed")
    return 1 if failures else 0


def declare_and_import_timm() -> ModuleType:
    """Import timm, even if torchvision is of another build than torch.

    Raises:
        MachineError: timm is not installed, or cannot be imported.
    """
    try:
        return import_timm()
    except MachineError as error:
        if "torchvision::nms" not in str(error):
            raise
    print("torchvision is of another build than torch: its operators are declared only")
    for name in ("nms", "qnms"):  # torchvision describes their shapes even if they are missing
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for name in [name for name in sys.modules if name.split(".")[0] in ("timm", "torchvision")]:
        del sys.modules[name]  # half imported
    return import_timm()


@torch.no_grad()
def random_weights(timm: ModuleType, layers: int) -> Weights:
    """Random weights with timm's names."""
    torch.manual_seed(layers)
    model = timm.create_model(f"resnet{layers}d", pretrained=False).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.2)
            module.momentum = 1.0  # the statistics of one batch
    model(torch.randn(2, 3, 128, 128))
    return Weights("random weights", recognize(model.state_dict()), model.state_dict())


@torch.inference_mode()
def compare(timm: ModuleType, layers: int, output_stride: int, weights: Weights) -> bool:
    """Print the differences at one stride; return whether none is there that must not be."""
    theirs = timm.create_model(f"resnet{layers}d", pretrained=False, features_only=True, output_stride=output_stride)
    theirs.load_state_dict(weights.state)
    variants = VARIANTS if output_stride < 32 else VARIANTS[:1]
    for name, contract_dilation, timm_pools in variants:
        backbone = ResNet(DEPTHS[layers], output_stride=output_stride, contract_dilation=contract_dilation)
        load_backbone_weights(backbone, weights)
        if timm_pools:
            add_timm_pools(backbone)
        worst = differences(backbone.eval(), theirs.eval())
        print(f"  {output_stride:13}  {name:32}" + "".join(f"{value:9.1e}" for value in worst), flush=True)
    return all(value <= TOLERANCE for value in worst)  # of the last line, from which every known difference is removed


def add_timm_pools(backbone: ResNet) -> None:
    """Put timm's pool into the shortcuts of the stages where dilation replaced the stride."""
    for stage, before, after in zip(backbone.stages[1:], backbone.strides[:-1], backbone.strides[1:], strict=True):
        if before == after:
            block = next(stage.children())
            assert isinstance(block, Bottleneck)
            block.register_module("shortcut", nn.Sequential(TimmPool(), block.shortcut))


def differences(ours: nn.Module, theirs: nn.Module) -> Sequence[float]:
    """The worst difference of each of the four stages over all sizes."""
    worst = [0.0] * 4
    for height, width in SIZES:
        torch.manual_seed(height)
        images = torch.randn(2, 3, height, width)
        expected = theirs(images)[-4:]
        for stage, (feature, reference) in enumerate(zip(ours(images), expected, strict=True)):
            assert feature.shape == reference.shape
            assert reference.isfinite().all()
            difference = (feature - reference).abs().max() / reference.abs().max()
            worst[stage] = max(difference.item(), worst[stage])  # in this order, NaN is kept
    return worst


if __name__ == "__main__":
    end_process(main)

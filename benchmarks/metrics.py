"""segnet's confusion matrix against torchmetrics'.

    python benchmarks/metrics.py                  # maps of 1024 x 2048, 19 and 150 classes
    python benchmarks/metrics.py --device cuda

Both get a prediction (int64, from argmax) and a truth with a tenth of the pixels ignored. The truth is uint8, as data
loaders give it; torchmetrics gets int64, converted outside of the timing. The counts are compared first. segnet's
matrix does not check labels, because the data loader has checked every file.
"""

from collections.abc import Sequence

import torch
from side_by_side import machine, ratio, times
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from segnet.cli import end_process
from segnet.cli.arguments import Parser
from segnet.training.metrics import ConfusionMatrix

IGNORED = 255


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return exit code 1 if the counts differ."""
    parser = Parser(prog="metrics.py", description="The confusion matrix against torchmetrics'.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 2048), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--classes", type=int, nargs="+", default=(19, 150))
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    print(machine(device))
    print(f"{'classes':>8} {'torchmetrics [ms]':>18} {'without checks [ms]':>20} {'segnet [ms]':>12} {'ratios':>14}")
    for num_classes in options.classes:
        if not _compare(num_classes, options.size, device, options.repeats):
            print(f"{num_classes} classes: the counts differ")
            return 1
    return 0


def _compare(num_classes: int, size: Sequence[int], device: torch.device, repeats: int) -> bool:
    """Print a row; return False if the counts differ."""
    prediction, truth = maps(num_classes, size, device)
    wide = truth.long()
    ours = ConfusionMatrix(num_classes, IGNORED).to(device)
    theirs = MulticlassConfusionMatrix(num_classes, ignore_index=IGNORED, validate_args=True).to(device)
    unchecked = MulticlassConfusionMatrix(num_classes, ignore_index=IGNORED, validate_args=False).to(device)
    if not torch.equal(ours(prediction, truth), theirs(prediction, wide)):
        return False
    ways = {
        "checked": lambda: theirs.update(prediction, wide),
        "unchecked": lambda: unchecked.update(prediction, wide),
        "ours": lambda: ours.update(prediction, truth),
    }
    taken = times(ways, repeats, device)
    best = {name: 1000 * min(values) for name, values in taken.items()}
    ratios = f"{ratio(taken['checked'], taken['ours']):.1f}, {ratio(taken['unchecked'], taken['ours']):.1f}"
    print(f"{num_classes:8} {best['checked']:18.1f} {best['unchecked']:20.1f} {best['ours']:12.1f} {ratios:>14}")
    return True


def maps(num_classes: int, size: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """A truth of 64 x 64 patches, and a prediction with a fifth of the pixels wrong."""
    generator = torch.Generator().manual_seed(0)
    patches = torch.randint(0, num_classes, [-(-side // 64) for side in size], generator=generator)
    truth = patches.repeat_interleave(64, 0).repeat_interleave(64, 1)[: size[0], : size[1]]
    wrong = torch.rand(truth.shape, generator=generator) < 0.2
    prediction = torch.where(wrong, torch.randint(0, num_classes, truth.shape, generator=generator), truth)
    ignored = torch.rand(truth.shape, generator=generator) < 0.1
    return prediction[None].to(device), truth.where(~ignored, IGNORED).to(torch.uint8)[None].to(device)


if __name__ == "__main__":
    end_process(main)

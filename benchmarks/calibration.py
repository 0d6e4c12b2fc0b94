"""Calibration error before and after a temperature, on val images that it was not fitted to.

    python benchmarks/calibration.py best.ckpt --root CamVid            # 4 folds of neighboring images
    python benchmarks/calibration.py a.ckpt b.ckpt --root CamVid        # and their ensemble
    python benchmarks/calibration.py best.ckpt --root CamVid --interleaved    # folds of every fourth image

The val split is divided into blocks of neighboring images, because frames of a video resemble each other. For each
block, the temperature is fitted to the other blocks. All pixels of the block are then scored with temperature 1, with
one temperature, and with one per predicted class. Of several checkpoints, the ensemble is scored too: with the
geometric mean of the temperatures on the averaged probabilities, with the averages of calibrated probabilities, and
with a temperature fitted to the ensemble.

The last lines are the processor time per image of the forward pass, and of what an evaluation adds for confidence.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from segnet.classes import Classes
from segnet.cli import end_process
from segnet.cli.arguments import Parser
from segnet.data import build_dataset
from segnet.inference.tta import argmax_classes
from segnet.models.checkpoint import load_checkpoint
from segnet.models.segmentation_model import SegmentationModel
from segnet.models.temperature import UNCALIBRATED, Temperature, combined
from segnet.training.calibration import ConfidenceMetrics, LogitSample, fit_temperature
from segnet.training.confidence_metrics import ConfidenceScores
from segnet.training.metrics import percent


@dataclass(frozen=True, slots=True)
class Split:
    """The predicted val split.

    Attributes:
        logits: of each image (1, classes, H, W); logarithms of averaged probabilities for an ensemble.
        masks: of each image (1, H, W).
        ignore_index: value of ignored pixels.
    """

    logits: list[Tensor]
    masks: list[Tensor]
    ignore_index: int

    def fitted(self, images: Sequence[int], *, by_class: bool = False) -> Temperature:
        """Fit a temperature to some of the images, as an evaluation does."""
        sample = LogitSample(self.logits[0].shape[1], self.ignore_index)
        for index in images:
            sample.update(self.logits[index], self.masks[index])
        return fit_temperature(*sample.pixels(), by_class=by_class)

    def scores(self, images: Sequence[int], temperature: Temperature) -> ConfidenceScores:
        """Score the confidence in all pixels of some of the images."""
        metrics = ConfidenceMetrics(self.logits[0].shape[1], self.ignore_index, temperature)
        for index in images:
            metrics.update(self.logits[index], argmax_classes(self.logits[index]), self.masks[index])
        return metrics.counts.scores()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; return exit code 1 if the mean calibration error of a checkpoint is not at least halved."""
    parser = Parser(prog="calibration.py", description="Calibration error on val images held out from the fit.")
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--root", required=True, help="folder of CamVid")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--interleaved", action="store_true", help="folds of every n-th image, in place of blocks")
    options = parser.parse_args(arguments)
    splits = [predicted(path, options.root) for path in options.checkpoints]
    num_images = len(splits[0].masks)
    folds = interleaved(num_images, options.folds) if options.interleaved else blocks(num_images, options.folds)
    is_halved = True
    for path, split in zip(options.checkpoints, splits, strict=True):
        print(f"\n{path}: {len(split.masks)} images")
        is_halved = held_out(split, folds) and is_halved
    if len(splits) > 1:
        ensemble(splits, folds)
    model, _ = load_checkpoint(options.checkpoints[0])
    print_cost(model, splits[0])
    return 0 if is_halved else 1


@torch.inference_mode()
def predicted(checkpoint: Path, root: str) -> Split:
    """Predict the val split; all logits stay in memory."""
    model, classes = load_checkpoint(checkpoint)
    samples = build_dataset({"name": "camvid", "root": root}, "val", Classes.create(**classes.to_dict()))
    logits, masks = [], []
    for index in range(len(samples)):
        sample = samples.load(index)
        logits.append(model(torch.tensor(sample.image).permute(2, 0, 1)[None]))
        masks.append(torch.tensor(sample.mask)[None].long())
    return Split(logits, masks, classes.ignore_index)


def blocks(num_images: int, folds: int) -> list[list[int]]:
    """Divide images into blocks of neighbors."""
    ends = [num_images * fold // folds for fold in range(folds + 1)]
    return [list(range(start, end)) for start, end in itertools.pairwise(ends)]


def interleaved(num_images: int, folds: int) -> list[list[int]]:
    """Divide images into folds of every n-th image: each resembles the others, as new frames of the drive would."""
    return [list(range(fold, num_images, folds)) for fold in range(folds)]


def held_out(split: Split, folds: list[list[int]]) -> bool:
    """Print a row per fold and the means; return whether one temperature halves the mean calibration error."""
    head = (
        "fold",
        "temperature",
        "by class",
        "ECE",
        "ECE, one",
        "ECE, by class",
        "confidence",
        "accuracy",
        "AURC",
        "one",
    )
    print(" ".join(f"{word:>15}" for word in head))
    rows = []
    for number, fold in enumerate(folds):
        others = [index for other in folds if other is not fold for index in other]
        one, by_class = split.fitted(others), split.fitted(others, by_class=True)
        before, after, after_by_class = (split.scores(fold, found) for found in (UNCALIBRATED, one, by_class))
        rows.append([before.ece, after.ece, after_by_class.ece, before.mean_confidence, 1 - before.risks[-1]])
        low_to_high = f"{min(by_class.values):.2f}-{max(by_class.values):.2f}"
        texts = [
            str(number + 1),
            str(one),
            low_to_high,
            *map(percent, rows[-1]),
            f"{before.aurc:.4f}",
            f"{after.aurc:.4f}",
        ]
        print(" ".join(f"{text:>15}" for text in texts))
    means = torch.tensor(rows).mean(0).tolist()
    print(" ".join(f"{text:>15}" for text in ("mean", "", "", *map(percent, means))))
    print(
        f"one temperature leaves {means[1] / means[0]:.2f} of the error, "
        f"one per predicted class {means[2] / means[0]:.2f}"
    )
    return bool(means[1] <= means[0] / 2)


def ensemble(splits: Sequence[Split], folds: list[list[int]]) -> None:
    """Print the calibration error of the averaged probabilities by fold, with the ways to calibrate them."""
    print(f"\nensemble of {len(splits)}")
    head = ("fold", "mean", "geometric mean", "calibrated first", "fitted")
    print(" ".join(f"{word:>17}" for word in head))
    pooled = averaged(splits, [UNCALIBRATED] * len(splits))
    rows = []
    for number, fold in enumerate(folds):
        others = [index for other in folds if other is not fold for index in other]
        found = [split.fitted(others) for split in splits]
        fitted = pooled.fitted(others)
        errors = [
            pooled.scores(fold, UNCALIBRATED).ece,
            pooled.scores(fold, combined(found)).ece,
            averaged(splits, found).scores(fold, UNCALIBRATED).ece,
            pooled.scores(fold, fitted).ece,
        ]
        rows.append(errors)
        print(" ".join(f"{text:>17}" for text in (str(number + 1), *map(percent, errors))))
    print(" ".join(f"{text:>17}" for text in ("mean", *map(percent, torch.tensor(rows).mean(0).tolist()))))


def averaged(splits: Sequence[Split], temperatures: Sequence[Temperature]) -> Split:
    """The logarithms of the mean of the models' probabilities."""
    logits = []
    for images in zip(*(split.logits for split in splits), strict=True):
        parts = [(one / found.values[0]).softmax(1) for one, found in zip(images, temperatures, strict=True)]
        logits.append(torch.stack(parts).mean(0).clamp_min(1e-37).log())
    return Split(logits, splits[0].masks, splits[0].ignore_index)


@torch.inference_mode()
def print_cost(model: SegmentationModel, split: Split, repeats: int = 7) -> None:
    """Print the processor time of a forward pass, and of the confidence counts with and without a sample for a fit."""
    logits, mask = split.logits[0], split.masks[0]
    images = torch.zeros(1, model.in_channels, *mask.shape[1:], dtype=torch.uint8)
    predicted = argmax_classes(logits)
    counts = (ConfidenceMetrics(logits.shape[1], split.ignore_index, UNCALIBRATED, fit) for fit in (None, "global"))
    plain, fitting = counts
    ways: dict[str, Callable[[], object]] = {
        "forward pass": lambda: model(images),
        "confidence": lambda: plain.update(logits, predicted, mask),
        "confidence, with the sample of a fit": lambda: fitting.update(logits, predicted, mask),
    }
    print(f"\nprocessor time of an image of {mask.shape[1]} x {mask.shape[2]}, {torch.get_num_threads()} thread(s)")
    for name, way in ways.items():
        taken = []
        for _ in range(repeats):
            start = time.process_time()
            way()
            taken.append(time.process_time() - start)
        print(f"{name}: {1000 * min(taken):.1f} ms")


if __name__ == "__main__":
    end_process(main)

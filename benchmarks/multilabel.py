"""Overlapping classes: a short training with task=multilabel, beside the limit of one class per pixel.

    python benchmarks/multilabel.py [--steps 250] [--folder FOLDER]

The built-in dataset `shapes` with task=multilabel has translucent disks and rings that overlap. One class per pixel
must give each overlapping pixel to one of both. Its limit is the score of the best possible choice, with the true masks
at hand: IoU is linear in the number of pixels that a class gets, so all of them go to one class.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from segnet.classes import MULTILABEL
from segnet.config import Config, DataConfig, OptimConfig
from segnet.data.datasets.shapes import Shapes
from segnet.training.metrics import Scores, percent
from segnet.workflows.evaluate import Results
from segnet.workflows.train import train

NUM_TRAIN, NUM_VAL = 1600, 100
SIZE = [48, 48]  # of the images [pixels]


def limit_of_one_class(counts: tuple[int, int, int]) -> tuple[float, float]:
    """Return the IoU of both classes for the assignment of overlapping pixels with the highest mean.

    Args:
        counts: pixels of the first class alone, of the second class alone, and of both.
    """
    first, second, both = counts
    first_gets = ((first + both) / (first + both), second / (second + both))
    second_gets = (first / (first + both), (second + both) / (second + both))
    return max(first_gets, second_gets, key=sum)


def overlaps(samples: Shapes) -> tuple[int, int, int]:
    """Count the pixels of disks alone, of rings alone, and of both."""
    total = np.zeros(3, np.int64)
    for index in range(len(samples)):
        disk, ring = samples.load(index).mask.astype(bool)
        total += [(disk & ~ring).sum(), (ring & ~disk).sum(), (disk & ring).sum()]
    return int(total[0]), int(total[1]), int(total[2])


def trained(steps: int, folder: Path) -> Results:
    """Train a small model on overlapping shapes, on the CPU: a ResNet10_vd with a narrow DeepLabV3+."""
    config = Config(
        dataset={"name": "shapes", "task": MULTILABEL, "num_train": NUM_TRAIN, "num_val": NUM_VAL, "size": SIZE},
        loss={"name": "bce_dice"},
        backbone={"name": "resnet", "block": "basic", "depths": [1, 1, 1, 1], "stem": "deep", "shortcut": "pool"},
        decoder={"name": "deeplabv3plus", "aspp_channels": 64, "low_level_channels": 24, "decoder_channels": 64},
        backbone_weights=None,
        data=DataConfig(num_workers=0, batch_size=8, crop_size=[48, 48], scale_range=[0.75, 1.33], color_jitter=0.1),
        optim=OptimConfig(name="adamw", lr=2e-3, schedule="cosine", warmup_steps=20),
        trainer={"devices": 1, "accelerator": "cpu", "max_steps": steps, "log_every_n_steps": 10},
    )
    folder.mkdir(parents=True, exist_ok=True)
    results = train(config, folder)
    assert results is not None
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=250, help="steps of 8 images of 48 x 48; default: 250")
    parser.add_argument("--folder", type=Path, help="run folder to keep; default: a temporary one")
    options = parser.parse_args()
    counts = overlaps(Shapes("val", num_val=NUM_VAL, size=(SIZE[0], SIZE[1]), task=MULTILABEL))
    disk, ring = limit_of_one_class(counts)
    print(f"pixels of disks alone, rings alone, both: {counts}")
    print(
        f"limit of one class per pixel: disk {percent(disk)}, ring {percent(ring)}, mIoU {percent((disk + ring) / 2)}"
    )
    start, cpu = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory(prefix="segnet-") as folder:
        results = trained(options.steps, options.folder or Path(folder))
    half, classes = results.at_half, results.classes
    assert half is not None
    print(f"task=multilabel, {options.steps} steps, threshold 0.5: {_scores(half)}")
    chosen = ", ".join(f"{value:.3f}" for value in classes.thresholds)
    print(f"with the thresholds chosen on val ({chosen}): {_scores(results.scores)}")
    seconds, of_cpu = time.monotonic() - start, time.process_time() - cpu
    print(f"{of_cpu:.0f} s of CPU time, {seconds:.0f} s, {torch.get_num_threads()} thread(s)")


def _scores(scores: Scores) -> str:
    return f"disk {percent(scores.iou[0])}, ring {percent(scores.iou[1])}, mIoU {percent(scores.miou)}"


if __name__ == "__main__":
    main()

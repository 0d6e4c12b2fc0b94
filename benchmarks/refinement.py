"""What do thresholds, refusal, smallest regions and smoothing cost, and how much less does a video flicker?

    python benchmarks/refinement.py                        # 1024 x 1024, 19 classes
    python benchmarks/refinement.py --size 512 512 --repeats 3

Cost: CPU time of each step for logits of blurred noise with specks, in the layout of torch on a CPU (channels last).
The first row is the default path, which takes the most probable class from logits. Thresholds, refusal and smoothing
need the softmax, too.

Flicker: a video of moving disks over two halves, with independent noise on the logits of each frame. Flicker is the
fraction of pixels whose class changes from one frame to the next. The true masks change too, where disks move. The
error is the fraction of pixels whose class is not the true one: noise makes it, and the lag of smoothing, too.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from side_by_side import machine
from torch import Tensor

from segnet.classes import Classes
from segnet.cli import end_process
from segnet.cli.arguments import Parser
from segnet.inference.refinement import Refinement
from segnet.inference.refining import Refiner
from segnet.inference.smoothing import Smoothing, frames_to_change
from segnet.inference.tta import Inference

WEIGHTS = (0.0, 0.5, 0.7, 0.8, 0.9)
NUM_DISKS = 6
GRAY = np.full((32, 32, 3), 128, np.uint8)  # frames without a cut


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables."""
    parser = Parser(prog="refinement.py", description="Cost of refinement, and flicker of videos.")
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 1024), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--frames", type=int, default=60)
    options = parser.parse_args(arguments)
    print(machine(torch.device("cpu")))
    print(f"{'step':40} {'CPU time [ms]':>14}")
    for name, milliseconds in costs(options.size, options.classes, options.repeats).items():
        print(f"{name:40} {milliseconds:14.0f}")
    print(f"{'weight':>6} {'shown by frame':>15} {'flicker [%]':>12} {'error [%]':>10}")
    for weight in WEIGHTS:
        changes, wrong = flicker(Smoothing(weight), options.frames)
        print(f"{weight:6.1f} {frames_to_change(weight):15} {100 * changes:12.2f} {100 * wrong:10.2f}")
    print(f"the true masks change in {100 * true_changes(options.frames):.2f} % of their pixels from frame to frame")
    return 0


def costs(size: Sequence[int], num_classes: int, repeats: int) -> dict[str, float]:
    """Median CPU time of each step [ms]."""
    logits = blotches(size, num_classes)
    images = torch.zeros(1, 3, *size)
    probabilities = Inference().averaged(lambda _: logits[None].clone(), images)[0]
    classes = Classes.create([f"c{index}" for index in range(num_classes)])
    smoothing = Smoothing(0.7)

    def mask_of(scores: Tensor, **options: object) -> Callable[[], object]:
        refiner = Refiner(Refinement.read(**options), classes)  # type: ignore[arg-type]
        return lambda: refiner.mask(scores)

    every = ",".join(f"c{index}=0.5" for index in range(num_classes))
    steps = {
        "default: most probable class": mask_of(logits),
        "softmax": lambda: Inference().averaged(lambda _: logits[None].clone(), images),
        "threshold of one class": mask_of(probabilities, threshold="c1=0.3"),
        f"threshold of {num_classes} classes": mask_of(probabilities, threshold=every),
        "refuse 0.7": mask_of(probabilities, refuse=0.7),
        "min_area 64": mask_of(logits, min_area=64),
        "all three": mask_of(probabilities, threshold="c1=0.3", refuse=0.7, min_area=64),
        "smooth 0.7, without a mask": lambda: smoothing(GRAY, probabilities),
    }
    return {name: 1000 * _cpu_time(step, repeats) for name, step in steps.items()}


def _cpu_time(step: Callable[[], object], repeats: int) -> float:
    """Median CPU time after a warm-up [seconds]: other processes have less influence on it than on the clock."""
    taken = []
    for _ in range(repeats + 1):
        started = time.process_time()
        step()
        taken.append(time.process_time() - started)
    return statistics.median(taken[1:])


def blotches(size: Sequence[int], num_classes: int, seed: int = 0) -> Tensor:
    """Logits (classes, H, W) of regions and specks of all classes, channels last in memory."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((num_classes, *size)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(plane, (0, 0), 12) for plane in noise])
    logits = 4 * smooth / smooth.std() + noise / 2
    return torch.from_numpy(np.ascontiguousarray(logits.transpose(1, 2, 0))).permute(2, 0, 1)


def truths(count: int) -> Iterator[NDArray[np.uint8]]:
    """True masks (120, 160) of a video: two halves, and disks of two classes that move by 1 to 3 pixels a frame."""
    rng = np.random.default_rng(0)
    places, speeds = rng.uniform(0, [120, 160], (NUM_DISKS, 2)), rng.uniform(1, 3, (NUM_DISKS, 1))
    angles = rng.uniform(0, 2 * np.pi, (NUM_DISKS, 1))
    ways = np.concatenate((np.sin(angles), np.cos(angles)), axis=1)
    rows, columns = np.mgrid[:120, :160]
    for _ in range(count):
        mask = (columns >= 80).astype(np.uint8)
        for index, (row, column) in enumerate(places):
            mask[(rows - row) ** 2 + (columns - column) ** 2 < 12**2] = 2 + index % 2
        yield mask
        places = (places + speeds * ways) % [120, 160]


def flicker(smoothing: Smoothing, count: int) -> tuple[float, float]:
    """Fraction of pixels that change from frame to frame, and fraction of wrong ones, means over `count` frames."""
    rng = np.random.default_rng(1)
    before, changes, wrong = None, [], []
    for truth in truths(count):
        logits = 2.5 * np.eye(4, dtype=np.float32)[truth] + rng.standard_normal((*truth.shape, 4)).astype(np.float32)
        probabilities = torch.from_numpy(logits).permute(2, 0, 1).softmax(dim=0)
        mask = smoothing(GRAY, probabilities).argmax(dim=0).numpy()
        wrong.append(float((mask != truth).mean()))
        if before is not None:
            changes.append(float((mask != before).mean()))
        before = mask
    return statistics.fmean(changes), statistics.fmean(wrong)


def true_changes(count: int) -> float:
    """Fraction of pixels of the true masks that change from frame to frame."""
    masks = list(truths(count))
    return statistics.fmean(float((one != other).mean()) for one, other in pairwise(masks))


if __name__ == "__main__":
    end_process(main)

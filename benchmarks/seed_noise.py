"""How often does `segnet compare` call two recipes equal that are equal, and how often two that differ?

    python benchmarks/seed_noise.py                          # simulated seeds and images
    python benchmarks/seed_noise.py runs/*/per_image.json    # seeds of one recipe, all splits in two sides

Simulated: 100 images of six classes, in the order of a video with the correlation `frames` between neighbors. The
recall of a class in an image is a sigmoid of the class, the image, the training seed and chance. The second recipe has
`effect` more.
"""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.workflows.bootstrap import bootstrap_differences
from segnet.workflows.compare import matched
from segnet.workflows.per_image import ImageCounts

CLASS_LOGITS = np.array([3, 2.5, 1.5, 0.5, 0, -0.5])
CLASS_SIZES = np.array([1.5, 1, 0, -0.5, -1, -1.5])  # logarithms
WRONG_CLASSES = np.array([0.35, 0.25, 0.15, 0.1, 0.1, 0.05])  # predicted instead
SETTINGS: list[dict[str, Any]] = [
    {"frames": 0.0, "seed_sd": 0.15},
    {"frames": 0.8, "seed_sd": 0.05},
    {"frames": 0.8, "seed_sd": 0.15},
    {"frames": 0.8, "seed_sd": 0.4},
    {"frames": 0.95, "seed_sd": 0.15},
    {"frames": 0.8, "seed_sd": 0.05, "effect": 0.3},
    {"frames": 0.8, "seed_sd": 0.15, "effect": 0.3},
]
SIDES = ((1, 1), (3, 1), (2, 2), (3, 3), (5, 5))
Counts = NDArray[np.int64]


def series(rng: np.random.Generator, images: int, correlation: float) -> NDArray[np.float64]:
    """A standard normal series for each class, with that correlation of neighbors: (images, classes)."""
    values = rng.standard_normal((images, len(CLASS_LOGITS)))
    for index in range(1, images):
        values[index] = correlation * values[index - 1] + np.sqrt(1 - correlation**2) * values[index]
    return values


def simulated(
    rng: np.random.Generator,
    first: int,
    second: int,
    frames: float,
    seed_sd: float,
    effect: float = 0.0,
    noise: float = 0.3,
    images: int = 100,
) -> tuple[Counts, Counts]:
    """Pixel counts (checkpoints, images, 3, classes) of two recipes, as `ImageCounts.counts`."""
    truth = np.round(1000 * np.exp(series(rng, images, frames) + CLASS_SIZES))
    difficulty = 0.7 * series(rng, images, frames)
    trainings = seed_sd * rng.standard_normal((first + second, len(CLASS_LOGITS)))
    trainings[first:] += effect
    found = []
    for trained in trainings:
        logits = CLASS_LOGITS + difficulty + trained + noise * series(rng, images, frames)
        correct = np.floor(truth / (1 + np.exp(-logits)))
        wrong = np.round((truth - correct).sum(axis=1, keepdims=True) * WRONG_CLASSES)
        found.append(np.stack([correct, truth, correct + wrong], axis=1))
    counts = np.stack(found).astype(np.int64)
    return counts[:first], counts[first:]


def splits(number: int, size: int, most: int, rng: np.random.Generator) -> list[tuple[list[int], list[int]]]:
    """All ways to choose two sides of `size` out of so many checkpoints, or `most` of them by chance."""
    found = [
        (list(first), list(second))
        for first in itertools.combinations(range(number), size)
        for second in itertools.combinations(sorted({*range(number)} - {*first}), size)
        if first < second
    ]
    return found if len(found) <= most else [found[index] for index in rng.choice(len(found), most, replace=False)]


def equal_shares(pairs: Iterator[tuple[Counts, Counts]], **options: Any) -> tuple[int, int, int, float]:
    """Compare pairs: their number, those equal in mIoU, those equal in every class, mean half width of mIoU."""
    number = equal = classes = 0
    widths = 0.0
    for first, second in pairs:
        found = bootstrap_differences(first, second, **{"block": None, "draws": 1000, "seed": 0} | options)
        number += 1
        equal += bool(found.p[-1] > 0.05)
        classes += not (found.p[:-1] <= 0.05).any()
        widths += float(found.high[-1] - found.low[-1]) / 2
    return number, equal, classes, widths / number


def report(title: str, pairs: Iterator[tuple[Counts, Counts]], **options: Any) -> None:
    number, equal, classes, width = equal_shares(pairs, **options)
    share, every = 100 * equal / number, 100 * classes / number
    interval = f"interval +-{100 * width:.2f} points"
    print(f"{title}: mIoU equal in {share:.1f} % of {number}, every class in {every:.1f} %, {interval}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="per_image.json of seeds of one recipe")
    parser.add_argument("--pairs", type=int, default=200, help="pairs of each kind, at most")
    options = parser.parse_args()
    if options.files:
        counts = np.stack(matched([ImageCounts.read(path) for path in options.files]))
        for size in range(1, len(counts) // 2 + 1):
            chosen = splits(len(counts), size, options.pairs, np.random.default_rng(0))
            for block in (None, 1) if size == 1 else (None,):
                title = f"{size} and {size} of {len(counts)}{', block=1' if block else ''}"
                report(title, ((counts[first], counts[second]) for first, second in chosen), block=block)
        return
    for setting in SETTINGS:
        for first, second in SIDES:
            rng = np.random.default_rng(1)
            title = f"{' '.join(f'{key}={value}' for key, value in setting.items())}, {first} and {second}"
            report(title, (simulated(rng, first, second, **setting) for _ in range(options.pairs)))


if __name__ == "__main__":
    main()

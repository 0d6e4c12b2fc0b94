"""Precision of `segnet doubt` on planted label errors, beside the score of cleanlab.

    segnet train experiment=camvid_resnet18_vd dataset.root=CAMVID hydra.run.dir=run
    python benchmarks/label_errors.py CAMVID run/best.ckpt

Errors are planted in the masks of 20 val images of CamVid, which the checkpoint has not seen, in turn: an object gets
the class around it (dropped), a region gets another class (swapped), or all borders are shifted by 1/30 of the width.
Objects and regions have 1 % of the pixels or more. The images are then ranked by doubt, and the planted ones among the
first 20 are counted, for several draws.

The rival is the image score of cleanlab.segmentation, the softmin of the labels' probabilities with temperature 0.1
(Lad and Mueller 2023, arXiv 2307.05080). It is computed here by that formula, as cleanlab 2.9.0 does. CamVid has
label errors of its own, which count as false alarms for both.
"""

import argparse
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from segnet.classes import Classes
from segnet.data import build_dataset
from segnet.inference.predictor import Predictor
from segnet.workflows.doubt_scores import doubts, evidence_of

Mask = NDArray[np.integer]
Planting = Callable[[Mask, Classes, np.random.Generator], Mask | None]
OBJECTS = {"sign", "fence", "car", "pedestrian", "bicyclist", "pole"}
NUM_PLANTED = 20
LEAST_FRACTION = 0.01  # of the pixels of an image
SHIFT = 1 / 30  # of the width
TEMPERATURE = 0.1  # of the softmin


def regions(mask: Mask, labels: Sequence[int]) -> list[NDArray[np.bool_]]:
    """The connected regions of the classes that are large enough."""
    found = []
    for label in labels:
        count, parts, boxes, _ = cv2.connectedComponentsWithStats((mask == label).astype(np.uint8), connectivity=4)
        large = boxes[:, cv2.CC_STAT_AREA] >= LEAST_FRACTION * mask.size
        found += [parts == number for number in range(1, count) if large[number]]
    return found


def dropped(mask: Mask, classes: Classes, random: np.random.Generator) -> Mask | None:
    """Give an object the most frequent class around it."""
    found = []
    for region in regions(mask, [label for label, name in enumerate(classes.names) if name in OBJECTS]):
        around = (cv2.dilate(region.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0) & ~region
        near = mask[around & (mask != classes.ignore_index)]
        label = int(np.bincount(near).argmax()) if near.size else -1
        if label >= 0 and label != mask[region][0]:
            found.append(np.where(region, label, mask).astype(mask.dtype))
    return found[random.integers(len(found))] if found else None


def swapped(mask: Mask, classes: Classes, random: np.random.Generator) -> Mask | None:
    """Give a region another class."""
    found = regions(mask, range(len(classes.names)))
    if not found:
        return None
    region = found[random.integers(len(found))]
    others = [label for label in range(len(classes.names)) if label != mask[region][0]]
    return np.where(region, random.choice(others), mask).astype(mask.dtype)


def shifted(mask: Mask, classes: Classes, random: np.random.Generator) -> Mask | None:
    """Shift all labels in a random direction; the border repeats."""
    angle, distance = random.uniform(0, 2 * np.pi), SHIFT * mask.shape[1]
    down, right = round(distance * np.sin(angle)), round(distance * np.cos(angle))
    rows = np.clip(np.arange(mask.shape[0]) - down, 0, mask.shape[0] - 1)
    columns = np.clip(np.arange(mask.shape[1]) - right, 0, mask.shape[1] - 1)
    return mask[np.ix_(rows, columns)]


KINDS: dict[str, Planting] = {"dropped": dropped, "swapped": swapped, "shifted": shifted}


def plant(masks: Sequence[Mask], classes: Classes, seed: int) -> tuple[list[Mask], dict[int, str]]:
    """Plant errors in turn in randomly drawn images; return all masks, and the kind of error by image."""
    random = np.random.default_rng(seed)
    changed: list[Mask] = list(masks)
    planted: dict[int, str] = {}
    for index in random.permutation(len(masks)).tolist():
        kind = list(KINDS)[len(planted) % len(KINDS)]
        mask = KINDS[kind](masks[index], classes, random)
        if mask is not None:
            changed[index], planted[index] = mask, kind
        if len(planted) == NUM_PLANTED:
            break
    return changed, planted


def softmin_score(probabilities: NDArray[np.floating], mask: Mask, classes: Classes) -> float:
    """cleanlab's quality of an image's labels, 0-1: low is doubtful; 1 without a labeled pixel."""
    labeled = mask != classes.ignore_index
    labels = np.where(labeled, mask, 0).astype(np.intp)
    of_label = np.take_along_axis(probabilities, labels[None], axis=0)[0][labeled].astype(np.float64)
    if not of_label.size:
        return 1.0
    weights = np.exp((of_label.min() - of_label) / TEMPERATURE)  # softmax(1 - p)
    return float((of_label * weights).sum() / weights.sum())


def precision(scores: Sequence[float], planted: dict[int, str]) -> tuple[float, float]:
    """Precision among the first images of a ranking, highest score first, and average precision."""
    hits = np.array([index in planted for index in np.argsort(-np.array(scores), kind="stable").tolist()])
    return float(hits[: len(planted)].mean()), float(np.mean([hits[: k + 1].mean() for k in np.flatnonzero(hits)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="CamVid in the layout of dataset=camvid")
    parser.add_argument("checkpoint", help="a checkpoint trained on its train split")
    parser.add_argument("--draws", type=int, default=8, help="number of draws; default: 8")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first draw; default: 0")
    options = parser.parse_args()
    samples = build_dataset({"name": "camvid", "root": options.root}, "val")
    predictor, classes = Predictor(options.checkpoint), samples.classes
    masks, probabilities = [], []
    for index in range(len(samples)):
        sample = samples.load(index)
        masks.append(sample.mask)
        found = predictor.segment(sample.image, probabilities=True).probabilities
        assert found is not None
        probabilities.append(found)
    results = []
    for seed in range(options.seed, options.seed + options.draws):
        changed, planted = plant(masks, classes, seed)
        pairs = list(zip(probabilities, changed, strict=True))
        ours = [doubt.score for doubt in doubts([evidence_of(*pair, classes) for pair in pairs])]
        theirs = [-softmin_score(*pair, classes) for pair in pairs]
        results.append((*precision(ours, planted), *precision(theirs, planted)))
        missed = [planted[i] for i in np.argsort(-np.array(ours)).tolist()[len(planted) :] if i in planted]
        print(
            f"draw {seed}: precision at {len(planted)} of doubt {results[-1][0]:.2f}, softmin {results[-1][2]:.2f}; "
            f"missed: {', '.join(missed)}",
            flush=True,
        )
    ours_at, ours_mean, theirs_at, theirs_mean = np.mean(results, axis=0)
    print(
        f"mean of {options.draws} draws: precision among the first {NUM_PLANTED}: doubt {ours_at:.3f}, softmin "
        f"{theirs_at:.3f}; average precision: doubt {ours_mean:.3f}, softmin {theirs_mean:.3f}"
    )


if __name__ == "__main__":
    main()

"""Doubt about labels, from probabilities of a model that was not trained on them.

Confident learning (Northcutt et al. 2021, arXiv 1911.00068) compares labels with out-of-sample probabilities. Here the
evidence against the label c of an image is the probability of each other class j, summed over the pixels labeled c,
beyond what the other images have on average: a model confuses some classes everywhere, and that is no label error. In
units of its standard deviation over the other images, this excess is comparable between classes. The score of an image
is the root of the sum of squares over all pairs (c, j). cleanlab's softmin score of an image (Lad and Mueller 2023,
arXiv 2307.05080) uses the probability of the label alone, and has no such comparison.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from segnet.classes import Classes

LEAST_DEVIATION = 10.0  # smallest standard deviation of an excess: rare pairs would decide otherwise [pixels]
LEAST_REGION = 9  # smallest region that is listed [pixels]
MOST_REGIONS = 10  # regions of an image that are kept


@dataclass(frozen=True, slots=True)
class DoubtfulRegion:
    """A connected region of pixels with one label, in which the model predicts other classes.

    Attributes:
        label, predicted: class ids; `predicted` has the highest mean probability in the region.
        pixels: number of pixels.
        box: (left, top, width, height) [pixels].
        label_probability, predicted_probability: their means over the region, 0-1.
        score: the part of the region in the excess of `predicted` over the pixels of `label` [standard deviations].
    """

    label: int
    predicted: int
    pixels: int
    box: tuple[int, int, int, int]
    label_probability: float
    predicted_probability: float
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one image says about its labels.

    Attributes:
        mass: (classes, classes) sums of probabilities, a row per label and a column per class [pixels].
        pixels: (classes,) labeled pixels of each class.
        regions: the largest regions of disagreement.
    """

    mass: NDArray[np.float64]
    pixels: NDArray[np.integer]
    regions: Sequence[DoubtfulRegion]


@dataclass(frozen=True, slots=True)
class Doubt:
    """The doubt about the labels of one image; 0: none.

    Attributes:
        score: of the image.
        by_class: of the labels of each class; NaN for a class without a labeled pixel.
        regions: regions by decreasing score.
    """

    score: float
    by_class: Sequence[float]
    regions: Sequence[DoubtfulRegion]


def evidence_of(probabilities: NDArray[np.floating], mask: NDArray[np.integer], classes: Classes) -> Evidence:
    """Collect the evidence of an image.

    Args:
        probabilities: (classes, H, W), 0-1, of a model that was not trained on the image.
        mask: (H, W) labels, class ids or `ignore_index`.
        classes: the classes.
    """
    num_classes = len(classes.names)
    labeled = mask != classes.ignore_index
    labels = mask[labeled].astype(np.intp)
    values = probabilities[:, labeled].astype(np.float64)
    mass = np.stack([np.bincount(labels, row, num_classes) for row in values], axis=1).astype(np.float64)
    return Evidence(mass, np.bincount(labels, minlength=num_classes), _doubtful_regions(probabilities, mask, labeled))


def _doubtful_regions(
    probabilities: NDArray[np.floating], mask: NDArray[np.integer], labeled: NDArray[np.bool_]
) -> list[DoubtfulRegion]:
    """The regions of disagreement with the largest sum of probabilities against the label."""
    found: list[tuple[float, DoubtfulRegion]] = []
    disagreeing = labeled & (probabilities.argmax(axis=0) != mask)
    for label in np.unique(mask[disagreeing]).tolist():
        where = (disagreeing & (mask == label)).astype(np.uint8)
        _, parts, boxes, _ = cv2.connectedComponentsWithStats(where, connectivity=4, ltype=cv2.CV_32S)
        for number in np.flatnonzero(boxes[:, cv2.CC_STAT_AREA] >= LEAST_REGION).tolist():
            if number == 0:  # the background
                continue
            left, top, width, height, pixels = map(int, boxes[number])
            rows, columns = slice(top, top + height), slice(left, left + width)
            inside = parts[rows, columns] == number
            means = probabilities[:, rows, columns][:, inside].astype(np.float64).mean(axis=1)
            others = np.where(np.arange(len(means)) == label, -1.0, means)
            predicted = int(others.argmax())
            region = DoubtfulRegion(
                label, predicted, pixels, (left, top, width, height), float(means[label]), float(means[predicted])
            )
            found.append((pixels * (1 - region.label_probability), region))
    found.sort(key=lambda item: -item[0])
    return [region for _, region in found[:MOST_REGIONS]]


def doubts(evidence: Sequence[Evidence]) -> list[Doubt]:
    """Score images by comparison with each other; the more images, the better."""
    mass = np.stack([item.mass for item in evidence])
    pixels = np.stack([item.pixels for item in evidence]).astype(np.float64)
    other_pixels = np.maximum(1.0, pixels.sum(0) - pixels)
    expected = (mass.sum(0) - mass) / other_pixels[:, :, None]  # fraction of each class, in the other images
    excess = np.maximum(0.0, mass - expected * pixels[:, :, None])
    diagonal = np.arange(mass.shape[1])
    excess[:, diagonal, diagonal] = 0.0
    squares = excess**2
    variance = (squares.sum(0) - squares) / max(1, len(evidence) - 1)
    deviation = np.sqrt(np.maximum(0.0, variance) + LEAST_DEVIATION**2)
    relative = excess / deviation
    found = []
    for index, item in enumerate(evidence):
        by_class = np.where(item.pixels > 0, np.sqrt((relative[index] ** 2).sum(1)), np.nan)
        regions = [_scored(region, item, relative[index]) for region in item.regions]
        regions.sort(key=lambda region: (-region.score, -region.pixels))
        found.append(Doubt(float(np.sqrt((relative[index] ** 2).sum())), by_class.tolist(), regions))
    return found


def _scored(region: DoubtfulRegion, evidence: Evidence, relative: NDArray[np.float64]) -> DoubtfulRegion:
    """The region with its part of the excess of its pair of classes, by its part of their probability."""
    pair = region.label, region.predicted
    part = region.pixels * region.predicted_probability / max(float(evidence.mass[pair]), 1e-12)
    return replace(region, score=float(relative[pair]) * min(1.0, part))

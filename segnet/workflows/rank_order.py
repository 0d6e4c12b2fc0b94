"""The order in which to label images: by uncertainty, by diversity in feature space, or by both.

Diversity is the greedy k-center algorithm (core-set, Sener and Savarese 2018, arXiv 1708.00489): the next image is the
one whose features are farthest from those of all labeled and chosen images. With both, this distance is multiplied by
the uncertainty of the image.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from segnet.inference.uncertainty import MEASURES

DIVERSITY, RANDOM = "diversity", "random"
DISTANCES_AT_ONCE = 1024  # images whose distances from all labeled images are computed together

Order = list[tuple[int, float]]  # indices of all images, and the values by which they were chosen


def measure_of(method: str) -> str:
    """The measure of uncertainty of a method from `segnet.choices.RANK_METHODS`; for those without one the first."""
    return next((name for name in MEASURES if method.startswith(name)), MEASURES[0])


def order_images(
    method: str,
    scores: Sequence[Mapping[str, float]],
    features: Sequence[NDArray[np.float32]],
    labeled: Sequence[NDArray[np.float32]],
    count: int,
    seed: int = 0,
) -> Order:
    """Order unlabeled images by a method of `segnet rank`.

    Args:
        method: from `segnet.choices.RANK_METHODS`.
        scores, features: of the images, as in `segnet.inference.uncertainty.Observation`.
        labeled: features of the labeled images; a method without diversity needs none.
        count: number of images to label next.
        seed: of random images.

    Returns:
        Indices and values of all images; the value of a random image is NaN.
    """
    if method == RANDOM:
        order = np.random.default_rng(seed).permutation(len(scores))
        return [(index, math.nan) for index in order.tolist()]
    values = [found[measure_of(method)] for found in scores]
    if DIVERSITY not in method:
        return order_by_score(values)
    points = np.stack(features)
    seeds = np.stack(labeled) if len(labeled) else np.empty((0, points.shape[1]), np.float32)
    return order_by_diversity(points, seeds, count, None if method == DIVERSITY else values)


def order_by_score(scores: Sequence[float]) -> Order:
    """Order images by decreasing score; ties keep their order."""
    return [(index, scores[index]) for index in np.argsort(-np.asarray(scores, np.float64), kind="stable").tolist()]


def order_by_diversity(
    features: NDArray[np.float32], labeled: NDArray[np.float32], count: int, scores: Sequence[float] | None = None
) -> Order:
    """Order images by their distance from labeled and earlier images, the greedy k-center algorithm.

    Args:
        features: (images, channels).
        labeled: (labeled images, channels). Without any, the image with the highest score comes first, or the one
            nearest to the mean.
        count: number of images chosen one after the other; the others follow by their remaining distance.
        scores: scores of the images, 0 or more, that multiply the distances; None: the distances alone.

    Returns:
        Indices and values, the largest value first; the value of a first image without labeled ones is infinite.
    """
    if not len(features):
        return []
    points = features - features.mean(axis=0)  # smaller numbers round less
    norms = np.square(points).sum(axis=1)
    factors = np.ones(len(points)) if scores is None else np.asarray(scores, np.float64)
    chosen: Order = []
    is_open = np.ones(len(points), np.bool_)

    def choose(index: int, value: float) -> None:
        chosen.append((index, value))
        is_open[index] = False
        np.minimum(nearest, _distances(points, norms, points[index : index + 1]), out=nearest)

    nearest = np.full(len(points), np.inf)
    for first in range(0, len(labeled), DISTANCES_AT_ONCE):
        others = labeled[first : first + DISTANCES_AT_ONCE] - features.mean(axis=0)
        np.minimum(nearest, _distances(points, norms, others), out=nearest)
    if not len(labeled):
        choose(int(norms.argmin() if scores is None else factors.argmax()), float("inf"))
    while len(chosen) < min(count, len(points)):
        values = np.where(is_open, factors * nearest, -1.0)
        choose(int(values.argmax()), float(values.max()))
    values = factors * nearest
    left = np.flatnonzero(is_open)
    others = left[np.argsort(-values[left], kind="stable")]
    return [*chosen, *((index, float(values[index])) for index in others.tolist())]


def _distances(
    points: NDArray[np.float32], norms: NDArray[np.float32], others: NDArray[np.float32]
) -> NDArray[np.float64]:
    """The Euclidean distance of each point (N, channels) from the nearest of the others (M, channels)."""
    nearest = np.empty(len(points))
    of_others = np.square(others).sum(axis=1)
    for first in range(0, len(points), DISTANCES_AT_ONCE):
        part = slice(first, first + DISTANCES_AT_ONCE)
        squares = norms[part, None] + of_others - 2 * (points[part] @ others.T)
        nearest[part] = np.sqrt(np.maximum(squares.min(axis=1), 0))
    return nearest

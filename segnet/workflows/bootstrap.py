"""Confidence intervals for differences of IoU between two sides, each of one or more checkpoints.

Two sources of chance are measured. Their errors are added.

- Images: a paired circular block bootstrap (Politis & Romano 1992). Every draw takes blocks of neighboring images with
  replacement, the same ones for all checkpoints. IoU follows from the summed pixel counts of the draw. Blocks keep
  neighboring video frames together; as independent images they would count too often.
- Training seeds: checkpoints of one side are trainings of one recipe with different seeds. The variance between them is
  pooled over both sides, as in Student's t-test. With few seeds a bootstrap over seeds would be far too narrow. So each
  draw adds an error from the t-distribution with (number of checkpoints - 2) degrees of freedom.

With one checkpoint a side the second source is unknown, and the intervals hold for these two files only.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
LEVEL = 0.95  # of the intervals
AT_ONCE_BYTES = 2**27  # of the summed counts of one chunk of draws


@dataclass(frozen=True, slots=True)
class Differences:
    """Differences of IoU, second side minus first. Arrays have an entry per class, then one for mIoU; NaN: 0 / 0.

    Attributes:
        first, second: mean IoU of the checkpoints of each side.
        low, high: 95 % interval of the difference.
        p: two-sided p-values; those of the classes are adjusted for their number (Holm 1979).
        block: images in a block of the bootstrap.
        has_seeds: whether the variance between training seeds is part of the intervals.
    """

    first: FloatArray
    second: FloatArray
    low: FloatArray
    high: FloatArray
    p: FloatArray
    block: int
    has_seeds: bool

    @property
    def difference(self) -> FloatArray:
        """Second minus first."""
        return self.second - self.first


def bootstrap_differences(
    first: NDArray[np.int64], second: NDArray[np.int64], *, block: int | None, draws: int, seed: int
) -> Differences:
    """Compare the IoU of two sides on the same images.

    Args:
        first, second: pixel counts (checkpoints, images, 3, classes) of each side, see `ImageCounts.counts`; neighbors
            in the order of the images may be correlated.
        block: images in a block; None: chosen from the correlation of neighboring images.
        draws: number of draws.
        seed: seed of the draws.
    """
    counts = np.concatenate([first, second]).astype(np.float64)
    split = len(first)
    scores = with_mean(iou_of(counts.sum(axis=1)))
    sides = mean_scores(scores, split)
    if block is None:
        block = block_length(influence(counts, split))
    generator = np.random.default_rng(seed)
    errors = _image_errors(counts, split, block, draws, generator)
    has_seeds = len(counts) > 2
    if has_seeds:
        freedom = len(counts) - 2
        errors += np.sqrt(seed_variance(scores, split)) * generator.standard_t(freedom, (draws, 1))
    difference = sides[1] - sides[0]
    low, high, p = _intervals(difference, errors)
    p[:-1] = holm(p[:-1])
    return Differences(sides[0], sides[1], low, high, p, block, has_seeds)


def iou_of(sums: FloatArray) -> FloatArray:
    """Return the IoU of pixel counts (..., 3, classes): (..., classes); NaN for 0 / 0."""
    correct, truth, predicted = np.moveaxis(sums, -2, 0)
    union = truth + predicted - correct
    ratio: FloatArray = np.divide(correct, union, out=np.full(union.shape, math.nan), where=union > 0)
    return ratio


def with_mean(values: FloatArray) -> FloatArray:
    """Append the mean without NaN: (..., classes) -> (..., classes + 1)."""
    return np.concatenate([values, _mean_of_numbers(values, -1)[..., None]], axis=-1)


def _mean_of_numbers(values: FloatArray, axis: int) -> FloatArray:
    """The mean over an axis without NaN; NaN if nothing is left, without numpy's warning."""
    is_number = ~np.isnan(values)
    count = is_number.sum(axis=axis)
    total = np.where(is_number, values, 0).sum(axis=axis)
    mean: FloatArray = np.divide(total, count, out=np.full(count.shape, math.nan), where=count > 0)
    return mean


def mean_scores(scores: FloatArray, split: int) -> tuple[FloatArray, FloatArray]:
    """Average scores (..., checkpoints, scores) over the checkpoints of each side; the first has `split` of them."""
    return scores[..., :split, :].mean(axis=-2), scores[..., split:, :].mean(axis=-2)


def seed_variance(scores: FloatArray, split: int) -> FloatArray:
    """Return the variance of the difference of both sides' means between training seeds, pooled over both sides.

    Args:
        scores: (checkpoints, scores), at least three checkpoints.
        split: number of checkpoints of the first side.
    """
    sides = scores[:split], scores[split:]
    squares: FloatArray = np.sum([((side - side.mean(axis=0)) ** 2).sum(axis=0) for side in sides], axis=0)
    return squares / (len(scores) - 2) * sum(1 / len(side) for side in sides)


def _image_errors(counts: FloatArray, split: int, block: int, draws: int, generator: np.random.Generator) -> FloatArray:
    """Errors of the differences from the choice of images: (draws, classes + 1).

    A bootstrap of few blocks is too narrow. As in Student's t-test, its error is divided by the root of a chi-square
    variable over its degrees of freedom, with the variance's own factor n / (n - 1).
    """
    checkpoints, images, rows, classes = counts.shape
    table = counts.transpose(1, 0, 2, 3).reshape(images, -1)
    found = []
    for weights in block_weights(images, block, draws, generator, table.shape[1]):
        sums = (weights @ table).reshape(-1, checkpoints, rows, classes)
        before, after = mean_scores(with_mean(iou_of(sums)), split)
        found.append(after - before)
    differences = np.concatenate(found)
    errors: FloatArray = differences - _mean_of_numbers(differences, 0)
    blocks = images / block
    if blocks <= 1.5:
        return np.full_like(errors, math.nan)
    freedom = blocks - 1
    errors *= np.sqrt(blocks / generator.chisquare(freedom, (draws, 1)))
    return errors


def block_weights(
    images: int, block: int, draws: int, generator: np.random.Generator, columns: int
) -> Iterator[FloatArray]:
    """How often each image is part of each draw: chunks (n, images) of all draws, for a table of so many columns.

    A draw has as many images as the split, in circular blocks that start anywhere.
    """
    chunk = max(1, AT_ONCE_BYTES // (8 * (columns + images)))
    starts = generator.integers(images, size=(draws, -(-images // block)))
    for first in range(0, draws, chunk):
        part = starts[first : first + chunk]
        index = (part[:, :, None] + np.arange(block)).reshape(len(part), -1)[:, :images] % images
        cells = index + images * np.arange(len(part))[:, None]
        yield np.bincount(cells.ravel(), minlength=len(part) * images).reshape(len(part), images).astype(np.float64)


def influence(counts: FloatArray, split: int) -> FloatArray:
    """Return the share of each image in the difference of mIoU, to first order: (images,)."""
    sums = counts.sum(axis=1)
    iou = iou_of(sums)
    union = sums[:, 1] + sums[:, 2] - sums[:, 0]
    of_image = counts[:, :, 1] + counts[:, :, 2] - counts[:, :, 0]
    shares = (counts[:, :, 0] - iou[:, None] * of_image) / np.where(union > 0, union, math.nan)[:, None]
    before, after = mean_scores(np.nan_to_num(shares).mean(axis=-1).T[..., None], split)
    difference: FloatArray = (after - before)[:, 0]
    return difference


def block_length(values: FloatArray) -> int:
    """Choose the block length from the autocorrelation of a series (Politis & White 2004, corrected 2009).

    Args:
        values: (images,) in their order.

    Returns:
        1 for independent values; at most a fifth of the images, so that a draw has five blocks or more.
    """
    count = len(values)
    centered = values - values.mean()
    if count < 10 or not centered.any():
        return 1
    largest = min(count - 1, math.ceil(math.sqrt(count)) + 5)
    covariance: FloatArray = np.array([centered[: count - lag] @ centered[lag:] / count for lag in range(largest + 1)])
    bound = 2 * math.sqrt(math.log10(count) / count)
    is_small = np.abs(covariance / covariance[0]) < bound
    run = max(5, math.ceil(math.sqrt(math.log10(count))))
    last = next((lag for lag in range(largest - run + 1) if is_small[lag + 1 : lag + 1 + run].all()), None)
    if last is None:  # correlated up to the largest lag that was measured
        last = int(np.flatnonzero(~is_small).max())
    bandwidth = min(2 * max(last, 1), largest)
    lags = np.arange(1, bandwidth + 1)
    window = np.clip(2 * (1 - lags / bandwidth), 0, 1)
    spread = 2 * float((window * lags * covariance[lags]).sum())
    variance = float(covariance[0] + 2 * (window * covariance[lags]).sum())
    if last == 0 or variance <= 0:
        return 1
    length = float((2 * spread**2 / (4 / 3 * variance**2)) ** (1 / 3) * count ** (1 / 3))
    return max(1, min(math.ceil(length), count // 5))


def _intervals(difference: FloatArray, errors: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Interval and two-sided p-value of each difference, from errors (draws, scores); NaN without any error.

    A class that is absent from a draw has no error there.
    """
    low, high, p = (np.full(len(difference), math.nan) for _ in range(3))
    tail = (1 - LEVEL) / 2
    for index, value in enumerate(difference):
        found = errors[:, index]
        found = found[~np.isnan(found)]
        if math.isnan(value) or not len(found):
            continue
        low[index], high[index] = value - np.quantile(found, [1 - tail, tail])
        opposite = min((found >= value).sum(), (found <= value).sum())
        p[index] = min(1.0, 2 * (opposite + 1) / (len(found) + 1))
    return low, high, p


def holm(p: FloatArray) -> FloatArray:
    """Adjust p-values for their number (Holm 1979); NaN stays and does not count."""
    adjusted = p.copy()
    order = [index for index in np.argsort(p) if not math.isnan(p[index])]
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p[index]))
        adjusted[index] = highest
    return adjusted

"""Draw the folds of a cross-validation: every sample is held out once, groups stay together, classes are spread."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from segnet.data.dataset import SegmentationDataset
from segnet.errors import ConfigError, counted, listed


def source_name(dataset: SegmentationDataset, index: int) -> str:
    """The first file of a sample, or the text that names it, in POSIX form; its number if it has neither."""
    source = next(iter(dataset.files(index)), None)
    if source is None:
        return f"{index:06d}"
    return source.absolute().as_posix() if isinstance(source, Path) else source


def draw_folds(
    num_folds: int,
    num_samples: int,
    groups: Sequence[str] | None = None,
    present: Sequence[Collection[int]] | None = None,
    seed: int = 0,
) -> list[list[int]]:
    """Divide samples into folds of nearly equal size; each class comes in as many folds as possible.

    Large groups come first, then those of rare classes; each goes to a smallest fold, and among these to that with the
    smallest fraction of its classes (as in Sechidis et al. 2011, "On the stratification of multi-label data", but
    without sizes that differ by more than a group).

    Args:
        num_folds: number of folds, 2 or more.
        num_samples: number of samples.
        groups: group of each sample; None: every sample is a group of its own.
        present: the classes in each sample; None: unknown, the folds are random.
        seed: seed of the order.

    Returns:
        The ascending indices of each fold's samples.

    Raises:
        ConfigError: fewer than 2 folds, or more than samples or groups.
    """
    if num_folds < 2:
        raise ConfigError(f"folds={num_folds}: a cross-validation needs 2 or more folds")
    members: dict[str | int, list[int]] = {}
    for index in range(num_samples):
        members.setdefault(index if groups is None else groups[index], []).append(index)
    if num_folds > len(members):
        what = counted(len(members), "image")
        if groups is not None:
            what = f"{counted(len(members), 'group')} ({listed([str(name) for name in members])})"
        raise ConfigError(f"folds={num_folds}: the dataset has only {what}: lower folds")
    units = list(members.values())
    num_classes = 1 + max((label for labels in present or () for label in labels), default=0)
    counts = np.zeros((len(units), num_classes))
    for unit, indices in zip(counts, units, strict=True):
        for index in indices:
            unit[list(present[index]) if present else []] += 1
    total = np.maximum(1, counts.sum(0))
    rarest = np.where(counts > 0, total, np.inf).min(1)
    order = np.random.default_rng(seed).permutation(len(units))
    ordered = sorted(order.tolist(), key=lambda unit: (-len(units[unit]), rarest[unit]))
    folds: list[list[int]] = [[] for _ in range(num_folds)]
    filled = np.zeros((num_folds, num_classes))
    for unit in ordered:
        shared = (filled / total * (counts[unit] > 0)).sum(1)
        chosen = min(range(num_folds), key=lambda fold: (len(folds[fold]), shared[fold], fold))
        folds[chosen] += units[unit]
        filled[chosen] += counts[unit]
    return [sorted(fold) for fold in folds]

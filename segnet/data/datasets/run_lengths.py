"""Decode COCO's plain and compressed run lengths without native code.

Source: the format of pycocotools (common/maskApi.c): counts of pixels down the columns, zeros first. Compressed, each
count from the fourth on is the difference to the count two before, in groups of 5 bits, as characters from "0" on.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.data.datasets.annotations import Area
from segnet.data.datasets.json_records import Record, as_integer, shown
from segnet.errors import DataError

MAX_GROUPS = 7  # groups of 5 bits; they encode counts up to 2**34


def decode_runs(runs: Record, size: tuple[int, int], where: str) -> Area:
    """Decode the run lengths of a mask.

    Args:
        runs: {"size": [height, width], "counts": [...] or "..."}.
        size: (height, width) of the image [pixels].
        where: the annotation, for errors.

    Returns:
        (height, width) bool.

    Raises:
        DataError: another size than the image, counts that are none, or that do not add up to the size.
    """
    stated = [as_integer(value) for value in runs.items("size")]
    if stated != list(size):
        raise DataError(
            f"{where}: run lengths of size {shown(runs.get('size'))}, but its image is [height, width] = {list(size)}"
        )
    counts = _counts(runs.get("counts"))
    if counts is None:
        raise DataError(f"{where}: counts must be a list of whole numbers from 0, or COCO's compressed text")
    return _filled(counts, size[0] * size[1], where).reshape(size[1], size[0]).T


def decode_row_runs(counts: Sequence[int | None], size: tuple[int, int], where: str) -> Area:
    """Decode run lengths along the rows of a mask, zeros first, as CVAT writes them.

    Args:
        counts: the run lengths; None for an invalid number.
        size: (height, width) of the mask [pixels].
        where: the annotation, for errors.

    Returns:
        (height, width) bool.

    Raises:
        DataError: invalid counts, or a sum other than the size.
    """
    numbers = _counts(list(counts))
    if numbers is None:
        raise DataError(f"{where}: run lengths must be whole numbers from 0")
    return _filled(numbers, size[0] * size[1], where).reshape(size)


def _filled(counts: NDArray[np.int64], wanted: int, where: str) -> NDArray[np.bool_]:
    """Return the pixels of consecutive runs.

    Raises:
        DataError: the sum of the runs is wrong.
    """
    total = int(counts.sum())
    if total != wanted:
        raise DataError(f"{where}: run lengths add up to {total:,} pixels, but its image has {wanted:,}")
    values = np.zeros(len(counts), bool)
    values[1::2] = True
    return np.repeat(values, counts)


def _counts(value: Any) -> NDArray[np.int64] | None:
    """Return the lengths of the runs; None if they are invalid."""
    if isinstance(value, str):
        counts = _decompress(value)
    elif isinstance(value, list):
        numbers = [as_integer(number) for number in value]
        valid = all(number is not None and 0 <= number < 2**40 for number in numbers)
        counts = np.array(numbers, np.int64) if valid else None
    else:
        return None
    return None if counts is None or (counts < 0).any() or (counts >= 2**40).any() else counts


def _decompress(text: str) -> NDArray[np.int64] | None:
    if not text.isascii():
        return None
    codes = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - ord("0")
    if len(codes) == 0:
        return np.zeros(0, np.int64)
    ends = np.flatnonzero((codes & 32) == 0)
    if codes.min() < 0 or codes.max() > 63 or len(ends) == 0 or ends[-1] != len(codes) - 1:
        return None
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > MAX_GROUPS:
        return None
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    counts = np.add.reduceat((codes & 31) << shifts, starts)
    counts -= ((codes[ends] & 16) != 0).astype(np.int64) << 5 * lengths  # the sign, in the highest bit
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    return counts

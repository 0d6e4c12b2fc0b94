"""Shared code of readers of annotation files: the class of uncovered pixels, and new masks."""

import numpy as np
from numpy.typing import NDArray

from segnet.classes import Classes, is_background
from segnet.data.datasets.json_records import Record
from segnet.data.datasets.labels import class_id, mask_type
from segnet.errors import DataError

Area = NDArray[np.bool_]  # bool (height, width): True for a shape's pixels


def background_id(classes: Classes, unlabeled: str | int | None) -> int:
    """Return the id of uncovered pixels: from the option dataset.unlabeled, or of a class named background.

    Raises:
        ConfigError: `unlabeled` is not a class.
    """
    if unlabeled is not None:
        return class_id(unlabeled, classes, "dataset.unlabeled")
    named = [index for index, name in enumerate(classes.names) if is_background(name)]
    return named[0] if named else classes.ignore_index


def empty_mask(size: tuple[int, int], value: int, classes: Classes) -> NDArray[np.uint8 | np.int32]:
    """Return a mask of one value; size (height, width)."""
    return np.full(size, value, mask_type(classes))


def require_size(record: Record, height: str, width: str, size: tuple[int, int], image: object) -> None:
    """Check the image size stated in an annotation file; null and 0 count as unknown.

    Args:
        height, width: the keys.
        size: (height, width) of the image [pixels].
        image: its path, for errors.

    Raises:
        DataError: another size.
    """
    stated = (record.size(height) or size[0], record.size(width) or size[1])
    if stated != size:
        raise DataError(
            f"{image}: {size[1]} x {size[0]} pixels, but {record.source} was drawn on {stated[1]} x {stated[0]}: "
            "annotations must fit the image"
        )

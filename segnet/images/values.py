"""Scale stored values to 0-255, the input range of models.

8-bit values stay unchanged, 16-bit ones are scaled from 0-65535, floating-point ones from 0-1. A value range replaces
this rule for images with a smaller range, such as those of 12-bit cameras, or another one, such as temperatures.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, DataError

Bands = NDArray[np.uint8 | np.float32]
ValueRange = tuple[float, float]

FULL_16_BITS = 65535.0
ONE_COLOR = 0.05  # fraction of the value range below which a clipped image is one color to a network
ROWS_AT_ONCE = 2**20  # values scaled per chunk: float copies of a large image would take several times its size


class MisfitError(DataError):
    """An image that needs other options of the training.

    Attributes:
        for_model: the message for a trained model, whose options cannot be changed.
    """

    def __init__(self, message: str, for_model: str = "") -> None:
        super().__init__(message)
        self.for_model = for_model or message


class ValueRangeError(MisfitError):
    """Values out of range.

    Attributes:
        low, high: the smallest and largest value.
        full: the value of white.
    """

    def __init__(self, message: str, for_model: str = "", low: float = 0, high: float = 0, full: float = 0) -> None:
        super().__init__(message, for_model)
        self.low, self.high, self.full = low, high, full


@contextlib.contextmanager
def for_trained_model() -> Iterator[None]:
    """Replace advice about options of a training in errors of images."""
    try:
        yield
    except MisfitError as error:
        raise DataError(error.for_model) from None


def full_scale(kind: str, bits: int) -> float:
    """The value of white: 255, 65535, 4095 for 12 bits, or 1 for floating point.

    Args:
        kind: kind of the dtype: "u", "i" or "f".
        bits: bits per value.
    """
    if kind == "f":
        return 1.0
    if bits >= 16:
        return FULL_16_BITS
    return 2.0 ** (bits if kind == "u" else bits - 1) - 1


def checked_value_range(value_range: Sequence[float] | None) -> ValueRange | None:
    """Validate the option dataset.value_range, and return it as a pair.

    Raises:
        ConfigError: not two finite numbers in ascending order.
    """
    if value_range is None:
        return None
    numbers = [value for value in value_range if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) != 2 or len(value_range) != 2 or not np.isfinite(numbers).all() or numbers[0] >= numbers[1]:
        raise ConfigError(f"dataset.value_range={list(value_range)} must be [low, high], low below high")
    return float(numbers[0]), float(numbers[1])


def scaled(
    values: NDArray[Any],
    full: float,
    source: Path | str,
    value_range: ValueRange | None = None,
    to_uint8: bool = False,
    limited: bool = True,
) -> Bands:
    """Scale stored values to 0-255.

    Args:
        values: array of any shape and real dtype.
        full: the value of white, see `full_scale`.
        source: name of the image in errors.
        value_range: the values mapped to 0 and 255; others are clipped. None: 0 and `full`; others are refused.
        to_uint8: whether to round to uint8, as for RGB; otherwise 8-bit values stay uint8, others become float32.
        limited: whether to refuse floating-point values outside of 0 to `full` without a value range.

    Raises:
        ValueRangeError: values outside of 0 to `full` without a value range.
        DataError: NaN or infinity.
    """
    _refuse_non_finite(values, source)
    if value_range is None:
        if values.dtype == np.uint8 and full == 255:
            return np.ascontiguousarray(values)
        if limited or values.dtype.kind != "f":
            _refuse_outside(values, full, source)
        low, high = 0.0, full
    else:
        low, high = value_range
        if values.dtype.kind in "iu" and high > full:
            raise DataError(
                f"{source}: {values.dtype} values reach {full:g}, but dataset.value_range={[low, high]} needs more: "
                "is it another kind of image?"
            )
    result = np.empty(values.shape, np.uint8 if to_uint8 else np.float32)
    step = max(1, ROWS_AT_ONCE // max(1, values[:1].size))
    for top in range(0, len(values), step):
        part = (values[top : top + step].astype(np.float64) - low) * 255 / (high - low)
        if value_range is not None:
            part = part.clip(0, 255)
        result[top : top + step] = part.round() if to_uint8 else part
    return result


def clipping_warning(
    darkest: float, brightest: float, value_range: ValueRange | None, stored: Callable[[], NDArray[Any]]
) -> str:
    """Warn if the value range clips an image to (almost) one color, as with images of another kind.

    Args:
        darkest, brightest: the smallest and largest value of the scaled image, 0-255.
        value_range: the value range that scaled it.
        stored: reads the stored values; called only for an image of one color.

    Returns:
        The warning without the name of the file; empty without one.
    """
    if value_range is None or brightest - darkest > 255 * ONE_COLOR or (darkest > 0 and brightest < 255):
        return ""
    values = stored()
    low, high = values.min().item(), values.max().item()
    if low >= value_range[0] and high <= value_range[1]:
        return ""  # the stored image has one color
    return (
        f"its values {low:g} to {high:g} become one color in the model's value_range [{value_range[0]:g}, "
        f"{value_range[1]:g}]: is it another kind of image?"
    )


def _refuse_non_finite(values: NDArray[Any], source: Path | str) -> None:
    if values.dtype.kind == "f" and (bad := int((~np.isfinite(values)).any(axis=-1).sum())):
        raise DataError(
            f"{source}: contains NaN or infinity ({bad} pixels): dataset=geotiff and segnet predict --scene ignore them"
        )


def _refuse_outside(values: NDArray[Any], full: float, source: Path | str) -> None:
    low, high = values.min().item(), values.max().item()
    if low < 0 or high > full:
        problem = f"{source}: {values.dtype} values {low:g} to {high:g} are outside 0-{full:g}"
        raise ValueRangeError(
            f"{problem}: set dataset.value_range=[low,high], or convert it to 8 or 16 bits",
            f"{problem}: convert it to 8 or 16 bits",
            low,
            high,
            full,
        )

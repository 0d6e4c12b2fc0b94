"""Label Studio's run lengths of brush labels, decoded without native code.

Source: the format of @thi.ng/rle-pack, in which Label Studio stores the pixels of a canvas, (height, width, RGBA).
Pixels with alpha above 0 belong to the brush. The format is a stream of bits, the highest bit first. The header has the
number of values (32 bits), their size less 1 (5), and four sizes of lengths less 1 (4 each). Each packet has a repeat
flag (1), the number of its length's size (2), the length less 1, and the repeated value or all values.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.data.datasets.annotations import Area
from segnet.data.datasets.json_records import as_integer
from segnet.errors import DataError

HEADER_BITS = 32 + 5 + 4 * 4
VALUE_BITS = 8
CHANNELS = 4


def decode_brush(values: Sequence[Any], size: tuple[int, int], where: str) -> Area:
    """Decode the run lengths of a brush label.

    Args:
        values: bytes, as numbers of 0-255.
        size: (height, width) of the image [pixels].
        where: the annotation, for errors.

    Returns:
        (height, width) bool.

    Raises:
        DataError: values that are not bytes, or run lengths of another number of pixels.
    """
    numbers = [as_integer(value) for value in values]
    if not all(number is not None and 0 <= number <= 255 for number in numbers):
        raise DataError(f"{where}: run lengths of a brush must be a list of numbers 0-255")
    bits = np.unpackbits(np.array(numbers, np.uint8))
    if len(bits) < HEADER_BITS:
        raise DataError(f"{where}: run lengths of a brush are cut off")
    total = CHANNELS * size[0] * size[1]
    stated, value_bits = _big_endian(bits[:32]), _big_endian(bits[32:37]) + 1
    if (stated, value_bits) != (total, VALUE_BITS):
        raise DataError(
            f"{where}: run lengths of a brush have {stated:,} values of {value_bits} bits, but its image has "
            f"{size[1]} x {size[0]} pixels, {total:,} values of {VALUE_BITS}"
        )
    length_bits = [_big_endian(bits[start : start + 4]) + 1 for start in range(37, HEADER_BITS, 4)]
    pixels = np.zeros(total, np.uint8)
    place, filled = HEADER_BITS, 0
    while filled < total:
        repeats, width = bits[place : place + 1].any(), length_bits[_big_endian(bits[place + 1 : place + 3])]
        place += 3
        end = filled + _big_endian(bits[place : place + width]) + 1
        place += width
        count = 1 if repeats else end - filled
        part = bits[place : place + VALUE_BITS * count]
        place += VALUE_BITS * count
        if end > total or len(part) < VALUE_BITS * count:
            raise DataError(f"{where}: run lengths of a brush are damaged or cut off")
        pixels[filled:end] = np.packbits(part)
        filled = end
    return pixels.reshape(*size, CHANNELS)[:, :, 3] > 0


def _big_endian(bits: NDArray[np.uint8]) -> int:
    return int.from_bytes(np.packbits(np.pad(bits, (-len(bits) % 8, 0))).tobytes(), "big")

"""Label Studio's run lengths of brush labels, decoded and encoded without native code.

Source: the format of @thi.ng/rle-pack, in which Label Studio stores the pixels of a canvas, (height, width, RGBA).
Pixels with alpha above 0 belong to the brush. The format is a stream of bits, the highest bit first. The header has the
number of values (32 bits), their size less 1 (5), and four sizes of lengths less 1 (4 each). Each packet has a repeat
flag (1), the number of its length's size (2), the length less 1, and the repeated value or all values.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from segnet.data.datasets.annotations import Area
from segnet.data.datasets.json_records import as_integer
from segnet.errors import DataError

HEADER_BITS = 32 + 5 + 4 * 4
VALUE_BITS = 8
CHANNELS = 4
LENGTH_BITS = np.array((3, 4, 8, 16))  # sizes of lengths that Label Studio writes [bits]


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
    bits = "".join(f"{number:08b}" for number in numbers)
    if len(bits) < HEADER_BITS:
        raise DataError(f"{where}: run lengths of a brush are cut off")
    total = CHANNELS * size[0] * size[1]
    stated, value_bits = int(bits[:32], 2), int(bits[32:37], 2) + 1
    if (stated, value_bits) != (total, VALUE_BITS):
        raise DataError(
            f"{where}: run lengths of a brush have {stated:,} values of {value_bits} bits, but its image has "
            f"{size[1]} x {size[0]} pixels, {total:,} values of {VALUE_BITS}"
        )
    length_bits = [int(bits[start : start + 4], 2) + 1 for start in range(37, HEADER_BITS, 4)]
    pixels = bytearray(total)
    place, filled = HEADER_BITS, 0
    while filled < total:
        head = bits[place : place + 3]
        start = place + 3 + (length_bits[int(head[1:], 2)] if len(head) == 3 else 0)
        length = int(bits[place + 3 : start] or "0", 2) + 1
        count = 1 if head[:1] == "1" else length
        place = start + VALUE_BITS * count
        if filled + length > total or place > len(bits):
            raise DataError(f"{where}: run lengths of a brush are damaged or cut off")
        part = int(bits[start:place], 2).to_bytes(count, "big")
        pixels[filled : filled + length] = part * length if count == 1 else part
        filled += length
    return np.frombuffer(pixels, np.uint8).reshape(*size, CHANNELS)[:, :, 3] > 0


def encode_brush(area: Area) -> list[int]:
    """Encode pixels as the run lengths of a brush label: the inverse of `decode_brush`.

    The bytes are those of label-studio-sdk (converter/brush.py, mask2rle): all four channels of a pixel are 255 or 0.

    Args:
        area: (height, width) bool.

    Returns:
        Bytes, as numbers of 0-255.
    """
    flat = area.ravel()
    ends = np.append(np.flatnonzero(np.diff(flat)) + 1, flat.size)
    starts = np.append(0, ends[:-1])
    most = 2 ** int(LENGTH_BITS[-1])
    packets = -(-CHANNELS * (ends - starts) // most)  # a longer run takes several
    lengths = np.full(int(packets.sum()), most)
    lengths[np.cumsum(packets) - 1] = CHANNELS * (ends - starts) - most * (packets - 1)
    values = np.repeat(np.where(flat[starts], 255, 0), packets)
    sizes = np.searchsorted(2**LENGTH_BITS, np.repeat(CHANNELS * (ends - starts), packets).clip(max=most))
    widths = LENGTH_BITS[sizes]
    # A packet: the flag of a run (1 bit), the size of its length (2), the length less 1, the value.
    words = (((4 | sizes) << widths | lengths - 1) << VALUE_BITS) | values
    num_bits = 3 + widths + VALUE_BITS
    places = np.arange(int(num_bits.sum())) - np.repeat(np.cumsum(num_bits) - num_bits, num_bits)
    body = np.repeat(words, num_bits) >> (np.repeat(num_bits, num_bits) - 1 - places) & 1
    head = f"{CHANNELS * flat.size:032b}{VALUE_BITS - 1:05b}" + "".join(f"{width - 1:04b}" for width in LENGTH_BITS)
    bits = np.concatenate((np.array([int(bit) for bit in head]), body))
    padding = np.zeros(8 - len(bits) % 8, np.int64)  # at least one bit, as in label-studio-sdk
    encoded: list[int] = np.packbits(np.concatenate((bits, padding)).astype(np.uint8)).tolist()
    return encoded

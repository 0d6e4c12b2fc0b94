"""Samples as bytes: a header in JSON, then the pixels of image and mask as they are, to be used where they lie."""

import json
import mmap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segnet.data.dataset import Sample

ALIGNMENT = 64  # of the pixels in a record, and of its length [bytes]
LENGTH = 8  # of what a record begins with: the length of its header [bytes]

Buffer = mmap.mmap | NDArray[np.uint8]


def pack_sample(sample: Sample, stamp: list[int]) -> list[bytes | memoryview]:
    """The parts of a record."""
    arrays = [np.ascontiguousarray(sample.image), np.ascontiguousarray(sample.mask)]
    described = [[array.dtype.str, list(array.shape)] for array in arrays]
    header = json.dumps([sample.name, stamp, described]).encode()
    parts: list[bytes | memoryview] = [len(header).to_bytes(LENGTH, "little"), header]
    for array in arrays:
        parts += [bytes(-size_of(parts) % ALIGNMENT), array.reshape(-1).view(np.uint8).data]
    parts.append(bytes(-size_of(parts) % ALIGNMENT))
    return parts


def unpack_sample(buffer: Buffer, start: int, end: int, stamp: list[int]) -> Sample | None:
    """The sample of a record, its pixels a view of the buffer that cannot be written to.

    Args:
        start, end: of the record [bytes].
        stamp: of the sample's files.

    Returns:
        None where the files are not those of the record, or the record is torn.
    """
    try:
        place = start + LENGTH
        length = int.from_bytes(bytes(buffer[start:place]), "little")
        if length > end - place:
            return None
        name, told, described = json.loads(bytes(buffer[place : place + length]))
        if told != stamp:
            return None
        place += length
        arrays = []
        for dtype, shape in described:
            place += (start - place) % ALIGNMENT
            count = int(np.prod(shape))
            array = np.frombuffer(buffer, dtype, count, place).reshape(shape)
            array.flags.writeable = False
            arrays.append(array)
            place += array.nbytes
        image, mask = arrays
    except (ValueError, TypeError):
        return None
    return Sample(image, mask, name) if place <= end else None


def size_of(parts: Sequence[bytes | memoryview]) -> int:
    return sum(len(part) for part in parts)

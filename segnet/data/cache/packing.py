"""Serialize samples without copies on reading: a JSON header, then the raw pixels of image and mask."""

import json
import mmap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segnet.data.dataset import Sample

ALIGNMENT = 64  # alignment of the pixels in a record, and of its length [bytes]
LENGTH = 8  # size of the first field of a record, which is the length of its header [bytes]

Buffer = mmap.mmap | NDArray[np.uint8]


def pack_sample(sample: Sample, fingerprint: list[int]) -> list[bytes | memoryview]:
    """Serialize a sample to the parts of a record, in writing order."""
    arrays = [np.ascontiguousarray(sample.image), np.ascontiguousarray(sample.mask)]
    described = [[array.dtype.str, list(array.shape)] for array in arrays]
    header = json.dumps([sample.name, fingerprint, described]).encode()
    parts: list[bytes | memoryview] = [len(header).to_bytes(LENGTH, "little"), header]
    for array in arrays:
        parts += [bytes(-size_of(parts) % ALIGNMENT), array.reshape(-1).view(np.uint8).data]
    parts.append(bytes(-size_of(parts) % ALIGNMENT))
    return parts


def unpack_sample(buffer: Buffer, start: int, end: int, fingerprint: list[int]) -> Sample | None:
    """Read the sample of a record; its pixels are a read-only view of the buffer.

    Args:
        start, end: place of the record in the buffer [bytes].
        fingerprint: fingerprint of the sample's files.

    Returns:
        The sample; None if the record belongs to other files, or is incomplete.
    """
    try:
        place = start + LENGTH
        length = int.from_bytes(bytes(buffer[start:place]), "little")
        if length > end - place:
            return None
        name, stored, described = json.loads(bytes(buffer[place : place + length]))
        if stored != fingerprint:
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
    """Return the total size of the parts of a record [bytes]."""
    return sum(len(part) for part in parts)

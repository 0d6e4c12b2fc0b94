"""Packed samples are read unchanged; incomplete records and records of other files are not read."""

import numpy as np
import pytest

from segnet.data.cache.packing import ALIGNMENT, pack_sample, size_of, unpack_sample
from segnet.data.dataset import Sample

STAMP = [1, 2, 3]


def sample(height=5, width=7, channels=3, image="u1", mask="u1"):
    rng = np.random.default_rng(0)
    return Sample(
        rng.integers(0, 200, (height, width, channels)).astype(image),
        rng.integers(0, 200, (height, width)).astype(mask),
        "été/1.png",
    )


def record(one, before=0):
    """Return the bytes of a record after other bytes, and its start and end."""
    parts = pack_sample(one, STAMP)
    data = bytes(before) + b"".join(bytes(part) for part in parts)
    assert len(data) == before + size_of(parts)
    return np.frombuffer(data, np.uint8), before, len(data)


@pytest.mark.parametrize(
    "one",
    [sample(), sample(1, 1, 1), sample(33, 2, 8, image="f4"), sample(mask="i4")],
    ids=lambda s: str(s.image.shape),
)
@pytest.mark.parametrize("before", [0, 3 * ALIGNMENT])
def test_a_sample_is_unpacked_unchanged_and_read_only(one, before):
    buffer, start, end = record(one, before)
    assert (end - start) % ALIGNMENT == 0
    back = unpack_sample(buffer, start, end, STAMP)
    assert back.name == one.name
    for given, expected in ((back.image, one.image), (back.mask, one.mask)):
        assert given.dtype == expected.dtype
        assert np.array_equal(given, expected)
        assert not given.flags.writeable
        assert (given.ctypes.data - buffer.ctypes.data - start) % ALIGNMENT == 0


def test_a_view_of_an_image_is_packed_without_the_rest():
    whole = sample(9, 9)
    part = Sample(whole.image[2:5, 1:8:2], whole.mask[2:5, 1:8:2], "part")
    back = unpack_sample(*record(part), STAMP)
    assert np.array_equal(back.image, part.image)
    assert np.array_equal(back.mask, part.mask)


def test_a_record_of_other_files_is_not_unpacked():
    assert unpack_sample(*record(sample()), [1, 2, 4]) is None


@pytest.mark.parametrize("length", [0, 4, 8, 40, 100, 200])
def test_an_incomplete_record_is_not_unpacked(length):
    buffer, start, end = record(sample())
    torn = buffer.copy()
    torn[length:] = 0
    assert length < end
    back = unpack_sample(torn[:length], start, length, STAMP)
    assert back is None
    if length < 100:  # within the header; the pixels after it are not checked
        assert unpack_sample(torn, start, end, STAMP) is None

"""Samples as bytes come back as they were; what is torn, or of other files, does not."""

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
    """The bytes of a record behind others, and where it begins and ends."""
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
def test_a_sample_comes_back_as_it_was_and_cannot_be_written_to(one, before):
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


def test_of_other_files_nothing_comes_back():
    assert unpack_sample(*record(sample()), [1, 2, 4]) is None


@pytest.mark.parametrize("length", [0, 4, 8, 40, 100, 200])
def test_of_a_torn_record_nothing_comes_back(length):
    buffer, start, end = record(sample())
    torn = buffer.copy()
    torn[length:] = 0
    assert length < end
    back = unpack_sample(torn[:length], start, length, STAMP)
    assert back is None
    if length < 100:  # within the header: the pixels behind it are not checked
        assert unpack_sample(torn, start, end, STAMP) is None

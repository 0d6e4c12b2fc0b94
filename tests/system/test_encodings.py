"""Texts of every Unicode encoding are recognized, with a byte order mark and without."""

import pytest

from segnet.system.encodings import unicode_encoding


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_encodings_are_recognized(encoding):
    data = "a.jpg\né.jpg\n".encode(encoding)
    assert data.decode(unicode_encoding(data)) == "a.jpg\né.jpg\n"

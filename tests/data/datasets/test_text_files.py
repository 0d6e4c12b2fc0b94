"""Text files in every Unicode encoding."""

import pytest

from segnet.data.datasets.text_files import read_lines
from segnet.errors import DataError


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_every_encoding_and_line_ending_is_read(tmp_path, encoding, newline):
    (tmp_path / "list.txt").write_bytes(f"a é.jpg{newline}{newline} b.jpg {newline}".encode(encoding))
    assert read_lines(tmp_path / "list.txt") == ["a é.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n \n", "has no line: it should be a list of files"),
        (b"\xff\xfe\x00", r"is not UTF-16 text \(byte 2\)"),
        ("é".encode("latin-1"), r"is not UTF-8 text \(byte 0\): save it as UTF-8"),
        (b"", "is empty"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_not_a_list_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_lines(tmp_path / "list.txt")

"""Unicode encodings of text files, by their first bytes."""

import codecs
import json

MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def unicode_encoding(data: bytes) -> str:
    """The encoding that a text's byte order mark shows, or else its zeros; UTF-8 if it has neither."""
    return next((name for mark, name in MARKS if data.startswith(mark)), None) or json.detect_encoding(data)

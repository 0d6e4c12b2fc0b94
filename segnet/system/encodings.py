"""Detect the Unicode encoding of text files."""

import codecs
import json

MARKS = (  # UTF-32 first: its little-endian mark starts with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def unicode_encoding(data: bytes) -> str:
    """Detect the encoding from the byte order mark, else from zero bytes; UTF-8 without either."""
    return next((name for mark, name in MARKS if data.startswith(mark)), None) or json.detect_encoding(data)

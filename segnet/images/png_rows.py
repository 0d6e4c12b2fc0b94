"""Decode the top left part of a PNG file.

A decoder must begin with the first pixel, but may stop after the last row and column that are wanted: PNG filters refer
to pixels above and to the left only (PNG, third edition, section 9.2). zlib inflates up to there, or isal, which is
several times faster (extra `fast`). OpenCV reverses the filters: it gets the part as a PNG file that is not compressed.

PNG is lossless, so the pixels do not depend on the libraries.
"""

import importlib
import importlib.util
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

START = b"\x89PNG\r\n\x1a\n"
GRAY_COLOR, RGB_COLOR, PALETTE_COLOR = 0, 2, 3  # color types
# Chunks that change neither size nor pixels; others, such as EXIF orientation or animations, may.
HARMLESS = frozenset(
    (b"PLTE", b"tRNS", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"bKGD", b"tIME", b"tEXt", b"hIST")
)
STORED_BLOCK = 65535  # longest uncompressed block of deflate [bytes]


@dataclass(frozen=True, slots=True)
class PngRows:
    """A PNG file of 8 bits per sample, without interlacing.

    Attributes:
        height, width: size [pixels].
        num_samples: samples per pixel, 1 or 3.
        compressed: the pixels, as a zlib stream.
    """

    height: int
    width: int
    num_samples: int
    compressed: bytes

    def part(self, rows: slice, columns: slice) -> NDArray[np.uint8] | None:
        """Decode a part: (H, W, samples), palette indices or RGB; None if the file is damaged."""
        zlib = fast_zlib()
        row_size = 1 + self.width * self.num_samples  # the first byte is the filter
        try:
            raw = zlib.decompressobj().decompress(self.compressed, rows.stop * row_size)
        except zlib.error:
            return None
        if len(raw) != rows.stop * row_size:
            return None
        filtered = np.frombuffer(raw, np.uint8).reshape(rows.stop, row_size)[:, : 1 + columns.stop * self.num_samples]
        pixels = _unfiltered(filtered, self.num_samples)
        return None if pixels is None else pixels[rows, columns]


def png_rows(data: bytes) -> PngRows | None:
    """Parse a PNG file; None if it is of another kind, damaged, cut off, or has chunks that may change its pixels."""
    zlib, pieces, header = fast_zlib(), [], b""
    for name, content, checksum in _chunks(data):
        if name == b"IEND":
            break
        if name == b"IHDR":
            header = content
        elif name == b"IDAT":
            pieces.append(content)
        elif name not in HARMLESS or content.startswith(b"Raw profile type"):
            return None
        if zlib.crc32(content, zlib.crc32(name)) != checksum:
            return None
    else:
        return None
    if len(header) != 13:
        return None
    width, height, depth, color, *others = struct.unpack(">IIBBBBB", header)
    if depth != 8 or color not in (GRAY_COLOR, RGB_COLOR, PALETTE_COLOR) or any(others) or not width or not height:
        return None
    return PngRows(height, width, 3 if color == RGB_COLOR else 1, b"".join(pieces))


@cache
def fast_zlib() -> Any:
    """The module isal_zlib of isal, or zlib of Python."""
    return importlib.import_module("isal.isal_zlib" if importlib.util.find_spec("isal") else "zlib")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield name, content and checksum of each complete chunk."""
    place = len(START)
    while data.startswith(START) and place + 12 <= len(data):
        size = int.from_bytes(data[place : place + 4])
        end = place + 8 + size
        if end + 4 > len(data):
            return
        yield data[place + 4 : place + 8], data[place + 8 : end], int.from_bytes(data[end : end + 4])
        place = end + 4


def _unfiltered(filtered: NDArray[np.uint8], num_samples: int) -> NDArray[np.uint8] | None:
    """Reverse the filters of rows, each of which begins with the number of its filter: (H, W, samples)."""
    height, width = filtered.shape[0], (filtered.shape[1] - 1) // num_samples
    if not filtered[:, 0].any():
        return filtered[:, 1:].reshape(height, width, num_samples)
    zlib, content = fast_zlib(), np.ascontiguousarray(filtered).reshape(-1).data
    stream: list[bytes | memoryview] = [b"\x78\x01"]
    for start in range(0, len(content), STORED_BLOCK):
        block = content[start : start + STORED_BLOCK]
        stream += [
            struct.pack("<BHH", start + STORED_BLOCK >= len(content), len(block), len(block) ^ STORED_BLOCK),
            block,
        ]
    stream.append(zlib.adler32(content).to_bytes(4))
    header = struct.pack(">IIBBBBB", width, height, 8, RGB_COLOR if num_samples == 3 else GRAY_COLOR, 0, 0, 0)
    file = bytearray(START)
    for name, part in ((b"IHDR", header), (b"IDAT", b"".join(stream)), (b"IEND", b"")):
        file += len(part).to_bytes(4) + name + part + zlib.crc32(part, zlib.crc32(name)).to_bytes(4)
    found = cv2.imdecode(
        np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB if num_samples == 3 else cv2.IMREAD_UNCHANGED
    )
    return None if found is None else np.asarray(found, np.uint8).reshape(height, width, num_samples)

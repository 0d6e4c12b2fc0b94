"""Decode the pixels of a TIFF page.

Strips and tiles of every depth, sample type, byte order, predictor and planar configuration are assembled here. Pillow
decodes 8-bit files correctly, but not 16-bit planes, half floats or 16-bit palettes; tifffile needs another package for
LZW. libtiff, through Pillow, decompresses LZW and Zstandard: it gets the blocks wrapped as a grayscale TIFF.
"""

import io
import lzma
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.images.tiff.layout import Layout, TiffError
from segnet.images.tiff.tags import Compression, Photometric, SampleFormat, Tag

_REVERSED_BITS = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, ::-1], axis=1)[:, 0]
_DTYPE_KINDS: dict[int, str] = {SampleFormat.UNSIGNED: "u", SampleFormat.SIGNED: "i", SampleFormat.FLOAT: "f"}
MAX_TILE_PADDING = 2**24  # most pixels of a tile beyond the image: limits memory for damaged tags


def is_decodable(layout: Layout) -> bool:
    """Whether `decode_page` supports a layout."""
    whole = layout.bits in (8, 16, 32, 64)
    by_format: dict[int, bool] = {
        SampleFormat.UNSIGNED: whole or layout.bits < 16,
        SampleFormat.SIGNED: whole,
        SampleFormat.FLOAT: layout.bits in (16, 32, 64),
    }
    by_predictor = {
        1: True,
        2: whole and layout.sample_format != SampleFormat.FLOAT,
        3: layout.sample_format == SampleFormat.FLOAT,
    }
    return (
        layout.compression in _DECOMPRESSORS
        and layout.photometric in list(Photometric)
        and by_format.get(layout.sample_format, False)
        and by_predictor.get(layout.predictor, False)
    )


def decode_page(file: BinaryIO, layout: Layout) -> NDArray[Any]:
    """Decode the stored pixels of a page: (H, W, samples), in native byte order.

    Raises:
        TiffError: damaged or truncated.
    """
    tile_height, tile_width = layout.tile
    if tile_height * tile_width > layout.height * layout.width + MAX_TILE_PADDING:
        raise TiffError(f"damaged (tiles of {tile_width} x {tile_height} pixels)")
    down, across = math.ceil(layout.height / tile_height), math.ceil(layout.width / tile_width)
    num_planes, per_pixel = (layout.num_samples, 1) if layout.is_planar else (1, layout.num_samples)
    per_plane = down * across
    if len(layout.offsets) < num_planes * per_plane or len(layout.sizes) < len(layout.offsets):
        raise TiffError(f"damaged or cut off ({len(layout.offsets)} strips or tiles)")
    pixels = np.zeros((layout.height, layout.width, layout.num_samples), _dtype_of_samples(layout))
    row_bytes = math.ceil(tile_width * per_pixel * layout.bits / 8)
    for plane in range(num_planes):
        first = plane * per_plane
        blocks = [_block(file, layout, first + number) for number in range(per_plane)]
        heights = [_rows(layout, number // across) for number in range(per_plane)]
        decompressed = _DECOMPRESSORS[layout.compression](blocks, row_bytes, heights, layout)
        for number, (data, rows) in enumerate(zip(decompressed, heights, strict=True)):
            if not data:  # missing in a sparse file
                continue
            values = _values(data, rows, per_pixel, layout)
            top, left = number // across * tile_height, number % across * tile_width
            part = pixels[top : top + tile_height, left : left + tile_width, plane : plane + per_pixel]
            part[...] = values[: part.shape[0], : part.shape[1]]
    return pixels


def _dtype_of_samples(layout: Layout) -> np.dtype[Any]:
    size = max(1, 1 << (math.ceil(layout.bits / 8) - 1).bit_length())
    return np.dtype(f"{_DTYPE_KINDS[layout.sample_format]}{size}")


def _rows(layout: Layout, row: int) -> int:
    """Rows of a tile or strip; the last strip may be shorter."""
    height = layout.tile[0]
    return height if layout.is_tiled else min(height, layout.height - row * height)


def _block(file: BinaryIO, layout: Layout, number: int) -> bytes:
    offset, size = layout.offsets[number], layout.sizes[number]
    file.seek(offset)
    data = file.read(size)
    if len(data) < size:
        raise TiffError(f"damaged or cut off (strip or tile {number + 1} of {len(layout.offsets)})")
    if layout.fill_order == 2:
        data = _REVERSED_BITS[np.frombuffer(data, np.uint8)].tobytes()
    return data


def _values(data: bytes, rows: int, per_pixel: int, layout: Layout) -> NDArray[Any]:
    """Convert the bytes of a strip or tile to (rows, width, samples)."""
    width, bits = layout.tile[1], layout.bits
    row_bytes = math.ceil(width * per_pixel * bits / 8)
    if len(data) < rows * row_bytes:
        raise TiffError("damaged or cut off (a strip or tile ends early)")
    lines = np.frombuffer(data, np.uint8, rows * row_bytes).reshape(rows, row_bytes)
    if bits not in (8, 16, 32, 64):
        return _unpacked(lines, width * per_pixel, bits).reshape(rows, width, per_pixel)
    if layout.predictor == 3:
        return _floats(lines, width, per_pixel, bits // 8)
    kind = f"{_DTYPE_KINDS[layout.sample_format]}{bits // 8}"
    values = lines.view(f"{layout.byte_order}{kind}").reshape(rows, width, per_pixel)
    if layout.predictor == 2:
        native = values.astype(kind)
        return np.add.accumulate(native, axis=1, dtype=native.dtype, out=native)
    return values


def _unpacked(lines: NDArray[np.uint8], length: int, bits: int) -> NDArray[Any]:
    """Unpack samples of 1 to 15 bits, most significant bit first."""
    if 8 % bits == 0:
        shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
        spread = lines[:, :, None] >> shifts & np.uint8((1 << bits) - 1)
        return spread.reshape(len(lines), -1)[:, :length]
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint16)
    rows = [np.unpackbits(line)[: length * bits].reshape(length, bits) @ weights for line in lines]
    return np.array(rows, np.uint16 if bits > 8 else np.uint8)


def _floats(lines: NDArray[np.uint8], width: int, per_pixel: int, size: int) -> NDArray[Any]:
    """Undo the floating-point predictor: byte differences, with the bytes of a row grouped by significance."""
    rows = len(lines)
    summed = np.add.accumulate(lines.reshape(rows, -1, per_pixel), axis=1, dtype=np.uint8)
    ordered = np.ascontiguousarray(summed.reshape(rows, size, width * per_pixel).swapaxes(1, 2))
    return ordered.view(f">f{size}").reshape(rows, width, per_pixel)


# Decompressors: compressed blocks, bytes per row, rows of each block -> bytes of each block; empty blocks stay empty


def _uncompressed(blocks: Sequence[bytes], row_bytes: int, heights: Sequence[int], layout: Layout) -> list[bytes]:
    return list(blocks)


def _deflated(blocks: Sequence[bytes], row_bytes: int, heights: Sequence[int], layout: Layout) -> list[bytes]:
    try:
        return [
            zlib.decompressobj().decompress(block, row_bytes * rows) if block else b""
            for block, rows in zip(blocks, heights, strict=True)
        ]
    except zlib.error as error:
        raise TiffError(f"damaged or cut off ({error})") from None


def _lzma(blocks: Sequence[bytes], row_bytes: int, heights: Sequence[int], layout: Layout) -> list[bytes]:
    try:
        return [
            lzma.LZMADecompressor(memlimit=2**27).decompress(block, row_bytes * rows) if block else b""
            for block, rows in zip(blocks, heights, strict=True)
        ]
    except (lzma.LZMAError, EOFError) as error:
        raise TiffError(f"damaged or cut off ({error})") from None


def _packbits(blocks: Sequence[bytes], row_bytes: int, heights: Sequence[int], layout: Layout) -> list[bytes]:
    return [_unpack(block, row_bytes * rows) if block else b"" for block, rows in zip(blocks, heights, strict=True)]


def _unpack(data: bytes, size: int) -> bytes:
    found, place = bytearray(), 0
    while place < len(data) and len(found) < size:
        length = data[place]
        if length < 128:
            found += data[place + 1 : place + 2 + length]
            place += 2 + length
        elif length == 128:
            place += 1
        else:
            found += data[place + 1 : place + 2] * (257 - length)
            place += 2
    return bytes(found)


def _by_libtiff(blocks: Sequence[bytes], row_bytes: int, heights: Sequence[int], layout: Layout) -> list[bytes]:
    there = [number for number, block in enumerate(blocks) if block]
    found = [b""] * len(blocks)
    if not there:
        return found
    rows = [heights[number] for number in there]
    wrapped = _as_gray_image([blocks[number] for number in there], row_bytes, rows, layout.compression)
    with Image.open(io.BytesIO(wrapped), formats=["TIFF"]) as image:
        data = np.asarray(image).tobytes()
    ends = row_bytes * np.cumsum(rows)
    for number, height, end in zip(there, rows, ends.tolist(), strict=True):
        found[number] = data[end - row_bytes * height : end]
    return found


def _as_gray_image(blocks: Sequence[bytes], row_bytes: int, heights: Sequence[int], compression: int) -> bytes:
    """Wrap blocks as the strips of a TIFF file with their bytes as pixels.

    Pixels have four bytes if possible, because Pillow limits the number of pixels.
    """
    samples = 4 if row_bytes % 4 == 0 else 1
    sizes = np.array([len(block) for block in blocks], "<u4")
    body = b"".join(blocks)
    body += bytes(len(body) % 2)
    offsets = (8 + np.cumsum(sizes, dtype=np.int64) - sizes).astype("<u4")
    depths = np.full(4, 8, "<u2")
    arrays_at = 8 + len(body)
    table_at = arrays_at + offsets.nbytes + sizes.nbytes + depths.nbytes
    one = len(blocks) == 1
    entries = (  # tag, type (3: 2 bytes, 4: 4 bytes), number of values, value or offset of the values
        (Tag.WIDTH, 4, 1, row_bytes // samples),
        (Tag.HEIGHT, 4, 1, sum(heights)),
        (Tag.BITS, 3, samples, 8 if samples == 1 else table_at - depths.nbytes),
        (Tag.COMPRESSION, 3, 1, compression),
        (Tag.PHOTOMETRIC, 3, 1, Photometric.MIN_IS_BLACK if samples == 1 else Photometric.CMYK),
        (Tag.STRIP_OFFSETS, 4, len(blocks), offsets[0] if one else arrays_at),
        (Tag.SAMPLES, 3, 1, samples),
        (Tag.ROWS_PER_STRIP, 4, 1, max(heights)),
        (Tag.STRIP_SIZES, 4, len(blocks), sizes[0] if one else arrays_at + offsets.nbytes),
    )
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    arrays = offsets.tobytes() + sizes.tobytes() + depths.tobytes()
    return b"".join((struct.pack("<2sHI", b"II", 42, table_at), body, arrays, table))


_Decompressor = Callable[[Sequence[bytes], int, Sequence[int], Layout], list[bytes]]
_DECOMPRESSORS: dict[int, _Decompressor] = {
    Compression.NONE: _uncompressed,
    Compression.DEFLATE: _deflated,
    Compression.OLD_DEFLATE: _deflated,
    Compression.PACKBITS: _packbits,
    Compression.LZMA: _lzma,
    Compression.LZW: _by_libtiff,
    Compression.ZSTD: _by_libtiff,
}

"""Image files for tests, written byte by byte or by Pillow, and their expected values."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.errors import DataError

RNG_SEED = 7
GRAY, RGB, PALETTE, GRAY_ALPHA = 0, 2, 3, 4  # PNG's color types
ORIENTATION = 0x0112  # EXIF tag

UPRIGHT = {  # EXIF orientation -> transformation from stored to displayed pixels
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: np.rot90,
}


def noise(*shape: int, top: int = 256, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(RNG_SEED).integers(0, top, shape).astype(dtype)


def png_bytes(width: int, height: int, depth: int, color_type: int, rows: list[bytes], palette: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    colors = chunk(b"PLTE", palette) if palette else b""
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + colors + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def packed(row: np.ndarray, depth: int) -> bytes:
    """Ids packed like in PNG: `depth` bits each, most significant bit first, with a padded last byte."""
    bits = np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
    return np.packbits(bits.ravel()).tobytes()


def bmp_bytes(ids: np.ndarray, depth: int, colors: list[tuple[int, int, int]]) -> bytes:
    """A BMP of palette indices, bottom row first, each row padded to four bytes."""
    palette = b"".join(bytes([*color[::-1], 0]) for color in colors)
    rows = [packed(row, depth) for row in ids[::-1]]
    data = b"".join(row + bytes(-len(row) % 4) for row in rows)
    start = 54 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, ids.shape[1], ids.shape[0], 1, depth, 0, len(data), 0, 0, len(colors), 0)
    return struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start) + info + palette + data


def saved(path: Path, pixels: np.ndarray | Image.Image, **options: object) -> Path:
    pillow_image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    pillow_image.save(path, **options)
    return path


def indexed(ids: np.ndarray, colors: np.ndarray) -> Image.Image:
    pillow_image = Image.fromarray(ids)
    pillow_image.putpalette(colors.ravel().tolist())
    return pillow_image


def refusal(read: object, path: Path | str) -> str:
    """The message of the DataError of `read` for `path`; checks that it is one line and names the file."""
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def as_rgb(pillow_image: Image.Image) -> np.ndarray:
    """The reference conversion of each mode to RGB, in numpy."""
    values = np.asarray(pillow_image)
    if pillow_image.mode == "1":
        return np.repeat(255 * values.astype(np.uint8)[..., None], 3, axis=2)
    if pillow_image.mode == "L":
        return np.repeat(values[..., None], 3, axis=2)
    if pillow_image.mode == "LA":
        return np.repeat(values[..., :1], 3, axis=2)
    if pillow_image.mode == "P":
        return np.array(pillow_image.getpalette(), np.uint8).reshape(-1, 3)[values]
    if pillow_image.mode == "CMYK":
        ink = values.astype(float) / 255
        return np.round(255 * (1 - ink[..., :3]) * (1 - ink[..., 3:])).astype(np.uint8)
    return values[..., :3]

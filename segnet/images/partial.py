"""Decode only the part of an image or mask that is used: training crops need a quarter of the pixels on average.

The pixels are exactly those of the whole file. Sequential JPEG and 8-bit PNG files without interlacing or orientation
are decoded in part. The functions return None for all others and for damaged ones, which the readers of whole files
decode or refuse.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from segnet.errors import DataError
from segnet.images.header import named_errors, open_file, require_pixels
from segnet.images.jpeg_rows import JpegRows, jpeg_rows
from segnet.images.png_rows import START as PNG_START
from segnet.images.png_rows import png_rows

JPEG_START = b"\xff\xd8\xff"


@dataclass(frozen=True, slots=True)
class LazyPixels:
    """Pixels that are decoded when they are sliced: ``pixels[rows, columns]``, two slices within the image.

    Slices may be read-only.

    Attributes:
        shape: of the whole array, (H, W) or (H, W, channels).
        dtype: of the slices.
        read: decodes rows and columns; both slices have a start and a stop.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[slice, slice], NDArray[Any]]

    def __getitem__(self, part: tuple[slice, slice]) -> NDArray[Any]:
        rows, columns = (slice(*one.indices(size)[:2]) for one, size in zip(part, self.shape, strict=False))
        return self.read(rows, columns)


Pixels = NDArray[Any] | LazyPixels


def lazy_rgb(path: Path) -> LazyPixels | None:
    """Open an image whose parts are decoded as `segnet.images.files.read_image` decodes the whole.

    Returns:
        (H, W, 3) uint8 RGB; None if the file has to be decoded as a whole.

    Raises:
        DataError: the file cannot be read, or has too many pixels.
    """
    data = _file_bytes(path)
    if data.startswith(JPEG_START):
        found = jpeg_rows(data)
        return _lazy_jpeg(path, found) if found and _is_plain(path, found) else None
    return _lazy_png(path, data, num_samples=3)


def lazy_ids(path: Path) -> LazyPixels | None:
    """Open a mask whose parts are decoded as `segnet.images.masks.read_mask` decodes the whole: (H, W) uint8, or None.

    Raises:
        DataError: the file cannot be read, or has too many pixels.
    """
    return _lazy_png(path, _file_bytes(path), num_samples=1)


def _file_bytes(path: Path) -> bytes:
    """Read a JPEG or PNG file; of others, which may be large, only the first bytes."""
    with open_file(path) as file:
        start = file.read(len(PNG_START))
        return start + file.read() if start.startswith((JPEG_START, PNG_START)) else start


def _is_plain(path: Path, found: JpegRows) -> bool:
    """Whether Pillow reads a JPEG file as gray or RGB, in the stored orientation."""
    with named_errors(path, ("JPEG",)), Image.open(io.BytesIO(found.data), formats=["JPEG"]) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        return image.mode in ("L", "RGB") and image.size == (found.width, found.height) and orientation == 1


def _lazy_jpeg(path: Path, found: JpegRows) -> LazyPixels:
    def read(rows: slice, columns: slice) -> NDArray[np.uint8]:
        try:
            return _jpeg_part(path, found.first(rows.stop), rows, columns)
        except DataError:  # damaged: the whole file may still be readable
            return _jpeg_part(path, found.data, rows, columns)

    return LazyPixels((found.height, found.width, 3), np.dtype(np.uint8), read)


def _jpeg_part(path: Path, data: bytes, rows: slice, columns: slice) -> NDArray[np.uint8]:
    with named_errors(path, ("JPEG",)), Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        part = image.crop((columns.start, rows.start, columns.stop, rows.stop))
        return np.asarray(part if part.mode == "RGB" else part.convert("RGB"))


def _lazy_png(path: Path, data: bytes, num_samples: int) -> LazyPixels | None:
    """A PNG file with this number of samples per pixel; a single one has no axis."""
    found = png_rows(data)
    if found is None or found.num_samples != num_samples:
        return None
    require_pixels(path, found.height, found.width)

    def read(rows: slice, columns: slice) -> NDArray[np.uint8]:
        part = found.part(rows, columns)
        if part is None:
            raise DataError(f"{path}: cannot be decoded, damaged or cut off")
        return part if num_samples > 1 else part[:, :, 0]

    shape = (found.height, found.width)
    return LazyPixels(shape if num_samples == 1 else (*shape, num_samples), np.dtype(np.uint8), read)

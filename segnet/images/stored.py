"""Decode image files to stored values, before scaling.

TIFF files are decoded by `segnet.images.tiff`, other formats by Pillow, and 16-bit color PNG by OpenCV, because Pillow
keeps only the upper 8 bits. Further TIFF compressions (LERC, JPEG 2000, ...) need tifffile and imagecodecs.
"""

import importlib.util
import io
import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from segnet.errors import DataError
from segnet.images.header import decoding, open_file, read_tiff_layouts
from segnet.images.tiff.decode import decode_page, is_decodable
from segnet.images.tiff.layout import Layout
from segnet.images.tiff.tags import (
    COMPLEX_FORMATS,
    LOSSY_COMPRESSIONS,
    PILLOW_COMPRESSIONS,
    RARE_COMPRESSIONS,
    Compression,
    Photometric,
    SampleFormat,
)
from segnet.images.values import full_scale


class Colors(Enum):
    """The color model of a pixel."""

    GRAY = "gray"
    RGB = "rgb"
    CMYK = "cmyk"
    PALETTE = "palette"
    BANDS = "bands"  # of any meaning


# EXIF orientation -> transformation from stored to displayed pixels
_UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels[:, ::-1].swapaxes(0, 1),
}


@dataclass(frozen=True, slots=True)
class PixelKind:
    """The format of a pixel.

    Attributes:
        colors: color model.
        num_samples: number of samples, including alpha and other extra samples.
        full: the value of white.
        has_alpha: whether the last sample is alpha.
        is_inverted: whether 0 is white (TIFF's MinIsWhite).
        palette: (n, 3) uint8 RGB; None without a palette.
        nodata: the nodata value declared by the file; None without one.
    """

    colors: Colors
    num_samples: int
    full: float
    has_alpha: bool = False
    is_inverted: bool = False
    palette: NDArray[np.uint8] | None = None
    nodata: float | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """The pixels of an image file, upright: (H, W, samples), as stored."""

    values: NDArray[Any]
    kind: PixelKind


def read_stored(
    path: Path, require: Callable[[PixelKind], None] = lambda kind: None, pages_as_bands: int = 0
) -> Stored | None:
    """Decode a TIFF, BMP or PNG file that Pillow would change; None if Pillow reads the file unchanged.

    Args:
        require: called before decoding; raises a DataError for an unsuitable kind.
        pages_as_bands: read a TIFF with this number of single-band pages as bands; 0: read only the first page.

    Raises:
        DataError: missing, damaged, or in an unsupported encoding.
    """
    layouts = read_tiff_layouts(path, most=max(1, pages_as_bands))
    if layouts:
        stacked = pages_as_bands > 1 and len(layouts) == pages_as_bands == layouts[0].num_pages
        stacked = stacked and all(layout.num_samples == 1 for layout in layouts)
        return _read_tiff(path, layouts if stacked else layouts[:1], require)
    with open_file(path) as file:
        start = file.read(30)
    if start.startswith(b"BM") and _bmp_bits(start) <= 8:
        return _read_indexed_bmp(path, require)
    if start.startswith(b"\x89PNG") and len(start) == 30 and start[24] == 16 and start[25] != 0:
        return _read_deep_png(path, require)
    return None


def require_real(layout: Layout, path: Path) -> None:
    """Refuse a TIFF page of complex numbers, as radar scenes have before detection.

    Raises:
        DataError: its samples are complex.
    """
    if layout.sample_format in COMPLEX_FORMATS:
        raise DataError(f"{path}: holds complex numbers: save their magnitude, or real and imaginary part as two bands")


def kind_of_tiff(layout: Layout, num_pages: int = 1) -> PixelKind:
    """The pixel format of a TIFF page."""
    num_samples, photometric = layout.num_samples, layout.photometric
    gray_or_bands = Colors.GRAY if num_samples <= 1 + layout.has_alpha else Colors.BANDS
    by_photometric: dict[int, Colors] = {
        Photometric.MIN_IS_WHITE: gray_or_bands,
        Photometric.MIN_IS_BLACK: gray_or_bands,
        Photometric.RGB: Colors.RGB,
        Photometric.CMYK: Colors.CMYK,
        Photometric.PALETTE: Colors.PALETTE,
    }  # YCbCr and Lab are decoded to RGB
    colors = by_photometric.get(photometric, Colors.RGB if num_samples == 3 else gray_or_bands)
    if num_samples < {Colors.RGB: 3, Colors.CMYK: 4}.get(colors, 1) or num_pages > 1:
        colors = Colors.BANDS
    palette = None
    if colors == Colors.PALETTE:
        table = np.array(layout.color_map, np.uint16).reshape(3, -1).T
        palette = (table >> 8 if table.max(initial=0) > 255 else table).astype(np.uint8)
    kinds: dict[int, str] = {SampleFormat.SIGNED: "i", SampleFormat.FLOAT: "f"}
    return PixelKind(
        colors,
        num_samples * num_pages,
        full_scale(kinds.get(layout.sample_format, "u"), layout.bits),
        layout.has_alpha and num_pages == 1,
        photometric == Photometric.MIN_IS_WHITE,
        palette,
        layout.nodata,
    )


def _read_tiff(path: Path, layouts: list[Layout], require: Callable[[PixelKind], None]) -> Stored:
    layout = layouts[0]
    require_real(layout, path)
    kind = kind_of_tiff(layout, len(layouts))
    require(kind)
    if len({(page.height, page.width, page.bits, page.sample_format) for page in layouts}) > 1:
        raise DataError(f"{path}: its {len(layouts)} pages differ in size or type: save them as bands of one page")
    pages = []
    for page in layouts:
        if is_decodable(page):
            with open_file(path, ("TIFF",)) as file:
                pages.append(upright(decode_page(file, page), page.orientation))
        elif len(layouts) == 1 and _is_for_pillow(page):
            pages.append(_decoded_by_pillow(path, page))
        else:
            pages.append(upright(_decoded_by_tifffile(path, page), page.orientation))
    return Stored(pages[0] if len(pages) == 1 else np.concatenate(pages, axis=2), kind)


def _is_for_pillow(layout: Layout) -> bool:
    known = layout.compression in PILLOW_COMPRESSIONS or layout.compression in list(Compression)
    bilevel = layout.bits == 1 and layout.num_samples == 1
    return known and ((layout.bits == 8 and layout.num_samples in (1, 3, 4)) or bilevel)


def _decoded_by_pillow(path: Path, layout: Layout) -> NDArray[Any]:
    """Decode a page of 8 bits or fax with Pillow: upright; YCbCr and Lab become RGB."""
    with decoding(path, ("TIFF",)) as image:
        image = image.convert("RGB") if image.mode in ("YCbCr", "LAB") else image
        values = np.asarray(image)
    values = values.astype(np.uint8).reshape(*values.shape[:2], -1)
    if layout.photometric == Photometric.MIN_IS_WHITE:  # Pillow returns displayed values
        values = np.uint8(2**layout.bits - 1) - values
    return values


def _decoded_by_tifffile(path: Path, layout: Layout) -> NDArray[Any]:
    if importlib.util.find_spec("tifffile") is None or importlib.util.find_spec("imagecodecs") is None:
        name = (RARE_COMPRESSIONS | LOSSY_COMPRESSIONS).get(layout.compression, str(layout.compression))
        raise DataError(
            f"{path}: TIFF compression {name} with {layout.num_samples} x {layout.bits} bits needs "
            'pip install "segnet[multiband]"'
        )
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # segnet reports its failures as errors
    with open_file(path, ("TIFF",)) as file, tifffile.TiffFile(file) as tiff:
        values = np.asarray(tiff.pages[0].asarray())
    planes = values if values.ndim == 3 else values[..., None]
    planes = np.moveaxis(planes, 0, -1) if layout.is_planar else planes
    if planes.shape != (layout.height, layout.width, layout.num_samples):
        raise DataError(f"{path}: cannot be decoded, damaged or cut off (shape {planes.shape})")
    return planes


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Apply an EXIF orientation to stored pixels (H, W, ...)."""
    return np.ascontiguousarray(_UPRIGHT[orientation](pixels)) if orientation in _UPRIGHT else pixels


def _bmp_bits(start: bytes) -> int:
    """Bits per pixel of a BMP file from its first 30 bytes; 32 if it is shorter."""
    if len(start) < 30:
        return 32
    header_size = struct.unpack("<I", start[14:18])[0]
    return int(struct.unpack("<H", start[24:26] if header_size == 12 else start[28:30])[0])


def _read_indexed_bmp(path: Path, require: Callable[[PixelKind], None]) -> Stored:
    """Read palette indices and palette of a BMP of up to 8 bits.

    Pillow drops gray palettes, and reads 8-bit pixels with a palette of two as single bits. It therefore gets the file
    with another palette.
    """
    with open_file(path, ("BMP",)) as file:
        data = file.read()
    size = struct.unpack("<I", data[14:18])[0]
    is_old = size == 12
    header = data[14 : 14 + size]
    entry = 3 if is_old else 4
    count = 0 if is_old else struct.unpack("<I", header[32:36])[0]
    count = min(count or 256, 256, 1 << _bmp_bits(data[:30]))
    colors = np.frombuffer(data[14 + size : 14 + size + entry * count], np.uint8)
    palette = colors[: len(colors) // entry * entry].reshape(-1, entry)[:, 2::-1]
    kind = PixelKind(Colors.PALETTE, 1, 255.0, palette=np.ascontiguousarray(palette))
    require(kind)
    start = struct.unpack("<I", data[10:14])[0] or 14 + size + entry * count
    wheel = np.stack([np.arange(256), np.arange(256)[::-1], np.zeros(256), np.zeros(256)][:entry], axis=1)
    offset = 14 + size + 256 * entry
    header = header if is_old else header[:32] + struct.pack("<I", 256) + header[36:]
    opened = data[:10] + struct.pack("<I", offset) + header + wheel.astype(np.uint8).tobytes() + data[start:]
    with open_file(path, ("BMP",)), Image.open(io.BytesIO(opened), formats=["BMP"]) as image:
        indices = np.array(image)
    return Stored(indices[:, :, None], kind)


def _read_deep_png(path: Path, require: Callable[[PixelKind], None]) -> Stored:
    """Read a PNG with 16-bit colors, or 16-bit grayscale with alpha."""
    with decoding(path, ("PNG",)) as image:
        num_samples = {"LA": 2, "RGB": 3, "RGBA": 4}[image.mode]
        kind = PixelKind(
            Colors.GRAY if num_samples == 2 else Colors.RGB, num_samples, 65535.0, has_alpha=num_samples != 3
        )
        require(kind)
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        image.load()  # refuses damaged and truncated files; OpenCV returns a part of them
    with open_file(path, ("PNG",)) as file:
        values = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        raise DataError(f"{path}: cannot be decoded, damaged or cut off")
    values = np.asarray(values)
    if num_samples == 2:
        values = values[:, :, [0, -1]]
    else:
        values = np.concatenate([values[:, :, 2::-1], values[:, :, 3:num_samples]], axis=2)
    return Stored(upright(values, orientation), kind)

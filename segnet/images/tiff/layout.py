"""Read the layout of a TIFF file from its tags, without decoding pixels.

Sources: TIFF 6.0 (Adobe, 1992) and BigTIFF (libtiff, 2007); tags of GDAL and GeoTIFF: documentation of GDAL's GTiff
driver.
"""

import math
import os
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from segnet.images.tiff.tags import Compression, Photometric, SampleFormat, Tag

_GEOREFERENCE_TAGS = (Tag.PIXEL_SCALE, Tag.TIE_POINTS, Tag.TRANSFORMATION, Tag.RATIONAL_POLYNOMIALS)
_VALUE_FORMATS = {1: "B", 2: "c", 3: "H", 4: "I", 5: "II", 6: "b", 7: "c", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d"}
_ALL_TAGS = frozenset(Tag)
_VALUE_FORMATS |= {13: "I", 16: "Q", 17: "q", 18: "Q"}
MAX_TIFF_PAGES = 65536
MAX_SAMPLE_BITS = 64


class TiffError(ValueError):
    """A damaged TIFF file, or an unsupported layout."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The storage layout of a TIFF page.

    Attributes:
        byte_order: "<" or ">", as in numpy and struct.
        height, width: size as stored, before `orientation` [pixels].
        num_samples: samples per pixel: bands and alpha.
        bits: bits per sample.
        sample_format: a `SampleFormat`; 5 and 6 are complex.
        photometric: PhotometricInterpretation.
        compression, predictor, fill_order: values of these tags.
        is_planar: whether each sample has a separate plane (PlanarConfiguration 2).
        tile: (height, width) of a tile or strip [pixels].
        is_tiled: whether `tile` is a padded tile, not a strip.
        offsets, sizes: positions of the compressed tiles or strips in the file [bytes].
        color_map: red, green and blue of each palette index, 0-65535; empty without a palette.
        extra_samples: meaning of samples beyond the colors: 1 and 2 are alpha.
        orientation: EXIF orientation, 1 to 8.
        nodata: value of GDAL's nodata tag; None without one.
        is_georeferenced: whether georeference tags exist.
        num_pages: number of full-size pages in the file, including the first.
    """

    byte_order: str
    height: int
    width: int
    num_samples: int
    bits: int
    sample_format: int
    photometric: int
    compression: int
    predictor: int
    fill_order: int
    is_planar: bool
    tile: tuple[int, int]
    is_tiled: bool
    offsets: Sequence[int]
    sizes: Sequence[int]
    color_map: Sequence[int]
    extra_samples: Sequence[int]
    orientation: int
    nodata: float | None
    is_georeferenced: bool
    num_pages: int

    @property
    def num_bytes(self) -> int:
        """Size of the decoded page [bytes]."""
        return self.height * self.width * self.num_samples * max(1, math.ceil(self.bits / 8))

    @property
    def has_alpha(self) -> bool:
        """Whether the last sample is alpha."""
        return bool(self.extra_samples) and self.extra_samples[-1] in (1, 2)


def read_layout(file: BinaryIO) -> Layout:
    """Read the layout of the first page.

    Args:
        file: opened for reading, at any position.

    Raises:
        TiffError: not a TIFF file, damaged, or without pixels.
    """
    return read_layouts(file, most=1)[0]


def read_layouts(file: BinaryIO, most: int = MAX_TIFF_PAGES) -> list[Layout]:
    """Read the layouts of the first full-size pages; overviews and transparency masks are skipped.

    Raises:
        TiffError: as `read_layout`.
    """
    try:
        reader = _TagReader(file)
        tables, num_pages = reader.directories(most)
        return [reader.layout(table, num_pages) for table in tables]
    except TiffError:
        raise
    except (struct.error, OSError, OverflowError, ValueError) as error:
        raise TiffError(f"damaged or cut off ({error})") from None


Table = dict[int, tuple[str, int, bytes]]  # tag -> format of a value, number of values, bytes


class _TagReader:
    """Reads tags; the total size is limited, because damaged tags may share bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self._budget = 4 * self._size + 2**20
        start = self._read(0, 16)
        self.order = {b"II": "<", b"MM": ">"}.get(start[:2], "")
        version = struct.unpack(f"{self.order or '<'}H", start[2:4])[0]
        if not self.order or version not in (42, 43):
            raise TiffError("no TIFF file")
        self._is_big = version == 43
        self._first = self._number("Q", start[8:16]) if self._is_big else self._number("I", start[4:8])

    def _read(self, offset: int, size: int) -> bytes:
        self._budget -= size
        if not 0 <= offset <= self._size or self._budget < 0:
            raise TiffError("damaged or cut off (a tag points beyond the file)")
        self._file.seek(offset)
        return self._file.read(size)

    def _number(self, kind: str, data: bytes) -> int:
        return int(struct.unpack(self.order + kind, data)[0])

    def directories(self, most: int) -> tuple[list[Table], int]:
        """The tags of the first `most` full-size pages, and the total number of full-size pages."""
        found: list[Table] = []
        num_pages = 0
        seen: set[int] = set()
        offset = self._first
        while offset and offset not in seen and len(seen) < MAX_TIFF_PAGES:
            seen.add(offset)
            try:
                table, offset = self._directory(offset, _ALL_TAGS if len(found) < most else (Tag.SUBFILE_TYPE,))
            except (TiffError, struct.error):
                if not found:
                    raise
                break  # the first page is complete
            if num_pages and self._value(table, Tag.SUBFILE_TYPE, 0) & 0b101:  # an overview, or a transparency mask
                continue
            num_pages += 1
            if len(found) < most:
                found.append(table)
        if not found:
            raise TiffError("damaged or cut off (no page)")
        return found, num_pages

    def _directory(self, offset: int, wanted: Collection[Tag]) -> tuple[Table, int]:
        count_size, entry_size, pointer = (8, 20, "Q") if self._is_big else (2, 12, "I")
        count = self._number("Q" if self._is_big else "H", self._read(offset, count_size))
        if count > 65535:
            raise TiffError(f"damaged ({count} tags)")
        data = self._read(offset + count_size, count * entry_size + struct.calcsize(pointer))
        table: Table = {}
        inline = struct.calcsize(pointer)
        for place in range(0, count * entry_size, entry_size):
            entry = data[place : place + entry_size]
            tag, kind = struct.unpack(f"{self.order}HH", entry[:4])
            if tag not in wanted or kind not in _VALUE_FORMATS:
                continue
            number = self._number(pointer, entry[4 : 4 + inline])
            size = number * struct.calcsize("=" + _VALUE_FORMATS[kind])
            if size > self._size:
                raise TiffError(f"damaged (tag {tag} has {number} values)")
            value = entry[4 + inline :]
            table[tag] = (
                _VALUE_FORMATS[kind],
                number,
                value[:size] if size <= inline else self._read(self._number(pointer, value), size),
            )
        end = data[count * entry_size :]
        return table, self._number(pointer, end) if len(end) == inline else 0

    def _values(self, table: Table, tag: int) -> Sequence[float]:
        kind, number, data = table.get(tag, ("B", 0, b""))
        if kind == "c":
            return tuple(data)
        return struct.unpack(f"{self.order}{number * len(kind)}{kind[0]}", data)

    def _numbers(self, table: Table, tag: int) -> Sequence[int]:
        return [int(value) for value in self._values(table, tag)]

    def _value(self, table: Table, tag: int, default: int) -> int:
        return next(iter(self._numbers(table, tag)), default)

    def layout(self, table: Table, num_pages: int) -> Layout:
        height, width = self._value(table, Tag.HEIGHT, 0), self._value(table, Tag.WIDTH, 0)
        num_samples = self._value(table, Tag.SAMPLES, 1)
        if min(height, width, num_samples) < 1:
            raise TiffError(f"damaged ({width} x {height} pixels of {num_samples} values)")
        bits = set(self._numbers(table, Tag.BITS) or [1])
        formats = set(self._numbers(table, Tag.SAMPLE_FORMAT) or [SampleFormat.UNSIGNED])
        if len(bits) > 1 or len(formats) > 1 or not 1 <= min(bits) <= MAX_SAMPLE_BITS:
            raise TiffError(f"its samples have {', '.join(map(str, sorted(bits)))} bits, of one type each")
        is_tiled = Tag.TILE_OFFSETS in table
        if is_tiled:
            tile = self._value(table, Tag.TILE_HEIGHT, 0), self._value(table, Tag.TILE_WIDTH, 0)
        else:
            tile = min(height, self._value(table, Tag.ROWS_PER_STRIP, height)), width
        if min(tile) < 1:
            raise TiffError(f"damaged (tiles of {tile[1]} x {tile[0]} pixels)")
        sample_format = formats.pop()
        return Layout(
            byte_order=self.order,
            height=height,
            width=width,
            num_samples=num_samples,
            bits=bits.pop(),
            sample_format=SampleFormat.UNSIGNED if sample_format == SampleFormat.VOID else sample_format,
            photometric=self._value(table, Tag.PHOTOMETRIC, Photometric.MIN_IS_BLACK),
            compression=self._value(table, Tag.COMPRESSION, Compression.NONE),
            predictor=self._value(table, Tag.PREDICTOR, 1),
            fill_order=self._value(table, Tag.FILL_ORDER, 1),
            is_planar=self._value(table, Tag.PLANAR, 1) == 2 and num_samples > 1,
            tile=tile,
            is_tiled=is_tiled,
            offsets=self._numbers(table, Tag.TILE_OFFSETS if is_tiled else Tag.STRIP_OFFSETS),
            sizes=self._numbers(table, Tag.TILE_SIZES if is_tiled else Tag.STRIP_SIZES),
            color_map=self._numbers(table, Tag.COLOR_MAP),
            extra_samples=self._numbers(table, Tag.EXTRA_SAMPLES),
            orientation=self._value(table, Tag.ORIENTATION, 1),
            nodata=_nodata(bytes(self._numbers(table, Tag.NODATA))),
            is_georeferenced=any(tag in table for tag in _GEOREFERENCE_TAGS),
            num_pages=num_pages,
        )


def _nodata(text: bytes) -> float | None:
    try:
        return float(text.rstrip(b"\0 ").decode("ascii").replace(",", "."))
    except ValueError:
        return None

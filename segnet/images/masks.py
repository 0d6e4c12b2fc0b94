"""Read masks: class ids as stored in the file, not displayed gray levels or colors.

Ids are stored values: palette indices, or the values of a TIFF, also with 0 as white (MinIsWhite), like in GDAL and
tifffile. Floating-point masks must contain whole numbers. Pixels without data (NaN, or the value of GDAL's nodata tag)
have no id.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from segnet.errors import NUM_LISTED, DataError
from segnet.images.bands import arranged, scale_channels
from segnet.images.formats import LOSSY_SUFFIXES, MASK_FORMATS
from segnet.images.header import decoding, read_tiff_layouts
from segnet.images.stored import Colors, PixelKind, Stored, read_stored
from segnet.images.tiff.tags import LOSSY_COMPRESSIONS

MAX_COLORS = 256  # most colors listed for a color mask
LOW_GRAY_STEPS = {"L;2": 85, "L;4": 17}  # Pillow scales 2- and 4-bit PNG grayscale to 0-255 by these factors
ALL_LABELS = frozenset(range(2**16))  # for `read_label_values`: no value is nodata
SAVE_IDS = "save class ids as a single-channel PNG"


@dataclass(frozen=True, slots=True)
class LabelValues:
    """The values of a mask.

    Attributes:
        ids: (H, W) integers.
        no_data: (H, W), whether pixels have no data; None: all have data.
        nodata: the nodata value declared by the file; None without one.
    """

    ids: NDArray[np.integer]
    no_data: NDArray[np.bool_] | None = None
    nodata: float | None = None


class ColoredMaskError(DataError):
    """A color mask without a known color map.

    Attributes:
        colors: distinct RGB triples, 0-255, in order; at most `MAX_COLORS`.
        num_colors: number of distinct colors.
    """

    def __init__(self, message: str, colors: Sequence[tuple[int, int, int]] = (), num_colors: int = 0) -> None:
        super().__init__(message)
        self.colors = list(colors)
        self.num_colors = num_colors or len(self.colors)


def read_mask(path: str | os.PathLike[str]) -> NDArray[np.integer]:
    """Read the stored ids of a mask.

    Returns:
        (H, W), uint8, uint16, int32 or int64 depending on the file. A bilevel file gives 0 and 1.

    Raises:
        ColoredMaskError: a color mask.
        DataError: missing, damaged, in a lossy format, with fractions, or with pixels without data.
    """
    found = read_label_values(path)
    if found.no_data is not None:
        raise DataError(f"{path}: {int(found.no_data.sum())} pixels have no data: {SAVE_IDS}")
    return found.ids


def read_label_values(path: str | os.PathLike[str], kept: Collection[int] = ()) -> LabelValues:
    """Read the stored ids of a mask, and its pixels without data.

    Args:
        kept: ids that are labels even if the file declares them as nodata.

    Raises:
        ColoredMaskError: a color mask.
        DataError: missing, damaged, in a lossy format, or with fractions.
    """
    path = Path(path)
    require_lossless(path)
    stored = read_stored(path, lambda kind: _require_ids(kind, path))
    if stored is not None:
        return whole_labels(_single_channel(stored, path), stored.kind.nodata, path, kept)
    with _decoding_mask(path) as image:
        raw_mode = _raw_mode(image)
        ImageOps.exif_transpose(image, in_place=True)  # in_place avoids a copy of upright images
        values = np.array(image)
        if raw_mode in LOW_GRAY_STEPS:
            values = values // np.uint8(LOW_GRAY_STEPS[raw_mode])
        num_samples = len(image.getbands())
        colors = Colors.GRAY if num_samples <= 2 else Colors.RGB
        stored = Stored(values.reshape(*values.shape[:2], -1), PixelKind(colors, num_samples, 255.0))
    return whole_labels(_single_channel(stored, path), None, path)


def read_mask_colors(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read the displayed colors of a mask; palettes are applied, and grayscale is repeated three times.

    Returns:
        (H, W, 3) uint8 RGB, 0-255; alpha is dropped.

    Raises:
        DataError: missing, damaged, in a lossy format, or with more than 8 bits per channel.
    """
    path = Path(path)
    require_lossless(path)
    stored = read_stored(path, lambda kind: _require_colors(kind, path))
    if stored is not None:
        found = arranged(stored, 3, path)
        return np.asarray(scale_channels(found, path), np.uint8)
    with _decoding_mask(path) as image:
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
            raise DataError(f"{path}: a mask of mode {image.mode} has no 8-bit colors: save it as RGB PNG")
        return np.array(image.convert("RGB"))


def require_lossless(path: Path, num_pages: int = 1) -> None:
    """Check that a mask file is lossless and has one page.

    Args:
        num_pages: number of pages that is accepted as well, of masks with a page per class.

    Raises:
        DataError: a lossy format, a lossy compression inside a TIFF, or another number of pages.
    """
    if path.suffix.lower() in LOSSY_SUFFIXES:
        raise DataError(f"{path}: {path.suffix} does not keep label values: save masks as PNG")
    for layout in read_tiff_layouts(path, most=1):
        if layout.compression in LOSSY_COMPRESSIONS:
            name = LOSSY_COMPRESSIONS[layout.compression]
            raise DataError(f"{path}: {name} compression inside does not keep label values: save masks as PNG")
        if layout.num_pages not in (1, num_pages):
            wanted = "the class ids as one page" if num_pages == 1 else f"{num_pages} pages, one per class"
            raise DataError(f"{path}: has {layout.num_pages} pages: save {wanted}")


def whole_labels(
    values: NDArray[Any], nodata: float | None, source: Path | str, kept: Collection[int] = ()
) -> LabelValues:
    """Check that the values of a mask are whole numbers, and find pixels without data.

    Args:
        values: (H, W), integers or floating point.
        nodata: the nodata value declared by the file; NaN is always nodata.
        kept: ids that are labels even if declared as nodata.

    Raises:
        DataError: fractions, infinity, or complex numbers.
    """
    kind = values.dtype.kind
    if kind not in "buif":
        raise DataError(f"{source}: a mask of type {values.dtype} has no class ids: {SAVE_IDS}")
    no_data = np.isnan(values) if kind == "f" else np.zeros(values.shape, bool)
    if nodata is not None and nodata not in kept and _holds(values.dtype, nodata):
        no_data |= values == values.dtype.type(nodata)
    if kind == "f":
        values = np.where(no_data, 0, values)
        fractions = values != np.trunc(values)
        fractions |= ~np.isfinite(values)
        if fractions.any():
            listed = listed_values(values[fractions])
            raise DataError(f"{source}: label {listed} is not a whole number: save class ids without interpolation")
        values = values.clip(-(2.0**53), 2.0**53).astype(np.int64)
    return LabelValues(_compact(values), no_data if no_data.any() else None, nodata)


def listed_values(values: NDArray[Any]) -> str:
    """List values with counts: "37 (12 pixels), 41 (3 pixels)", and the number of further values."""
    distinct, counts = np.unique(values, return_counts=True)
    pairs = zip(distinct[:NUM_LISTED].tolist(), counts[:NUM_LISTED].tolist(), strict=True)
    more = f" and {len(distinct) - NUM_LISTED:,} more values" if len(distinct) > NUM_LISTED else ""
    return ", ".join(f"{value:.7g} ({count:,} pixels)" for value, count in pairs) + more


def distinct_colors(colors: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The distinct colors of an image (H, W, 3), each packed into an integer, ascending."""
    present = np.zeros(2**24, bool)  # a table is many times faster than sorting rows
    present[rgb_to_code(colors)] = True
    return np.flatnonzero(present).astype(np.int32)


def rgb_to_code(colors: NDArray[np.integer]) -> NDArray[np.int32]:
    """Pack each color (..., 3) into an integer."""
    wide = colors.astype(np.int32)
    codes: NDArray[np.int32] = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    return codes


def code_to_rgb(code: int) -> tuple[int, int, int]:
    """Unpack a color from an integer."""
    return int(code) >> 16, int(code) >> 8 & 255, int(code) & 255


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether a dtype can represent a value; False for NaN."""
    if dtype.kind == "f":
        return value == value
    if dtype.kind == "b" or not float(value).is_integer():
        return False
    limits = np.iinfo(dtype)
    return limits.min <= value <= limits.max


def _compact(values: NDArray[Any]) -> NDArray[np.integer]:
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype in (np.uint8, np.uint16):
        return values
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    return values.astype(np.int32 if low >= -(2**31) and high < 2**31 else np.int64)


def _require_ids(kind: PixelKind, path: Path) -> None:
    if kind.colors == Colors.CMYK:
        raise DataError(f"{path}: a CMYK mask has no class ids: {SAVE_IDS}")
    extra = kind.num_samples - kind.has_alpha
    if (kind.colors == Colors.BANDS and kind.num_samples != 3) or extra > 4:
        raise DataError(f"{path}: has {kind.num_samples} bands: save class ids as a single band")


def _require_colors(kind: PixelKind, path: Path) -> None:
    _require_ids(kind, path)
    if kind.full not in (1, 3, 15, 255) or (kind.full > 255 and kind.colors != Colors.PALETTE):
        raise DataError(f"{path}: has no 8-bit colors: save the mask as RGB PNG")


def _single_channel(stored: Stored, path: Path) -> NDArray[Any]:
    """The ids of a mask saved as grayscale, or as RGB with equal channels; other colors are refused and listed."""
    values, kind = stored.values, stored.kind
    if kind.colors in (Colors.GRAY, Colors.PALETTE) or kind.num_samples == 1:
        return values[:, :, 0]
    colors = values[:, :, :3]
    if kind.num_samples in (3, 4) and (colors == colors[:, :, :1]).all():
        return np.ascontiguousarray(colors[:, :, 0])
    if values.dtype != np.uint8 or kind.num_samples not in (3, 4):
        raise DataError(f"{path}: {values.dtype} colors are not class ids: {SAVE_IDS}")
    codes = distinct_colors(colors)
    kept = [code_to_rgb(code) for code in codes[:MAX_COLORS].tolist()]
    more = f" and {len(codes) - NUM_LISTED:,} more" if len(codes) > NUM_LISTED else ""
    shown = ", ".join(map(str, kept[:NUM_LISTED]))
    raise ColoredMaskError(f"{path}: a color image, not class ids (colors {shown}{more})", kept, len(codes))


@contextmanager
def _decoding_mask(path: Path) -> Iterator[Image.Image]:
    """Open a mask; refuse lossy formats."""
    with decoding(path, MASK_FORMATS) as image:
        if (frames := getattr(image, "n_frames", 1)) > 1:
            raise DataError(f"{path}: has {frames} frames: save the class ids as one image")
        yield image


def _raw_mode(image: Image.Image) -> str:
    """The stored pixel format, such as "L;4" or "RGB;16B"; available only before pixels are loaded."""
    tiles = getattr(image, "tile", None)  # absent for images without a file
    raw_mode = tiles[0].args if tiles else None
    raw_mode = raw_mode[0] if isinstance(raw_mode, tuple) else raw_mode
    return str(raw_mode)

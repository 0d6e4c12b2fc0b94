"""Read images with any number of channels: grayscale, RGB, or bands of a satellite, microscope or depth camera.

RGB is read as uint8. Other images keep the precision of their file: 8 bits as uint8, 16 bits as float32 scaled from
0-65535 to 0-255, floating point as float32 scaled from 0-1 to 0-255; see `segnet.images.values`. The mean and std of a
model refer to values scaled to 0-1: for a uint16 band with mean 1200, the mean is 1200 / 65535.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from segnet.errors import counted
from segnet.images.header import decoding, read_tiff_layouts
from segnet.images.stored import Colors, PixelKind, Stored, read_stored
from segnet.images.values import Bands, MisfitError, ValueRange, clipping_warning, full_scale, scaled

PILLOW_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # number of channels -> mode
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, like Pillow's conversion to grayscale


@dataclass(frozen=True, slots=True)
class Channels:
    """The input channels of a model before scaling: (H, W, channels), and the value of white."""

    values: NDArray[Any]
    full: float


def read_bands(path: str | os.PathLike[str], channels: int, value_range: ValueRange | None = None) -> Bands:
    """Read an image with `channels` channels.

    3 channels: any image as RGB. 1 channel: any image as grayscale. Another number: a TIFF with that many bands and
    optionally alpha; for 4 also an image with alpha. Only the first frame or page is read.

    Args:
        value_range: the values mapped to 0 and 255; None: 0 and the maximum of the dtype.

    Returns:
        (H, W, channels) uint8 or float32, 0-255.

    Raises:
        DataError: missing, damaged, another number of bands, or values out of range.
    """
    path = Path(path)
    return scale_channels(read_channels(path, channels), path, value_range)


def scale_channels(found: Channels, source: Path | str, value_range: ValueRange | None = None) -> Bands:
    """Scale channels to 0-255: RGB to uint8, others as in `read_bands`.

    Raises:
        DataError: values out of range.
    """
    is_rgb = found.values.shape[2] == 3
    to_uint8 = is_rgb or (found.values.dtype == np.uint8 and value_range is None)
    return scaled(found.values, found.full, source, value_range, to_uint8, limited=is_rgb)


def read_channels(path: Path, channels: int) -> Channels:
    """Read an image with `channels` channels as stored in the file, without scaling.

    Raises:
        DataError: missing, damaged, or another number of bands.
    """
    stored = read_stored(
        path, lambda kind: require_channels(kind, channels, path), channels if channels not in (1, 3) else 0
    )
    if stored is not None:
        return arranged(stored, channels, path)
    with decoding(path) as image:
        ImageOps.exif_transpose(image, in_place=True)  # in_place avoids a copy of upright images
        return _of_pillow(image, channels, path)


def nodata_pixels(path: Path, channels: int) -> NDArray[np.bool_] | None:
    """Find the pixels with a TIFF's nodata value, which `read_bands` reads as data.

    As in `segnet.images.geotiff`, one band with that value suffices, but 8-bit images need it in all bands.

    Returns:
        (H, W) mask, upright; None without such pixels.

    Raises:
        DataError: missing or damaged.
    """
    layouts = read_tiff_layouts(path, most=1)
    if not layouts or layouts[0].nodata is None:
        return None
    stored = read_stored(path, pages_as_bands=channels if channels not in (1, 3) else 0)
    assert stored is not None  # a TIFF
    colors = stored.values[:, :, : stored.kind.num_samples - stored.kind.has_alpha]
    with np.errstate(over="ignore"):  # GDAL's text of the lowest float32 may lie beyond it
        found = colors == layouts[0].nodata
    pixels = found.all(axis=2) if colors.dtype == np.uint8 else found.any(axis=2)
    return np.asarray(pixels) if pixels.any() else None


def read_warnings(path: Path, image: Bands, value_range: ValueRange | None) -> list[str]:
    """Return warnings about an image, without its name: nodata pixels, and clipped values.

    Args:
        image: the result of `read_bands`.
    """
    limits = image.min().item(), image.max().item()
    texts = [clipping_warning(*limits, value_range, lambda: read_channels(path, image.shape[2]).values)]
    if (pixels := nodata_pixels(path, image.shape[2])) is not None:
        share = f"{100 * pixels.mean():.2g} % of its pixels"
        texts.append(f"{share} have the file's nodata value, but are segmented: segnet predict --scene leaves them out")
    return [text for text in texts if text]


def channels_of(image: Image.Image, channels: int, source: Path | str) -> Channels:
    """The channels of a Pillow image, upright and not scaled; `source` is its name in errors.

    Raises:
        DataError: another number of channels.
    """
    return _of_pillow(ImageOps.exif_transpose(image), channels, source)


def require_channels(kind: PixelKind, channels: int, source: Path | str) -> None:
    """Check that an image of this kind can provide `channels` channels.

    Raises:
        DataError: it cannot.
    """
    extra = kind.num_samples - channels
    fits = extra == 0 or (extra == 1 and kind.has_alpha)
    as_color = channels in (1, 3) and (kind.colors != Colors.BANDS or kind.num_samples == 3) and kind.num_samples <= 8
    if not (fits or as_color):
        bands = counted(kind.num_samples, "band")
        raise MisfitError(
            f"{source}: has {bands}, but {channels} are expected: set dataset.channels="
            f"{kind.num_samples} and backbone.in_channels={kind.num_samples}",
            f"{source}: has {bands}, but the model takes {_wanted(channels)}",
        )


def _wanted(channels: int) -> str:
    return "grayscale or RGB" if channels == 1 else "RGB" if channels == 3 else f"{channels} channels"


def arranged(stored: Stored, channels: int, source: Path | str) -> Channels:
    """Convert stored samples to the input channels of a model.

    Raises:
        DataError: the image cannot provide that number of channels.
    """
    require_channels(stored.kind, channels, source)
    values, kind = stored.values, stored.kind
    num_colors = kind.num_samples - kind.has_alpha
    if kind.is_inverted:
        values = np.concatenate([_inverted(values[:, :, :num_colors], kind.full), values[:, :, num_colors:]], axis=2)
    if kind.colors == Colors.PALETTE and channels in (1, 3):
        assert kind.palette is not None
        table = np.zeros((max(len(kind.palette), int(values[:, :, 0].max()) + 1), 3), np.uint8)
        table[: len(kind.palette)] = kind.palette
        values, kind, num_colors = table[values[:, :, 0]], PixelKind(Colors.RGB, 3, 255.0), 3
    if channels == kind.num_samples or (channels == num_colors and kind.has_alpha):
        return Channels(values[:, :, :channels], kind.full)
    if kind.colors == Colors.CMYK:
        values = _rgb_of_cmyk(values[:, :, :4], kind.full)
    if channels == 3:
        gray = kind.colors == Colors.GRAY
        shape = (*values.shape[:2], 3)
        return Channels(np.broadcast_to(values[:, :, :1], shape) if gray else values[:, :, :3], kind.full)
    return Channels(values[:, :, :1] if kind.colors == Colors.GRAY else _gray_of_rgb(values[:, :, :3]), kind.full)


def _inverted(values: NDArray[Any], full: float) -> NDArray[Any]:
    if values.dtype.kind == "f":
        return np.asarray(full - values)
    white = values.dtype.type(full) if values.dtype in (np.uint8, np.uint16) else np.int64(full)
    return np.asarray(white - values)


def _rgb_of_cmyk(values: NDArray[Any], full: float) -> NDArray[Any]:
    if values.dtype == np.uint8 and full == 255:
        return np.array(Image.fromarray(np.ascontiguousarray(values), mode="CMYK").convert("RGB"))
    ink = values.astype(np.float32) / np.float32(full)
    return (1 - ink[:, :, :3]) * (1 - ink[:, :, 3:]) * np.float32(full)


def _gray_of_rgb(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype == np.uint8:
        return np.array(Image.fromarray(np.ascontiguousarray(values)).convert("L"))[:, :, None]
    return values.astype(np.float32) @ np.array(LUMA, np.float32)[:, None]


def _of_pillow(image: Image.Image, channels: int, source: Path | str) -> Channels:
    """The channels of an upright image."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        full = full_scale(values.dtype.kind, 8 * values.dtype.itemsize)
        kind = PixelKind(Colors.GRAY, 1, full)
        return arranged(Stored(values[:, :, None], kind), channels, source)
    mode = PILLOW_MODES.get(channels, "")
    if not mode or (channels == 4 and not image.has_transparency_data):
        present = counted(len(image.getbands()), "channel")
        raise MisfitError(
            f"{source}: has {present}, but {channels} are expected (dataset.channels, backbone.in_channels)",
            f"{source}: has {present}, but the model takes {_wanted(channels)}",
        )
    values = np.array(image if image.mode == mode else image.convert(mode))
    return Channels(values.reshape(image.height, image.width, channels), 255.0)


def unstretched(image: Bands) -> NDArray[np.uint8]:
    """Show an image (H, W, channels), 0-255, as (H, W, 3) uint8 RGB without contrast stretch: its first bands."""
    shown = image[:, :, :3] if image.shape[2] >= 3 else image[:, :, [0, 0, 0]]
    return shown if shown.dtype == np.uint8 else np.asarray(shown.clip(0, 255).round(), np.uint8)  # type: ignore[return-value]


def displayable(image: Bands) -> NDArray[np.uint8]:
    """Show an image (H, W, channels) as (H, W, 3) uint8 RGB: the first three bands, each with contrast stretch."""
    if image.shape[2] == 3 and image.dtype == np.uint8:
        return image  # type: ignore[return-value]
    shown = image[:, :, :3] if image.shape[2] >= 3 else image[:, :, [0, 0, 0]]
    low, high = np.percentile(shown, (2, 98), axis=(0, 1))
    stretched = (255 * ((shown - low) / np.maximum(high - low, 1e-6)).clip(0, 1)).round()
    return np.asarray(stretched, np.uint8)

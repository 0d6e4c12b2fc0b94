"""Images of any number of channels: gray, RGB, or the bands of a satellite, a microscope, a depth camera.

RGB is read as uint8. Other images keep the precision of their file: 8 bits as uint8, 16 bits as float32 scaled from
0-65535 to 0-255, floating point as float32 scaled from 0-1 to 0-255; `segnet.images.values` has the rules. The mean and
std of a model are those of values scaled to 0-1: of a uint16 band with mean 1200 it is 1200 / 65535.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from segnet.errors import DataError
from segnet.images.header import decoding
from segnet.images.stored import Colors, PixelKind, Stored, read_stored
from segnet.images.values import Bands, ValueRange, full_scale, scaled

PILLOW_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by channels
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow converts RGB to gray


@dataclass(frozen=True, slots=True)
class Channels:
    """The channels that a model takes, before scaling: (H, W, channels), and the value of white."""

    values: NDArray[Any]
    full: float


def read_bands(path: str | os.PathLike[str], channels: int, value_range: ValueRange | None = None) -> Bands:
    """Reads an image of `channels` channels.

    With 3, any image as RGB. With 1, any image as gray. With another number, a TIFF of as many bands, which may have
    alpha besides, or with 4 an image with alpha. Of an animation or a TIFF of several pages the first is read.

    Args:
        value_range: the values that become 0 and 255; None: 0 and the largest of the type.

    Returns:
        (H, W, channels) uint8 or float32, 0-255.

    Raises:
        DataError: missing, damaged, another number of bands, or values for which there is no rule.
    """
    path = Path(path)
    return scale_channels(read_channels(path, channels), path, value_range)


def scale_channels(found: Channels, source: Path | str, value_range: ValueRange | None = None) -> Bands:
    """Scales channels to 0-255: RGB to uint8, others as `read_bands` says.

    Raises:
        DataError: values for which there is no rule.
    """
    is_rgb = found.values.shape[2] == 3
    to_uint8 = is_rgb or (found.values.dtype == np.uint8 and value_range is None)
    return scaled(found.values, found.full, source, value_range, to_uint8, limited=is_rgb)


def read_channels(path: Path, channels: int) -> Channels:
    """Reads an image of `channels` channels as its file stores them, without scaling.

    Raises:
        DataError: missing, damaged, or another number of bands.
    """
    stored = read_stored(
        path, lambda kind: require_channels(kind, channels, path), channels if channels not in (1, 3) else 0
    )
    if stored is not None:
        return arranged(stored, channels, path)
    with decoding(path) as image:
        ImageOps.exif_transpose(image, in_place=True)  # else it would copy what stands upright
        return _of_pillow(image, channels, path)


def bands_of(image: Image.Image, channels: int, source: Path | str, value_range: ValueRange | None = None) -> Bands:
    """An image of Pillow's as `read_bands` gives it; `source` names it in errors."""
    return scale_channels(_of_pillow(ImageOps.exif_transpose(image), channels, source), source, value_range)


def require_channels(kind: PixelKind, channels: int, source: Path | str) -> None:
    """Raises:
    DataError: an image of this kind does not have so many channels.
    """
    extra = kind.num_samples - channels
    fits = extra == 0 or (extra == 1 and kind.has_alpha)
    as_color = channels in (1, 3) and (kind.colors != Colors.BANDS or kind.num_samples == 3) and kind.num_samples <= 8
    if not (fits or as_color):
        raise DataError(
            f"{source}: has {kind.num_samples} bands, but {channels} are asked for: set dataset.channels="
            f"{kind.num_samples} and backbone.in_channels={kind.num_samples}"
        )


def arranged(stored: Stored, channels: int, source: Path | str) -> Channels:
    """Brings stored samples into the channels that a model takes.

    Raises:
        DataError: the image does not have so many channels.
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
        raise DataError(
            f"{source}: has {len(image.getbands())} channels, but {channels} are asked for "
            "(dataset.channels, backbone.in_channels)"
        )
    values = np.array(image if image.mode == mode else image.convert(mode))
    return Channels(values.reshape(image.height, image.width, channels), 255.0)


def unstretched(image: Bands) -> NDArray[np.uint8]:
    """An image (H, W, channels), 0-255, as (H, W, 3) uint8 RGB, as bright as a network sees it: its first bands."""
    shown = image[:, :, :3] if image.shape[2] >= 3 else image[:, :, [0, 0, 0]]
    return shown if shown.dtype == np.uint8 else np.asarray(shown.clip(0, 255).round(), np.uint8)  # type: ignore[return-value]


def displayable(image: Bands) -> NDArray[np.uint8]:
    """An image (H, W, channels) as (H, W, 3) uint8 RGB for people: of many bands the first three, stretched each."""
    if image.shape[2] == 3 and image.dtype == np.uint8:
        return image  # type: ignore[return-value]
    shown = image[:, :, :3] if image.shape[2] >= 3 else image[:, :, [0, 0, 0]]
    low, high = np.percentile(shown, (2, 98), axis=(0, 1))
    stretched = (255 * ((shown - low) / np.maximum(high - low, 1e-6)).clip(0, 1)).round()
    return np.asarray(stretched, np.uint8)

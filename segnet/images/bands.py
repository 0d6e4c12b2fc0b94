"""Images of any number of channels: gray, RGB, or the bands of a TIFF of a satellite, a microscope, a depth camera.

RGB is read as uint8, by Pillow or, where it cannot, by tifffile. Other images keep the precision of their file: 8 bits
as uint8, 16 bits as float32 scaled from 0-65535 to 0-255, floating point as float32 scaled from 0-1 to 0-255. The
mean and std of a model are those of values scaled to 0-1: of a uint16 band with mean 1200 it is 1200 / 65535.
"""

import importlib.util
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from segnet.errors import DataError, MachineError
from segnet.images.files import decoding, num_bands_in_tiff, rgb_of, scaled_to_uint8

TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PILLOW_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by channels

Bands = NDArray[np.uint8 | np.float32]


def read_bands(path: str | os.PathLike[str], channels: int) -> Bands:
    """Reads a picture of `channels` channels.

    With 3, any picture as RGB, a TIFF of floats from 0-1 too. With 1, any picture as gray. With another number, a TIFF
    of as many bands, or with 4 a picture with alpha.

    Returns:
        (H, W, channels) uint8 or float32, 0-255.

    Raises:
        DataError: missing, damaged, another number of bands, or values that are no numbers.
        MachineError: tifffile, which reads such TIFFs, is not installed.
    """
    path = Path(path)
    if path.suffix.lower() in TIFF_SUFFIXES:
        if channels not in (1, 3):
            return scaled(_read_tiff(path, channels), path)
        # Without tifffile Pillow refuses it, as one bad picture among others.
        if channels == 3 and _is_beyond_pillow(path) and importlib.util.find_spec("tifffile"):
            return scaled_to_uint8(_read_tiff(path, channels), path)
    with decoding(path) as picture:
        return bands_of(picture, channels, path)


def _is_beyond_pillow(path: Path) -> bool:
    """Whether this is a TIFF of colors that Pillow does not read, or not all: floats, or one plane after another."""
    try:
        with open(path, "rb") as file:
            if file.read(4) not in TIFF_STARTS:
                return False
        with Image.open(path, formats=["TIFF"]) as picture:
            return num_bands_in_tiff(picture) == 3 > len(picture.getbands())
    except UnidentifiedImageError:
        return True
    except Exception:  # told by whoever reads it
        return False


def bands_of(picture: Image.Image, channels: int, source: Path | str) -> Bands:
    """A picture of Pillow's as `read_bands` gives it; `source` is what an error calls it."""
    if channels == 3:
        return rgb_of(picture, source)
    if channels not in PILLOW_MODES or (channels == 4 and picture.mode not in ("RGBA", "PA")):
        raise DataError(
            f"{source}: has {len(picture.getbands())} channels, but {channels} are asked for "
            "(dataset.channels, backbone.in_channels)"
        )
    upright = ImageOps.exif_transpose(picture)
    if channels == 1 and (picture.mode.startswith("I") or picture.mode == "F"):
        return scaled(np.asarray(upright)[:, :, None], source)
    return np.array(upright.convert(PILLOW_MODES[channels])).reshape(upright.height, upright.width, channels)


def displayable(image: Bands) -> NDArray[np.uint8]:
    """An image (H, W, channels) as (H, W, 3) uint8 RGB for people: of many bands the first three, stretched each."""
    if image.shape[2] == 3 and image.dtype == np.uint8:
        return image  # type: ignore[return-value]
    shown = image[:, :, :3] if image.shape[2] >= 3 else image[:, :, [0, 0, 0]]
    low, high = np.percentile(shown, (2, 98), axis=(0, 1))
    stretched: NDArray[np.uint8] = (
        (255 * ((shown - low) / np.maximum(high - low, 1e-6)).clip(0, 1)).round().astype(np.uint8)
    )
    return stretched


def _read_tiff(path: Path, channels: int) -> NDArray[Any]:
    try:
        import tifffile
    except ImportError:
        raise MachineError(
            f"{path}: TIFFs of {channels} bands are read by tifffile, which is not installed: "
            'pip install "segnet[multiband]"'
        ) from None
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it complains of is told as an error
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
    try:
        with tifffile.TiffFile(path) as tiff:
            series = tiff.series[0]
            axes, shape = series.axes, dict(zip(series.axes, series.shape, strict=True))
            if limit and shape.get("Y", 0) * shape.get("X", 0) > limit:
                raise DataError(
                    f"{path}: refused, above {limit // 10**6} megapixels: cut it into tiles, or --max-megapixels"
                )
            others = [axis for axis in axes if axis not in "YX"]
            num_bands = int(np.prod([shape[axis] for axis in others], initial=1))
            if num_bands != channels or len(others) > 1:
                raise DataError(
                    f"{path}: has {num_bands} bands, but {channels} are asked for "
                    "(dataset.channels, backbone.in_channels)"
                )
            values = series.asarray()
    except DataError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # decoders raise many kinds on damaged files
        hint = ': pip install "segnet[multiband]"' if "imagecodecs" in str(error) else ""
        raise DataError(f"{path}: cannot be decoded ({' '.join(str(error).split())}){hint}") from None
    return values[..., None] if not others else np.moveaxis(values, axes.index(others[0]), -1)


def scaled(values: NDArray[Any], source: Path | str) -> Bands:
    """uint8 as it is; uint16 from 0-65535, float from 0-1 to 0-255 in float32.

    Raises:
        DataError: another type, or values that are not finite.
    """
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype == np.uint16:
        return values.astype(np.float32) * np.float32(255 / 65535)
    if values.dtype.kind != "f":
        raise DataError(f"{source}: bands of type {values.dtype} are not read: save them as uint8, uint16 or float32")
    if not np.isfinite(values).all():
        raise DataError(f"{source}: holds NaN or infinity: replace what stands for no data by a number")
    return values.astype(np.float32) * np.float32(255)

"""Convert paths, arrays, tensors and Pillow images to the input of a model."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segnet.errors import DataError
from segnet.images.bands import Channels, channels_of, read_channels, scale_channels
from segnet.images.values import Bands, ValueRange, full_scale

ImageLike = str | os.PathLike[str] | Image.Image | NDArray[Any] | Tensor

ANY = "the image"  # name of an image without a file in errors


def as_bands(image: ImageLike, channels: int, value_range: ValueRange | None = None) -> Bands:
    """Convert an image to the format of `segnet.images.bands.read_bands`.

    Args:
        image: a path; a Pillow image, rotated by its EXIF orientation; an array (H, W) or (H, W, bands); a tensor (H,
            W) or (bands, H, W). Values are uint8, uint16 with values 0-65535, or floating point with values 0-1. For an
            RGB model, grayscale becomes RGB and alpha is dropped.
        channels: input channels of the model.
        value_range: the values mapped to 0 and 255; None: 0 and the maximum of the dtype.

    Returns:
        (H, W, channels) uint8 or float32, 0-255.

    Raises:
        DataError: not an image, another number of channels, or values out of range.
    """
    return scale_channels(as_channels(image, channels, value_range), source_of(image), value_range)


def source_of(image: ImageLike) -> Path | str:
    """The name of an image in errors: its path, if it has one."""
    return Path(image) if isinstance(image, (str, os.PathLike)) else ANY


def as_channels(image: ImageLike, channels: int, value_range: ValueRange | None = None) -> Channels:
    """Convert an image to its channels before scaling; arguments and errors as for `as_bands`."""
    if isinstance(image, (str, os.PathLike)):
        return read_channels(Path(image), channels)
    if isinstance(image, Image.Image):
        try:
            return channels_of(image, channels, ANY)
        except OSError as error:  # Pillow decodes lazily
            raise DataError(f"{ANY}: cannot be decoded, damaged or cut off ({error})") from None
    if isinstance(image, Tensor):
        values = image.detach().cpu()
        image = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
        image = np.moveaxis(image, 0, -1) if image.ndim == 3 else image
    if not isinstance(image, np.ndarray):
        raise DataError(f"{ANY}: a {type(image).__name__} is neither a path nor an array, a tensor or a Pillow image")
    return _of_array(image, channels, value_range)


def _of_array(values: NDArray[Any], channels: int, value_range: ValueRange | None) -> Channels:
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise DataError(
            f"{ANY}: of shape {values.shape}: arrays are (H, W) or (H, W, channels), tensors (channels, H, W)"
        )
    if values.dtype not in (np.uint8, np.uint16) and values.dtype.kind != "f":
        raise DataError(f"{ANY}: of type {values.dtype}: convert it to uint8, uint16 (0-65535) or float32 (0-1)")
    limited = value_range is None and values.dtype.kind == "f"
    if limited and not (values.min() >= 0 and values.max() <= 1):  # also true for NaN
        raise DataError(
            f"{ANY}: floating-point values {values.min():g} to {values.max():g} are outside 0-1: divide them, or give "
            "Predictor.segment an array (H, W, channels) of 0-255"
        )
    values = _with_channels(values if values.ndim == 3 else values[:, :, None], channels)
    return Channels(values, full_scale(values.dtype.kind, 8 * values.dtype.itemsize))


def _with_channels(values: NDArray[Any], channels: int) -> NDArray[Any]:
    present = values.shape[2]
    if present == channels:
        return values
    if channels == 3 and present in (1, 4):
        return np.repeat(values, 3, axis=2) if present == 1 else values[:, :, :3]
    if channels == 1 and present in (3, 4) and values.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(values)).convert("L"))[:, :, None]
    raise DataError(f"{ANY}: has {present} channels (of shape {values.shape}), but the model takes {channels}")

"""Reads images as RGB; writes images and masks, each whole or not at all.

OpenCV is never given a path: it reads truncated JPEGs as garbage rows, turns palette masks into gray levels and crashes
on file names that are not UTF-8.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.images.bands import read_bands
from segnet.images.values import ValueRange
from segnet.system.files import replacing

UInt8Array = NDArray[np.uint8]


def read_image(path: str | os.PathLike[str], value_range: ValueRange | None = None) -> UInt8Array:
    """Reads any image as RGB, upright by its EXIF orientation.

    Gray, palette, CMYK and bilevel images become RGB; alpha is dropped. 16-bit values are scaled from 0-65535,
    floating-point ones from 0-1, or all from the value range; without one they are never clipped. Of an animation the
    first frame is read.

    Returns:
        (H, W, 3) uint8 RGB, 0-255.

    Raises:
        DataError: missing, damaged, not an image, or values for which there is no rule.
    """
    image = read_bands(path, 3, value_range)
    assert image.dtype == np.uint8
    return image  # type: ignore[return-value]


def mask_image(mask: NDArray[np.integer], palette: Sequence[Sequence[int]]) -> Image.Image:
    """Class ids as an indexed image in the classes' colors; with ids above 255, as a 16-bit gray one.

    Args:
        mask: (H, W) ids, 0-65535.
        palette: RGB triples, 0-255.
    """
    if len(palette) > 256 or mask.max(initial=0) > 255:
        return Image.fromarray(mask.astype(np.uint16))
    image = Image.fromarray(mask.astype(np.uint8))
    # Pillow saves as few bits a pixel as the palette needs: every id needs a color, those of no class are white.
    missing = int(mask.max(initial=0)) + 1 - len(palette)
    image.putpalette([value for color in [*palette, *[(255, 255, 255)] * missing] for value in color])
    return image


def write_mask(path: str | os.PathLike[str], mask: NDArray[np.integer], palette: Sequence[Sequence[int]]) -> None:
    """Writes class ids as a PNG, as `mask_image` makes it."""
    write_image(path, mask_image(mask, palette))


def write_image(path: str | os.PathLike[str], image: Image.Image | UInt8Array) -> None:
    """Writes an image atomically, in the format of the file's extension; creates the folder.

    Raises:
        MachineError: the disk refuses it.
    """
    path = Path(path)
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    with replacing(path) as temporary:
        image.save(temporary, format=Image.registered_extensions()[path.suffix.lower()])

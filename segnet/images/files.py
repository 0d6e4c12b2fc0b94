"""Read images as RGB; write images and masks atomically.

OpenCV never gets a path: it reads truncated JPEGs as garbage rows, converts palette masks to gray levels and crashes on
file names that are not UTF-8.
"""

import io
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
PAGE_NAME = 285  # TIFF tag


def read_image(path: str | os.PathLike[str], value_range: ValueRange | None = None) -> UInt8Array:
    """Read any image as RGB, with EXIF orientation applied.

    Grayscale, palette, CMYK and bilevel images become RGB; alpha is dropped. 16-bit values are scaled from 0-65535,
    floating-point ones from 0-1, or all from the value range; without one they are never clipped. Only the first frame
    of an animation is read.

    Returns:
        (H, W, 3) uint8 RGB, 0-255.

    Raises:
        DataError: missing, damaged, not an image, or values out of range.
    """
    image = read_bands(path, 3, value_range)
    assert image.dtype == np.uint8
    return image  # type: ignore[return-value]


def mask_image(mask: NDArray[np.integer], palette: Sequence[Sequence[int]]) -> Image.Image:
    """Convert class ids to a palette image with the class colors, or to 16-bit grayscale for ids above 255.

    Args:
        mask: (H, W) ids, 0-65535.
        palette: RGB triples, 0-255.
    """
    if len(palette) > 256 or mask.max(initial=0) > 255:
        return Image.fromarray(mask.astype(np.uint16))
    image = Image.fromarray(mask.astype(np.uint8))
    # Pillow saves as few bits per pixel as the palette needs: unknown ids get white entries.
    missing = int(mask.max(initial=0)) + 1 - len(palette)
    image.putpalette([value for color in [*palette, *[(255, 255, 255)] * missing] for value in color])
    return image


def write_mask(path: str | os.PathLike[str], mask: NDArray[np.integer], palette: Sequence[Sequence[int]]) -> None:
    """Write class ids as a PNG, see `mask_image`."""
    write_image(path, mask_image(mask, palette))


def encoded_planes(planes: NDArray[np.integer], names: Sequence[str]) -> bytes:
    """The bytes of a TIFF with a page of 0 and 255 per class, which is named in the page's title.

    Args:
        planes: (classes, H, W), 1 where a pixel has the class.
        names: names of the classes.
    """
    pages = [Image.fromarray(np.where(plane == 1, 255, 0).astype(np.uint8)) for plane in planes]
    for page, name in zip(pages, names, strict=True):
        page.encoderinfo = {"tiffinfo": {PAGE_NAME: name}}
    buffer = io.BytesIO()
    pages[0].save(
        buffer,
        format="TIFF",
        save_all=True,
        append_images=pages[1:],
        compression="tiff_deflate",
        tiffinfo={PAGE_NAME: names[0]},
    )
    return buffer.getvalue()


def write_planes(path: str | os.PathLike[str], planes: NDArray[np.integer], names: Sequence[str]) -> None:
    """Write planes as a TIFF, see `encoded_planes`.

    Raises:
        MachineError: the file cannot be written.
    """
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(encoded_planes(planes, names))


def write_image(path: str | os.PathLike[str], image: Image.Image | UInt8Array) -> None:
    """Write an image atomically, in the format of the file's extension; create its folder.

    Raises:
        MachineError: the file cannot be written.
    """
    path = Path(path)
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    with replacing(path) as temporary:
        image.save(temporary, format=Image.registered_extensions()[path.suffix.lower()])

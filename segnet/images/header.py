"""Read image headers without decoding pixels: format, size, depth, pages.

All limits are checked here, for every decoder.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from segnet.errors import DataError
from segnet.images.formats import INSTALL_HEIF, TIFF_STARTS, is_heif, pillow_formats
from segnet.images.tiff.layout import Layout, TiffError, read_layouts

# An image of 90-179 megapixels is large, not suspicious; above that Pillow refuses.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Damaged EXIF, palettes with transparency: the image is still readable, and undecodable files are refused.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)  # it repeats what the error says

# Formats with animations or pages; in others, such as MPO, further images are previews.
PAGED_FORMATS = ("GIF", "WEBP", "PNG", "TIFF", "AVIF", "HEIF")
_SAMPLE_BYTES = {"I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2, "I": 4, "F": 4}  # Pillow's modes; others: 1


class TooManyPixelsError(DataError):
    """An image above the limit of pixels, `2 * PIL.Image.MAX_IMAGE_PIXELS`."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header of an image file.

    Attributes:
        format: Pillow's name, such as "PNG".
        height, width: size as stored, before EXIF orientation [pixels].
        num_bands: samples per pixel as stored, including alpha.
        num_bytes: size of the decoded first page [bytes]; reading takes a few times as much memory.
        num_pages: pages of a TIFF, frames of an animation.
        is_georeferenced: whether a TIFF has georeference tags.
    """

    format: str
    height: int
    width: int
    num_bands: int
    num_bytes: int
    num_pages: int = 1
    is_georeferenced: bool = False

    @property
    def num_pixels(self) -> int:
        """Number of pixels of the first page."""
        return self.height * self.width


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read the header of an image file of any supported format.

    Raises:
        DataError: missing, damaged, not an image, without pixels, or above the limit of pixels.
    """
    path = Path(path)
    layouts = read_tiff_layouts(path, most=1)
    if layouts:
        layout = layouts[0]
        return Header(
            "TIFF",
            layout.height,
            layout.width,
            layout.num_samples,
            layout.num_bytes,
            layout.num_pages,
            layout.is_georeferenced,
        )
    with decoding(path) as image:
        num_bands = len(image.getbands())
        num_bytes = image.width * image.height * num_bands * _SAMPLE_BYTES.get(image.mode, 1)
        name = str(image.format)
        num_pages = int(getattr(image, "n_frames", 1)) if name in PAGED_FORMATS else 1
        return Header(name, image.height, image.width, num_bands, num_bytes, num_pages)


def has_world_file(path: Path) -> bool:
    """Whether an image has a world file with its georeference: a.tfw for a.tif."""
    suffix = path.suffix
    if len(suffix) < 3:
        return False
    return any(path.with_suffix(name).is_file() for name in (f"{suffix[:2]}{suffix[-1]}w", f"{suffix}w", ".wld"))


def read_tiff_layouts(path: Path, most: int, limited: bool = True) -> list[Layout]:
    """Read the layouts of the first pages of a TIFF file; empty for other formats.

    Args:
        limited: whether to apply the pixel limit; not needed for windowed reading.

    Raises:
        DataError: missing, damaged, without pixels, or above the limit of pixels.
    """
    with named_errors(path, ("TIFF",)), open(path, "rb") as file:
        if file.read(4) not in TIFF_STARTS:
            return []
        layouts = read_layouts(file, most)
    for layout in layouts if limited else []:
        require_pixels(path, layout.height, layout.width)
    return layouts


@contextmanager
def decoding(path: Path, formats: tuple[str, ...] = ()) -> Iterator[Image.Image]:
    """Open an image with Pillow; every error inside becomes a DataError that names the file.

    Args:
        formats: Pillow's names of the allowed formats; default: all supported ones. TIFF is opened only if it is the
            only one: otherwise `segnet.images.stored` decodes it.
    """
    formats = formats or pillow_formats()
    opened = [name for name in formats if name != "TIFF" or formats == ("TIFF",)]
    with open_file(path, formats) as file, Image.open(file, formats=opened) as image:
        if 0 in image.size:
            raise DataError(f"{path}: has no pixels ({image.width} x {image.height}): save it again")
        yield image


@contextmanager
def open_file(path: Path, formats: tuple[str, ...] = ()) -> Iterator[BinaryIO]:
    """Open an image file; every error inside becomes a DataError that names the file."""
    with named_errors(path, formats or pillow_formats()), open(path, "rb") as file:
        yield file


def require_pixels(path: Path, height: int, width: int) -> None:
    """Check the size of an image against the pixel limit.

    Raises:
        TooManyPixelsError: more pixels than `PIL.Image.MAX_IMAGE_PIXELS` allows.
    """
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
    if limit and height * width > limit:
        raise TooManyPixelsError(_too_large(path, limit))


def _too_large(path: Path, limit: int) -> str:
    return f"{path}: larger than {limit // 10**6} megapixels: split it into tiles"


@contextmanager
def named_errors(path: Path, formats: tuple[str, ...]) -> Iterator[None]:
    """Convert errors of decoders to DataErrors that name the file."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder, not an image") from None
    except PermissionError:
        raise DataError(f"{path}: permission denied") from None
    except Image.DecompressionBombError:
        raise TooManyPixelsError(_too_large(path, 2 * (Image.MAX_IMAGE_PIXELS or 0))) from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: {_unidentified(path, formats)}") from None
    except TiffError as error:
        raise DataError(f"{path}: cannot be decoded: {error}") from None
    except MemoryError:  # damaged files may contain any size
        raise DataError(f"{path}: out of memory: the file is damaged, or must be split into tiles") from None
    except Exception as error:  # decoders raise many types for damaged files
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be decoded, damaged or cut off ({reason})") from None


def _unidentified(path: Path, formats: tuple[str, ...]) -> str:
    if os.path.getsize(path) == 0:
        return "is empty (0 bytes)"
    with open(path, "rb") as file:
        if is_heif(file.read(12)) and "HEIF" not in formats:
            return f"is a HEIC image: {INSTALL_HEIF}" if "JPEG" in formats else "is a HEIC image, which is lossy"
    return f"is not an image in one of these formats: {', '.join(formats)}"

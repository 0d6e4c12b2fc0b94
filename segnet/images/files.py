"""Reading and writing picture files: images as RGB, masks as the ids that they hold.

Everything is decoded by Pillow from an open file: OpenCV reads truncated JPEGs as garbage rows, turns palette masks
into gray levels and crashes on file names that are not UTF-8.
"""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from segnet.errors import DataError, listed
from segnet.system.files import replacing

# Pillow's names. What is not listed is not opened. JPEG stands for MPO too, which is no name that Image.open knows.
IMAGE_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF")
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif"})
LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg", ".webp", ".gif"})
SAMPLES_PER_PIXEL = 277  # TIFF tag
LOW_GRAY_STEPS = {"L;2": 85, "L;4": 17}  # Pillow spreads 2 and 4-bit gray over 0-255 in these steps

# A picture of 90-179 megapixels is large, not suspicious; above that Pillow refuses.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Damaged EXIF, palettes with transparency: the picture is read all the same, and what cannot be read is refused.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)  # it repeats what the error says

UInt8Array = NDArray[np.uint8]


@contextmanager
def decoding(path: Path, formats: tuple[str, ...] = IMAGE_FORMATS) -> Iterator[Image.Image]:
    """Opens a picture; whatever goes wrong inside becomes a DataError that names the file."""
    try:
        with open(path, "rb") as file, Image.open(file, formats=formats) as picture:
            _refuse_lost_bands(picture, path)
            yield picture
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder, not a picture") from None
    except PermissionError:
        raise DataError(f"{path}: may not be read (permissions)") from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise DataError(f"{path}: refused, above {limit} megapixels: cut it into tiles, or --max-megapixels") from None
    except UnidentifiedImageError:
        size = os.path.getsize(path)
        reason = "is empty (0 bytes)" if size == 0 else f"is not a picture in one of: {', '.join(formats)}"
        if size and path.suffix.lower() in (".tif", ".tiff"):
            reason += (
                '; colors of floats need pip install "segnet[multiband]", other than 3 bands dataset.channels and '
                "backbone.in_channels too"
            )
        raise DataError(f"{path}: {reason}") from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise many kinds on damaged files
        raise DataError(f"{path}: cannot be decoded, damaged or cut off ({error})") from None


def num_bands_in_tiff(picture: Image.Image) -> int:
    """How many bands the file tells of; 1 for what is no TIFF."""
    return int(getattr(picture, "tag_v2", {}).get(SAMPLES_PER_PIXEL, 1))


def _refuse_lost_bands(picture: Image.Image, path: Path) -> None:
    """Of a TIFF whose bands lie one after the other Pillow takes the first alone, without a word."""
    num_bands = num_bands_in_tiff(picture)
    if num_bands > 1 == len(picture.getbands()):
        options = f"set dataset.channels={num_bands} and backbone.in_channels={num_bands}"
        remedy = 'pip install "segnet[multiband]"' if num_bands == 3 else options
        raise DataError(f"{path}: has {num_bands} bands, each a plane of its own: {remedy}")


def read_image(path: str | os.PathLike[str]) -> UInt8Array:
    """Reads any picture as RGB, upright by its EXIF orientation.

    Gray, palette, CMYK and bilevel pictures become RGB; alpha is dropped. 16-bit values are scaled from 0-65535,
    floating-point ones from 0-1, never clipped. Of an animation the first frame is taken.

    Returns:
        (H, W, 3) uint8 RGB, 0-255.

    Raises:
        DataError: missing, damaged, no picture, or values for which there is no rule.
    """
    path = Path(path)
    with decoding(path) as picture:
        ImageOps.exif_transpose(picture, in_place=True)  # else it would copy what stands upright
        return _rgb(picture, path)


def rgb_of(picture: Image.Image, source: Path | str) -> UInt8Array:
    """A picture of Pillow's as `read_image` gives it; `source` is what an error calls it."""
    return _rgb(ImageOps.exif_transpose(picture), source)


def _rgb(picture: Image.Image, source: Path | str) -> UInt8Array:
    if picture.mode.startswith("I") or picture.mode == "F":
        gray = scaled_to_uint8(np.asarray(picture), source)
        return np.repeat(gray[:, :, None], 3, axis=2)
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def scaled_to_uint8(values: NDArray[np.generic], source: Path | str) -> UInt8Array:
    """uint8 as it is; other integers from 0-65535, floats from 0-1 to 0-255.

    Raises:
        DataError: values outside of these ranges.
    """
    if values.dtype == np.uint8:
        return values  # type: ignore[return-value]
    top, rule = (65535, "0-65535") if values.dtype.kind in "iu" else (1, "0-1")
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):  # also true for NaN
        raise DataError(
            f"{source}: {values.dtype} values {low} to {high} are outside {rule}: convert it to 8 or 16 bits"
        )
    return np.round(values.astype(np.float64) * (255 / top)).astype(np.uint8)


class ColoredMaskError(DataError):
    """A mask that is a color picture: what its colors mean, it does not say.

    Attributes:
        colors: RGB triples, 0-255, in order.
    """

    def __init__(self, message: str, colors: Sequence[tuple[int, int, int]] = ()) -> None:
        super().__init__(message)
        self.colors = list(colors)


def read_mask(path: str | os.PathLike[str]) -> NDArray[np.uint8 | np.uint16 | np.int32]:
    """Reads a mask as the ids that the file holds: gray levels, or palette indices, never colors.

    Returns:
        (H, W), uint8, uint16 or int32 by the file's depth. A bilevel file gives 0 and 1.

    Raises:
        ColoredMaskError: in colors.
        DataError: missing, damaged, or in a format that changes values.
    """
    path = Path(path)
    with _decoding_mask(path) as picture:
        raw_mode = _raw_mode(picture)
        ImageOps.exif_transpose(picture, in_place=True)  # else it would copy what stands upright
        values = np.asarray(picture)
        if picture.mode == "1":
            return values.astype(np.uint8)
        if raw_mode in LOW_GRAY_STEPS:
            return values // np.uint8(LOW_GRAY_STEPS[raw_mode])
        if picture.mode in ("L", "P"):
            return np.array(values)
        if picture.mode.startswith("I;16"):
            return values.astype(np.uint16)
        if picture.mode == "I":
            return values.astype(np.int32)
        return _gray_of_colors(values, picture.mode, path)


def read_mask_colors(path: str | os.PathLike[str]) -> UInt8Array:
    """Reads a mask as the colors that it shows: of a palette the colors, of gray the same value three times.

    Returns:
        (H, W, 3) uint8 RGB, 0-255; alpha is dropped.

    Raises:
        DataError: missing, damaged, in a format that changes values, or of more than 8 bits a channel.
    """
    path = Path(path)
    with _decoding_mask(path) as picture:
        ImageOps.exif_transpose(picture, in_place=True)
        if picture.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
            raise DataError(f"{path}: a mask of mode {picture.mode} holds no colors of 8 bits: save it as PNG in RGB")
        return np.array(picture.convert("RGB"))


@contextmanager
def _decoding_mask(path: Path) -> Iterator[Image.Image]:
    """Opens a mask; refuses what changes values, by the name or by what the file says inside."""
    if path.suffix.lower() in LOSSY_SUFFIXES:
        raise DataError(f"{path}: {path.suffix} does not keep label values: save masks as PNG")
    with decoding(path, ("PNG", "TIFF", "BMP")) as picture:
        if "jpeg" in str(picture.info.get("compression", "")):
            raise DataError(f"{path}: JPEG compression inside does not keep label values: save masks as PNG")
        raw_mode = _raw_mode(picture)
        if ";16" in raw_mode and len(picture.getbands()) > 1:  # Pillow keeps the upper byte: there small ids are 0
            raise DataError(f"{path}: 16-bit colors hold no class ids: save the mask as a single-channel PNG")
        yield picture


def _raw_mode(picture: Image.Image) -> str:
    """How the file itself stores a pixel, such as "L;4" or "RGB;16B". To be asked before the pixels are loaded."""
    tiles = getattr(picture, "tile", None)  # of picture files, not of pictures made in memory
    raw_mode = tiles[0].args if tiles else None
    raw_mode = raw_mode[0] if isinstance(raw_mode, tuple) else raw_mode
    return str(raw_mode)


def _gray_of_colors(values: NDArray[np.generic], mode: str, path: Path) -> UInt8Array:
    """The ids of a gray mask that was saved as RGB, RGBA or LA; colors are refused and listed."""
    channels = {"RGB": 3, "RGBA": 3, "LA": 1}.get(mode, 0)
    if not channels:
        raise DataError(f"{path}: a mask of mode {mode} holds no class ids: save it as a single-channel PNG")
    colors = values[:, :, :channels]
    if (colors == colors[:, :, :1]).all():
        return np.array(colors[:, :, 0])
    distinct = [(int(r), int(g), int(b)) for r, g, b in np.unique(colors.reshape(-1, 3), axis=0)]
    raise ColoredMaskError(f"{path}: a color picture, not class ids (colors {listed([*map(str, distinct)])})", distinct)


def mask_image(mask: NDArray[np.integer], palette: Sequence[Sequence[int]]) -> Image.Image:
    """Class ids as an indexed picture in the classes' colors; with ids above 255, as a 16-bit gray one.

    Args:
        mask: (H, W) ids, 0-65535.
        palette: RGB triples, 0-255.
    """
    if len(palette) > 256 or mask.max(initial=0) > 255:
        return Image.fromarray(mask.astype(np.uint16))
    picture = Image.fromarray(mask.astype(np.uint8))
    # Pillow saves as few bits a pixel as the palette needs: every id needs a color, those of no class are white.
    missing = int(mask.max(initial=0)) + 1 - len(palette)
    picture.putpalette([value for color in [*palette, *[(255, 255, 255)] * missing] for value in color])
    return picture


def write_mask(path: str | os.PathLike[str], mask: NDArray[np.integer], palette: Sequence[Sequence[int]]) -> None:
    """Writes class ids as a PNG, as `mask_image` makes it."""
    write_image(path, mask_image(mask, palette))


def write_image(path: str | os.PathLike[str], picture: Image.Image | UInt8Array) -> None:
    """Writes a picture whole or not at all, in the format of the file's suffix; creates the folder.

    Raises:
        MachineError: the disk refuses it.
    """
    path = Path(path)
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(picture)
    with replacing(path) as temporary:
        picture.save(temporary, format=Image.registered_extensions()[path.suffix.lower()])

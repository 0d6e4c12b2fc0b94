"""The image formats that segnet reads, their file extensions, and the optional HEIC decoder.

Pillow opens no format that is not listed here. Every reader, `segnet predict` and `segnet serve` use these tables.
"""

import importlib.util
from functools import cache

# Pillow's names. JPEG stands for MPO too, a name that Image.open does not accept.
IMAGE_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")
MASK_FORMATS = ("PNG", "TIFF", "BMP")  # they keep label values; Pillow rescales those of PPM

EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx", ".j2c"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
IMAGE_SUFFIXES = frozenset(suffix for suffixes in EXTENSIONS.values() for suffix in suffixes)
LOSSY_SUFFIXES = (
    frozenset(suffix for name in ("JPEG", "WEBP", "GIF", "AVIF", "JPEG2000") for suffix in EXTENSIONS[name])
    | HEIF_SUFFIXES
)
# Content types of HTTP uploads.
IMAGE_CONTENT_TYPES = tuple(f"image/{name.lower()}" for name in (*IMAGE_FORMATS, "JP2", "HEIC", "HEIF"))

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
INSTALL_HEIF = 'pip install "segnet[heif]"'


def is_heif(start: bytes) -> bool:
    """Whether a file is HEIC or HEIF, by its first 12 bytes."""
    return start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS


@cache
def reads_heif() -> bool:
    """Whether HEIC and HEIF can be read; registers the decoder of pillow-heif with Pillow where it is installed."""
    if importlib.util.find_spec("pillow_heif") is None:
        return False
    import pillow_heif

    pillow_heif.register_heif_opener()
    return True


def pillow_formats() -> tuple[str, ...]:
    """The formats that `PIL.Image.open` may open: `IMAGE_FORMATS`, and HEIF with the extra `heif`."""
    return (*IMAGE_FORMATS, "HEIF") if reads_heif() else IMAGE_FORMATS


def image_suffixes() -> frozenset[str]:
    """Extensions of the image files that can be read here, in lower case."""
    return IMAGE_SUFFIXES | HEIF_SUFFIXES if reads_heif() else IMAGE_SUFFIXES

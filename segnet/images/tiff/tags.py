"""The tags of a TIFF file and their values: TIFF 6.0 (Adobe, 1992), BigTIFF, and the tags of GDAL and GeoTIFF."""

from enum import IntEnum


class Tag(IntEnum):
    """The supported tags."""

    SUBFILE_TYPE = 254
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_SIZES = 279
    PLANAR = 284
    PREDICTOR = 317
    COLOR_MAP = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_SIZES = 325
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    PIXEL_SCALE = 33550
    TIE_POINTS = 33922
    TRANSFORMATION = 34264
    NODATA = 42113
    RATIONAL_POLYNOMIALS = 50844


class Photometric(IntEnum):
    """Supported values of PhotometricInterpretation."""

    MIN_IS_WHITE = 0
    MIN_IS_BLACK = 1
    RGB = 2
    PALETTE = 3
    TRANSPARENCY_MASK = 4
    CMYK = 5


class Compression(IntEnum):
    """Supported values of Compression."""

    NONE = 1
    LZW = 5
    DEFLATE = 8
    PACKBITS = 32773
    OLD_DEFLATE = 32946
    LZMA = 34925
    ZSTD = 50000


class SampleFormat(IntEnum):
    """Supported values of SampleFormat."""

    UNSIGNED = 1
    SIGNED = 2
    FLOAT = 3
    VOID = 4  # treated as unsigned


COMPLEX_FORMATS = frozenset({5, 6})  # values of SampleFormat: complex integers and complex floating point

# Values of Compression that Pillow's libtiff decodes besides: CCITT's fax codes and JPEG.
PILLOW_COMPRESSIONS = frozenset({2, 3, 4, 32771, 6, 7})
# Names of those that neither decodes, for messages; `LOSSY_COMPRESSIONS` has more.
RARE_COMPRESSIONS = {34887: "LERC", 34933: "PNG", 34934: "JPEG XR", 22610: "JPEG XR"}
# Lossy values of Compression.
LOSSY_COMPRESSIONS = {
    6: "JPEG",
    7: "JPEG",
    34892: "JPEG",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}

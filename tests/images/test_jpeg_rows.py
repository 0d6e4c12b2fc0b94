"""JPEG files are shortened to their first rows; the others are left to the reader of whole files."""

import io

import numpy as np
import pytest
from image_files import noise
from PIL import Image

from segnet.images.jpeg_rows import MARGIN, jpeg_rows


def jpeg(pixels: np.ndarray | Image.Image, **options: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file := io.BytesIO(), "JPEG", **options)
    return file.getvalue()


def decoded(data: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("options", [{"subsampling": s} for s in (0, 1, 2)] + [{"restart_marker_rows": 1}], ids=str)
@pytest.mark.parametrize("size", [(131, 67), (96, 160), (7, 5)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_first_rows_are_those_of_the_whole_file(size, channels, options):
    pixels = noise(*size, channels)
    data = jpeg(pixels if channels == 3 else pixels[..., 0], quality=88, **options)
    found, whole = jpeg_rows(data), decoded(data)
    assert (found.height, found.width) == size
    for rows in {1, 2, 8, 15, 16, 17, 33, 64, size[0] - 1, size[0]}:
        if rows <= size[0]:
            part = decoded(found.first(rows))
            assert len(part) == min(size[0], rows + MARGIN)
            np.testing.assert_array_equal(part[:rows], whole[:rows])


def test_a_preview_inside_the_file_is_passed_over():
    exif = Image.Exif()
    exif[0x010E] = "x" + jpeg(noise(9, 9, 3)).hex()
    found = jpeg_rows(jpeg(noise(40, 50, 3), exif=exif, comment=b"\xff\xd9"))
    assert (found.height, found.width) == (40, 50)


@pytest.mark.parametrize(
    "data",
    [
        jpeg(noise(64, 64, 3), progressive=True),
        jpeg(Image.fromarray(noise(64, 64, 4), mode="CMYK")),
        jpeg(noise(64, 64, 3))[:-2],
        jpeg(noise(64, 64, 3))[:300],
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xd9" + bytes(20),
    ],
    ids=["progressive", "cmyk", "without its end", "cut in its header", "three bytes", "empty"],
)
def test_other_files_are_left_alone(data):
    assert jpeg_rows(data) is None

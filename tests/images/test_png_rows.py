"""Parts of PNG files equal those of the whole file, for all filters and both inflate libraries."""

import io
import sys
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from image_files import ORIENTATION, noise
from PIL import Image, PngImagePlugin

from segnet.images import png_rows as module
from segnet.images.png_rows import fast_zlib, png_rows


def chunk(name: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + name + content + zlib.crc32(name + content).to_bytes(4)


def filtered(pixels: np.ndarray, kinds: list[int]) -> bytes:
    """A PNG file whose rows have these filters in turn, written from the definitions of the standard."""
    height, width = pixels.shape[:2]
    samples = pixels.reshape(height, width, -1).astype(int)
    left, up, corner = (np.zeros_like(samples) for _ in range(3))
    left[:, 1:], up[1:], corner[1:, 1:] = samples[:, :-1], samples[:-1], samples[:-1, :-1]
    estimate = left + up - corner
    distances = np.stack([abs(estimate - one) for one in (left, up, corner)])
    paeth = np.choose(distances.argmin(axis=0), [left, up, corner])
    predicted = [np.zeros_like(samples), left, up, (left + up) // 2, paeth]
    rows = []
    for row in range(height):
        kind = kinds[row % len(kinds)]
        rows.append(bytes([kind]) + ((samples[row] - predicted[kind][row]) % 256).astype(np.uint8).tobytes())
    color = 2 if samples.shape[2] == 3 else 0
    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, color, 0, 0, 0])
    data = zlib.compress(b"".join(rows))
    pieces = chunk(b"IDAT", data[:40]) + chunk(b"IDAT", data[40:])
    return module.START + chunk(b"IHDR", header) + pieces + chunk(b"IEND", b"")


def png(image: Image.Image, **options: object) -> bytes:
    image.save(file := io.BytesIO(), "PNG", **options)
    return file.getvalue()


@pytest.mark.parametrize("kinds", [[0], [1], [2], [3], [4], [0, 1, 2, 3, 4]], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_filter_is_reversed(kinds, channels):
    pixels = noise(37, 53, channels)
    found = png_rows(filtered(pixels, kinds))
    assert (found.height, found.width, found.num_samples) == (37, 53, channels)
    for rows, columns in [((0, 37), (0, 53)), ((0, 1), (0, 1)), ((5, 20), (30, 41)), ((36, 37), (52, 53))]:
        part = found.part(slice(*rows), slice(*columns))
        np.testing.assert_array_equal(part, pixels[slice(*rows), slice(*columns)])


def test_a_part_of_several_blocks_is_exact():
    pixels = noise(200, 300, 3)
    np.testing.assert_array_equal(
        png_rows(filtered(pixels, [4, 2])).part(slice(9, 190), slice(3, 290)), pixels[9:190, 3:290]
    )


def test_palette_indices_are_kept():
    image = Image.fromarray(noise(8, 9, top=7))
    image.putpalette([200, 10, 30] * 256)
    indices = png_rows(png(image)).part(slice(0, 8), slice(0, 9))[..., 0]
    np.testing.assert_array_equal(indices, noise(8, 9, top=7))


def text(keyword: str, compressed: bool = False) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text(keyword, "x", zip=compressed)
    return info


RGB = Image.fromarray(noise(8, 9, 3))
ROTATED = Image.Exif()
ROTATED[ORIENTATION] = 3
GOOD = filtered(noise(8, 9, 3), [4])


def test_ordinary_chunks_change_nothing():
    assert png_rows(png(RGB, pnginfo=text("Software"), dpi=(72, 72))) is not None


@pytest.mark.parametrize(
    "data",
    [
        png(RGB, pnginfo=text("Raw profile type exif")),
        png(RGB, pnginfo=text("Comment", compressed=True)),
        png(RGB, exif=ROTATED),
        png(RGB, save_all=True, append_images=[RGB.rotate(180)]),
        png(RGB.convert("RGBA")),
        png(RGB.convert("1")),
        png(Image.fromarray(noise(8, 9, dtype=np.uint16))),
        GOOD[:-12],
        GOOD[:70],
        GOOD[:60] + bytes([GOOD[60] ^ 1]) + GOOD[61:],
        GOOD.replace(chunk(b"IHDR", GOOD[16:29]), b""),
        b"GIF89a" + bytes(50),
    ],
    ids=[
        "orientation",
        "compressed",
        "exif",
        "animated",
        "alpha",
        "bilevel",
        "deep",
        "no-end",
        "cut",
        "flipped",
        "no-header",
        "gif",
    ],
)
def test_other_and_damaged_files_are_left_alone(data):
    assert png_rows(data) is None


def test_a_damaged_stream_or_one_of_too_few_rows_gives_nothing():
    header = chunk(b"IHDR", GOOD[16:29])
    for content in (b"no stream", zlib.compress(bytes(3 * 28))):
        data = module.START + header + chunk(b"IDAT", content) + chunk(b"IEND", b"")
        assert png_rows(data).part(slice(0, 8), slice(0, 9)) is None


def test_isal_is_used_where_it_is_installed(monkeypatch):
    calls = []

    def decompressobj():
        calls.append("isal")
        return zlib.decompressobj()

    isal = SimpleNamespace(decompressobj=decompressobj, crc32=zlib.crc32, adler32=zlib.adler32, error=zlib.error)
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", isal)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: name)
    fast_zlib.cache_clear()
    try:
        part = png_rows(GOOD).part(slice(0, 8), slice(0, 9))
    finally:
        fast_zlib.cache_clear()
    np.testing.assert_array_equal(part, noise(8, 9, 3))
    assert calls == ["isal"]

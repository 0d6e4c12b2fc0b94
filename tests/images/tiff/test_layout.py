"""TIFF tags give the layout, and damaged tags take neither long nor much memory."""

import io
import struct

import numpy as np
import pytest

from segnet.images.tiff.layout import TiffError, read_layout, read_layouts

tifffile = pytest.importorskip("tifffile", reason="writes the files")


def layout_of(path):
    with open(path, "rb") as file:
        return read_layout(file)


def test_tags_give_the_layout(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    with rasterio.open(
        tmp_path / "a.tif",
        "w",
        driver="GTiff",
        count=4,
        height=30,
        width=50,
        dtype="uint16",
        nodata=7,
        interleave="band",
        photometric="RGB",
        transform=rasterio.Affine(1, 0, 5, 0, -1, 9),
        tiled=True,
        blockxsize=16,
        blockysize=32,
    ) as file:
        file.write(np.zeros((4, 30, 50), np.uint16))
    layout = layout_of(tmp_path / "a.tif")
    assert (layout.height, layout.width, layout.num_samples, layout.bits) == (30, 50, 4, 16)
    assert (layout.is_planar, layout.is_tiled, layout.tile) == (True, True, (32, 16))
    assert (layout.nodata, layout.is_georeferenced, layout.num_pages) == (7, True, 1)
    assert layout.num_bytes == 4 * 30 * 50 * 2
    assert (list(layout.extra_samples), layout.has_alpha) == ([0], False)


def test_pages_are_counted_without_overviews(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for _ in range(3):
            file.write(np.zeros((8, 8), np.uint8), contiguous=False)
        file.write(np.zeros((4, 4), np.uint8), subfiletype=1)
    assert layout_of(tmp_path / "a.tif").num_pages == 3
    with open(tmp_path / "a.tif", "rb") as file:
        assert len(read_layouts(file, most=2)) == 2


def test_cyclic_pages_end(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), np.uint8), metadata=None)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    start = struct.unpack("<I", content[4:8])[0]
    count = struct.unpack("<H", content[start : start + 2])[0]
    struct.pack_into("<I", content, start + 2 + 12 * count, start)
    assert read_layout(io.BytesIO(bytes(content))).num_pages == 1


def tiff(*entries: tuple[int, int, int, int]) -> io.BytesIO:
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return io.BytesIO(struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + table + bytes(4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (io.BytesIO(b""), "no TIFF file|damaged"),
        (io.BytesIO(b"II*\0"), "damaged or cut off"),
        (io.BytesIO(b"II*\0\xff\xff\0\0"), "damaged or cut off"),
        (tiff((256, 4, 1, 0), (257, 4, 1, 5)), "0 x 5 pixels"),
        (tiff((256, 4, 1, 5), (257, 4, 1, 0)), "5 x 0 pixels"),
        (tiff((256, 4, 1, 5), (257, 4, 1, 5), (277, 3, 1, 0)), "of 0 values"),
        (tiff((256, 4, 1, 5), (257, 4, 1, 5), (258, 3, 1, 0)), "0 bits"),
        (tiff((256, 4, 1, 5), (257, 4, 1, 5), (273, 4, 2**31, 8)), "has 2147483648 values"),
        (tiff((256, 4, 1, 5), (257, 4, 1, 5), (322, 4, 1, 0), (323, 4, 1, 0), (324, 4, 1, 8)), "tiles of 0 x 0"),
    ],
)
def test_damaged_tags_are_refused(content, message):
    with pytest.raises(TiffError, match=message):
        read_layout(content)


def test_tags_that_share_bytes_use_bounded_memory():
    """Each of many pages uses the whole file as its strip offsets."""
    size = 4_000_000
    pages, position = b"", 8
    for _ in range(200):
        entries = ((256, 4, 1, 5), (257, 4, 1, 5), (273, 4, size // 4 - 10, 8))
        position += 2 + 12 * len(entries) + 4
        table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
        pages += struct.pack("<H", len(entries)) + table + struct.pack("<I", position)
    content = struct.pack("<2sHI", b"II", 42, 8) + pages
    content += bytes(size - len(content))
    assert len(read_layouts(io.BytesIO(content), most=200)) < 20

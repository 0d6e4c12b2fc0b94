"""Every TIFF layout gives the written values: depth, type, byte order, planes, tiles, compression."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from segnet.images.tiff.decode import decode_page, is_decodable
from segnet.images.tiff.layout import TiffError, read_layout

rasterio = pytest.importorskip("rasterio", reason="writes the layouts")
tifffile = pytest.importorskip("tifffile", reason="writes the layouts")
TYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32", "float64"]


def noise(dtype: str, *shape: int, bits: int = 0) -> np.ndarray:
    rng = np.random.default_rng(4)
    if dtype.startswith("float"):
        return rng.normal(0, 100, shape).astype(dtype)
    limits = np.iinfo(dtype)
    low, high = (0, 2**bits - 1) if bits else (limits.min, limits.max)
    return rng.integers(low, high, shape, dtype, endpoint=True)


def decoded(path: Path) -> np.ndarray:
    with open(path, "rb") as file:
        layout = read_layout(file)
        assert is_decodable(layout)
        return decode_page(file, layout)


def written(path: Path, values: np.ndarray, **options: object) -> Path:
    """A TIFF with (bands, H, W) written by GDAL."""
    profile = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
    with rasterio.open(path, "w", driver="GTiff", **profile, **options) as file:
        file.write(values)
    return path


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("interleave", ["band", "pixel"])
@pytest.mark.parametrize("compress", ["none", "lzw", "deflate", "packbits", "zstd", "lzma"])
def test_planes_strips_and_tiles_of_any_dtype_are_decoded(tmp_path, dtype, interleave, compress):
    tiles = {"tiled": True, "blockxsize": 32, "blockysize": 16}
    predictors = [1] if compress in ("none", "packbits", "lzma") else [1, 3 if dtype.startswith("float") else 2]
    for number, (count, predictor, blocks) in enumerate(itertools.product([1, 3, 5], predictors, [{}, tiles])):
        values = noise(dtype, count, 45, 70)
        options = {"interleave": interleave, "compress": compress, **blocks}
        if predictor > 1:
            options["predictor"] = predictor
        found = decoded(written(tmp_path / f"{number}.tif", values, **options))
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found.transpose(2, 0, 1), values, err_msg=str((count, predictor, blocks)))


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 7, 9, 10, 12, 14])
@pytest.mark.parametrize("interleave", ["band", "pixel"])
@pytest.mark.parametrize("compress", ["none", "lzw"])
def test_samples_of_1_to_15_bits_are_decoded(tmp_path, bits, interleave, compress):
    values = noise("uint8" if bits <= 8 else "uint16", 3, 20, 33, bits=bits)
    path = written(tmp_path / "a.tif", values, nbits=bits, interleave=interleave, compress=compress)
    np.testing.assert_array_equal(decoded(path).transpose(2, 0, 1), values)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float16", "float32", "float64"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_byte_orders_and_bigtiff_are_decoded(tmp_path, byteorder, bigtiff, planarconfig, dtype, compression):
    values = noise("float32", 20, 31, 3).astype(dtype)
    stored = values if planarconfig == "contig" else values.transpose(2, 0, 1)
    options = {"byteorder": byteorder, "bigtiff": bigtiff, "planarconfig": planarconfig, "compression": compression}
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", rowsperstrip=7, **options)
    found = decoded(tmp_path / "a.tif")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, values)


def test_fill_order_2_is_decoded(tmp_path):
    values = noise("uint8", 6, 16)
    tifffile.imwrite(tmp_path / "a.tif", values)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with open(tmp_path / "a.tif", "rb") as file:
        layout = read_layout(file)
    start = layout.offsets[0]
    swapped = np.packbits(np.unpackbits(values[..., None], axis=2)[..., ::-1], axis=2)
    content[start : start + values.size] = swapped.tobytes()
    assert layout.fill_order == 1
    (tmp_path / "a.tif").write_bytes(content)
    with open(tmp_path / "a.tif", "rb") as file:
        from dataclasses import replace

        found = decode_page(file, replace(layout, fill_order=2))
    np.testing.assert_array_equal(found[..., 0], values)


def test_missing_blocks_of_a_sparse_file_are_zero(tmp_path):
    with rasterio.open(
        tmp_path / "a.tif",
        "w",
        driver="GTiff",
        count=1,
        height=64,
        width=64,
        dtype="uint8",
        tiled=True,
        blockxsize=32,
        blockysize=32,
        compress="lzw",
        SPARSE_OK=True,
    ) as file:
        file.write(np.full((32, 32), 7, np.uint8), 1, window=((32, 64), (0, 32)))
    found = decoded(tmp_path / "a.tif")[..., 0]
    assert (found[32:, :32] == 7).all()
    assert found.sum() == 7 * 32 * 32


@pytest.mark.parametrize("compress", ["none", "lzw", "deflate", "packbits", "zstd", "lzma"])
def test_truncated_files_are_refused(tmp_path, compress):
    path = written(tmp_path / "a.tif", noise("uint16", 1, 64, 64), compress=compress)
    with open(path, "rb") as file:
        layout = read_layout(file)
    content = path.read_bytes()
    end = max(offset + size for offset, size in zip(layout.offsets, layout.sizes, strict=True))
    assert end == len(content)
    path.write_bytes(content[:-40])
    with pytest.raises(TiffError, match="damaged or cut off"):
        decoded(path)


@pytest.mark.parametrize("compress", ["lzw", "deflate", "packbits", "lzma"])
def test_damaged_bytes_never_cause_other_errors(tmp_path, compress):
    path = written(tmp_path / "a.tif", noise("uint8", 1, 32, 32), compress=compress)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        mutated = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            mutated[place] = rng.integers(256)
        path.write_bytes(mutated)
        try:
            with open(path, "rb") as file:
                layout = read_layout(file)
                if is_decodable(layout) and layout.height * layout.width < 10**6:
                    decode_page(file, layout)
        except (TiffError, OSError):  # OSError is raised by libtiff
            pass


def test_tiles_far_larger_than_the_image_are_refused(tmp_path):
    from dataclasses import replace

    tifffile.imwrite(tmp_path / "a.tif", noise("uint8", 16, 16), tile=(16, 16))
    with open(tmp_path / "a.tif", "rb") as file:
        layout = read_layout(file)
        with pytest.raises(TiffError, match="tiles of 1048576 x 1048576 pixels"):
            decode_page(file, replace(layout, tile=(2**20, 2**20)))

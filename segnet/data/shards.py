"""Shards: a dataset as tar files in WebDataset's layout, with an index for random access to each sample.

A folder of shards contains ``train-000000.tar``, ... for each split; ``index.json`` with the offset of each sample; and
``train-findings.json``, the dataset scan from when the samples were written. A sample is three members with one key:
``000000012.jpg`` (png, webp, npz), ``000000012.mask.png``, and ``000000012.json`` with its name and checksums. With
several classes per pixel, the mask's PNG has the planes of 0, 1 and 255 one below the other.

https://github.com/webdataset/webdataset writes and reads the samples. Its own readers go through a shard from the
beginning; here the index gives the bytes of any sample, so that order and augmentation are those of a dataset in files.
Its openers can run commands; here it receives bytes only.
"""

import io
import json
import math
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageOps

from segnet.classes import IGNORED_IN_PLANE, Classes
from segnet.data.dataset import Image as Pixels
from segnet.data.dataset import Sample
from segnet.data.datasets.json_records import Record, parse_json
from segnet.data.datasets.labels import Mask, checked_mask
from segnet.data.shard_index import INDEX
from segnet.errors import DataError, MachineError
from segnet.images.bands import PILLOW_MODES

MASK = "mask.png"
ARRAY = "npz"
PILLOW_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}  # member -> Pillow's name
COPIED_SUFFIXES = {".jpg": "jpg", ".jpeg": "jpg", ".png": "png", ".webp": "webp"}  # files that are copied unchanged
BLOCK = 512  # of a tar file [bytes]


def tar_writer(file: IO[bytes]) -> Any:
    """Return WebDataset's writer, for mappings of "__key__" and the members from `pack`."""
    # Fixed time and owner: the same samples give the same bytes.
    return _webdataset("writer").TarWriter(file, encoder=False, mtime=0, user="segnet", group="segnet")


def pack(sample: Sample, source: Path | None) -> dict[str, bytes]:
    """Serialize a sample into the members of a tar file.

    Args:
        source: the image's file, if known. Its bytes are copied if they decode to the same pixels; otherwise the pixels
            are stored without loss.
    """
    suffix, data = _encode_image(sample.image, source)
    members = {suffix: data, MASK: _encoded_mask(sample.mask.reshape(-1, sample.mask.shape[-1]))}  # planes stacked
    checksums = {member: zlib.crc32(data) for member, data in members.items()}
    return {**members, "json": json.dumps({"name": sample.name, "crc32": checksums}).encode()}


def unpack(data: bytes, where: str, classes: Classes, channels: int) -> Sample:
    """Read a sample from its bytes in a shard.

    Args:
        where: name of the sample, for messages.

    Raises:
        DataError: the bytes are damaged, or not a sample of this index.
    """
    try:
        members = _tar_members(data, where)
        description = Record(parse_json(members["json"], where), where)
        name, checksums = description.text("name"), description.record("crc32").values()
        (suffix,) = set(checksums) - {MASK}
        if any(zlib.crc32(members[member]) != checksum for member, checksum in checksums.items()):
            raise ValueError("checksum")
        image = _decoded(suffix, members[suffix], channels)
        with Image.open(io.BytesIO(members[MASK]), formats=["PNG"]) as stored:
            shape = classes.mask_shape(image.shape[:2])
            if (stored.height, stored.width) != (math.prod(shape[:-1]), shape[-1]):
                raise ValueError("shape")
            mask = np.asarray(stored)
        if mask.ndim != 2 or image.shape[2] != channels or mask.dtype.kind not in "iu":
            raise ValueError("shape")
        if classes.is_multilabel and not np.isin(mask, (0, 1, IGNORED_IN_PLANE)).all():
            raise ValueError("values")
    except MemoryError:
        raise
    except Exception:  # tar, JSON and decoders raise many kinds for damaged bytes
        raise DataError(f"{where}: is damaged, or not the shard of this {INDEX}: copy it again") from None
    if classes.is_multilabel:
        return Sample(image, mask.reshape(shape).astype(np.uint8), str(name))
    return Sample(image, checked_mask(mask, classes, where), str(name))


def sample_offsets(path: Path) -> list[int]:
    """Return the first byte of each sample of a shard, and the end of the last one [bytes]."""
    offsets: dict[str, int] = {}
    end = 0
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            offsets.setdefault(member.name.partition(".")[0], member.offset)
            end = member.offset_data + -(-member.size // BLOCK) * BLOCK
    return [*offsets.values(), end]


def require_webdataset() -> None:
    """Check that WebDataset is installed.

    Raises:
        MachineError: it is not.
    """
    _webdataset("writer")


def _webdataset(module: str) -> Any:
    try:
        import webdataset.tariterators
        import webdataset.writer
    except ImportError:
        raise MachineError(
            'shards need the package webdataset, which is not installed: pip install "segnet[streaming]"'
        ) from None
    return getattr(webdataset, module)


def _tar_members(data: bytes, where: str) -> dict[str, bytes]:
    library = _webdataset("tariterators")
    (sample,) = library.group_by_keys(library.tar_file_expander([{"url": where, "stream": io.BytesIO(data)}]))
    return dict(sample)


def _encode_image(image: Pixels, source: Path | None) -> tuple[str, bytes]:
    channels = image.shape[2]
    kept = COPIED_SUFFIXES.get(source.suffix.lower()) if source else None
    if source and kept and channels in PILLOW_MODES and image.dtype == np.uint8:
        try:
            data = source.read_bytes()
            if np.array_equal(_decoded(kept, data, channels), image):
                return kept, data
        except Exception:  # not an image file: decoders raise many kinds of errors
            pass
    buffer = io.BytesIO()
    if channels in PILLOW_MODES and image.dtype == np.uint8:
        Image.fromarray(image.squeeze(2) if channels == 1 else image).save(buffer, "PNG")
        return "png", buffer.getvalue()
    np.savez_compressed(buffer, image=image)
    return ARRAY, buffer.getvalue()


def _decoded(suffix: str, data: bytes, channels: int) -> Pixels:
    if suffix == ARRAY:
        return _stored_array(data)
    with Image.open(io.BytesIO(data), formats=[PILLOW_FORMATS[suffix]]) as stored:
        upright = ImageOps.exif_transpose(stored)
        return np.array(upright.convert(PILLOW_MODES[channels])).reshape(upright.height, upright.width, channels)


def _stored_array(data: bytes) -> Pixels:
    """Read the image in an NPZ file; the header is checked before anything is unpacked.

    Raises:
        ValueError: a wrong dtype or number of dimensions, more pixels than the limit, or a size that differs from the
            header.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open("image.npy") as member:
        version = np.lib.format.read_magic(member)
        if version != (1, 0):
            raise ValueError(f"version {version}")
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(member)
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 2**40)
        if len(shape) != 3 or min(shape) < 1 or is_fortran or dtype not in (np.uint8, np.float32):
            raise ValueError(f"{dtype} {shape}")
        size = math.prod(shape) * dtype.itemsize
        if shape[0] * shape[1] > limit or archive.getinfo("image.npy").file_size != size + member.tell():
            raise ValueError(f"size {shape}")
        return np.frombuffer(member.read(size), dtype).reshape(shape).copy()


def _encoded_mask(mask: Mask) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask if mask.dtype == np.uint8 else mask.astype(np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()

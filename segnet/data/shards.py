"""Shards: a dataset as tar files in WebDataset's layout, with an index for random access to each sample.

A folder of shards contains ``train-000000.tar``, ... for each split; ``index.json`` with the offset of each sample; and
``train-findings.json``, the dataset scan from when the samples were written. A sample is three members with one key:
``000000012.jpg`` (png, webp, npz), ``000000012.mask.png``, and ``000000012.json`` with its name and checksums.

https://github.com/webdataset/webdataset writes and reads the samples. Its own readers go through a shard from the
beginning; here the index gives the bytes of any sample, so that order and augmentation are those of a dataset in files.
Its openers can run commands; here it receives bytes only.
"""

import io
import itertools
import json
import math
import re
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageOps

from segnet.classes import Classes
from segnet.data.dataset import Image as Pixels
from segnet.data.dataset import Sample
from segnet.data.datasets.json_records import Record, parse_json
from segnet.data.datasets.labels import Mask, checked_mask
from segnet.errors import ConfigError, DataError, MachineError
from segnet.images.bands import PILLOW_MODES
from segnet.images.values import ValueRange, checked_value_range

FORMAT = 1
INDEX = "index.json"
MASK = "mask.png"
ARRAY = "npz"
PILLOW_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}  # member -> Pillow's name
COPIED_SUFFIXES = {".jpg": "jpg", ".jpeg": "jpg", ".png": "png", ".webp": "webp"}  # files that are copied unchanged
BLOCK = 512  # of a tar file [bytes]


@dataclass(frozen=True, slots=True)
class Shard:
    """A tar file and the offsets of its samples.

    Attributes:
        name: file name.
        offsets: first byte of each sample, and the end of the last one.
    """

    name: str
    offsets: Sequence[int]


@dataclass(frozen=True, slots=True)
class Index:
    """Contents of a folder of shards: the classes, the channels of the images, and the shards of each split."""

    classes: Classes
    channels: int
    splits: Mapping[str, Sequence[Shard]]
    value_range: ValueRange | None = None  # by which the images were read

    def to_json(self) -> str:
        splits = {
            split: [{"shard": shard.name, "offsets": list(shard.offsets)} for shard in shards]
            for split, shards in self.splits.items()
        }
        record: dict[str, Any] = {"format": FORMAT, "classes": self.classes.to_dict(), "channels": self.channels}
        if self.value_range is not None:
            record["value_range"] = list(self.value_range)
        return json.dumps(record | {"splits": splits})

    @classmethod
    def from_json(cls, text: bytes, where: str) -> "Index":
        """Parse an index; `where` is the file name for messages.

        Raises:
            DataError: the text is not an index.
        """
        try:
            record = Record(parse_json(text, where), where)
            index_format = record.integer("format")
            if index_format == FORMAT:
                classes = _stored_classes(record.record("classes"))
                channels = record.integer("channels")
                if channels < 1:
                    raise record.error("channels", "a number of channels from 1")
                value_range = _stored_value_range(record)
                entries = record.record("splits")
                splits = {
                    split: [_stored_shard(entry) for entry in entries.records(split)] for split in entries.values()
                }
        except DataError as error:
            reason = str(error).removeprefix(f"{where}: ")
            raise DataError(
                f"{where}: is not an index of `segnet shard`, or is damaged ({reason}): shard it again"
            ) from None
        if index_format != FORMAT:
            raise DataError(f"{where}: has format {index_format} of another segnet version: shard it again")
        owners = [(shard.name, split) for split, shards in splits.items() for shard in shards]
        repeated = [name for name, number in Counter(name for name, _ in owners).items() if number > 1]
        if repeated:
            raise DataError(f"{where}: lists the shard {repeated[0]} twice: shard it again")
        return cls(classes, channels, splits, value_range)


def _stored_value_range(record: Record) -> ValueRange | None:
    """Read the value range of an index.

    Raises:
        DataError: it is not a pair of ascending numbers.
    """
    if not record.has("value_range"):
        return None
    try:
        return checked_value_range(record.items("value_range"))
    except ConfigError:
        raise record.error("value_range", "[low, high]") from None


def _stored_classes(record: Record) -> Classes:
    """Read the classes of an index.

    Raises:
        DataError: the record does not describe classes.
    """
    names, palette = record.items("names"), record.items("palette")
    try:
        return Classes.create(names, palette, record.integer("ignore_index"))
    except (ConfigError, TypeError) as error:
        raise DataError(f"{record.source}: 'classes': {error}") from None


def _stored_shard(record: Record) -> Shard:
    """Read a shard of an index.

    Raises:
        DataError: the record does not describe a shard.
    """
    name = record.text("shard")
    if not re.fullmatch(r"\w[\w-]*\.tar", name):
        raise record.error("shard", "the name of a tar file")
    offsets = record.items("offsets")
    valid = all(type(offset) is int and 0 <= offset < 2**62 for offset in offsets)
    if len(offsets) < 2 or not valid or not all(start < end for start, end in itertools.pairwise(offsets)):
        raise record.error("offsets", "a list of two or more growing numbers of bytes")
    return Shard(name, offsets)


def findings_name(split: str) -> str:
    """Return the name of the file with a split's findings."""
    return f"{split}-findings.json"


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
    members = {suffix: data, MASK: _encoded_mask(sample.mask)}
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
            if (stored.height, stored.width) != image.shape[:2]:
                raise ValueError("shape")
            mask = np.asarray(stored)
        if mask.shape != image.shape[:2] or image.shape[2] != channels or mask.dtype.kind not in "iu":
            raise ValueError("shape")
    except MemoryError:
        raise
    except Exception:  # tar, JSON and decoders raise many kinds for damaged bytes
        raise DataError(f"{where}: is damaged, or not the shard of this {INDEX}: copy it again") from None
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

"""The index of a folder of shards: classes, channels, and the position of each sample; see `segnet.data.shards`."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segnet.classes import MULTICLASS, MULTILABEL, Classes
from segnet.data.datasets.json_records import Record, parse_json
from segnet.errors import ConfigError, DataError
from segnet.images.values import ValueRange, checked_value_range

FORMAT = 1
PLANES_FORMAT = 2  # of an index with several classes per pixel, which older versions would misread
INDEX = "index.json"


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
        index_format = PLANES_FORMAT if self.classes.is_multilabel else FORMAT
        record: dict[str, Any] = {"format": index_format, "classes": self.classes.to_dict(), "channels": self.channels}
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
            if index_format in (FORMAT, PLANES_FORMAT):
                classes = _stored_classes(
                    record.record("classes"), MULTICLASS if index_format == FORMAT else MULTILABEL
                )
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
        if index_format not in (FORMAT, PLANES_FORMAT):
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


def _stored_classes(record: Record, task: str) -> Classes:
    """Read the classes of an index.

    Raises:
        DataError: the record does not describe classes.
    """
    names, palette = record.items("names"), record.items("palette")
    try:
        return Classes.create(names, palette, record.integer("ignore_index"), task)
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

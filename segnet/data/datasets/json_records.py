"""Typed reading of JSON: every value is checked where it is read, and an error names the file and the key.

Annotation files come from many tools, which write numbers as text, ids as floats, null for what they do not know. What
has one meaning is read; what has none is a `DataError`. NaN and infinity are valid here until a number is asked for.
"""

import json
import math
import re
import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segnet.data.datasets.text_files import decode, read_bytes
from segnet.errors import DataError

MAX_JSON_BYTES = 4 * 2**30  # size limit of a file; COCO's largest has half a gigabyte
INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")  # text of an integer; "007" is a name, not a number
NUMBER = re.compile(r"[-+]?[0-9]{1,18}(\.[0-9]{0,18})?")
FLAGS = {0: False, 1: True, "0": False, "1": True, "false": False, "true": True}

Id = int | str


class Record:
    """A JSON object and its place in a file.

    Args:
        values: the parsed value, which must be an object.
        source: the file, for errors.
        parent: the record that holds it; None: it is the file's top level.
        key: its key in `parent`.
        index: its index, where `parent` holds a list.

    Raises:
        DataError: the value is not an object.
    """

    __slots__ = ("_index", "_key", "_parent", "_values", "source")

    def __init__(
        self, values: Any, source: Path | str, parent: "Record | None" = None, key: str = "", index: int | None = None
    ) -> None:
        self.source, self._parent, self._key, self._index = source, parent, key, index
        self._values: dict[str, Any] = {}
        if not isinstance(values, dict):
            raise DataError(f"{source}: {self.place} must be an object {{...}}, not {shown(values)}")
        self._values = values

    @property
    def place(self) -> str:
        """Return its place for messages: "annotations[3] (id 77)"."""
        index = "" if self._index is None else f"[{self._index}]"
        if self._parent is None:
            return f"entry {index}" if index else "the file"
        above = "" if self._parent._parent is None and self._parent._index is None else f"{self._parent.place}."
        name = self._values.get("id")
        named = f" (id {shown(name)})" if isinstance(name, int | str) else ""
        return f"{above}{self._key}{index}{named}"

    def error(self, key: str, wanted: str) -> DataError:
        """Build the error about a missing or wrong value of a key."""
        where = f"{self.source}: '{key}' of {self.place}"
        value = self._values.get(key)
        found = f"is missing: it must be {wanted}" if value is None else f"must be {wanted}, not {shown(value)}"
        return DataError(f"{where} {found}")

    def has(self, key: str) -> bool:
        """Return True if the key has a value other than null."""
        return self._values.get(key) is not None

    def get(self, key: str) -> Any:
        """Return the unchecked value; None if missing."""
        return self._values.get(key)

    def values(self) -> Mapping[str, Any]:
        """Return all keys and values, unchecked."""
        return self._values

    def text(self, key: str) -> str:
        """Raises:
        DataError: missing, no text, or text that no file system and no terminal takes.
        """
        value = self._values.get(key)
        if not isinstance(value, str) or not value.strip() or "\0" in value or not _is_encodable(value):
            raise self.error(key, "a text")
        return value

    def integer(self, key: str) -> int:
        """Return an integer; "12" and 12.0 are accepted too.

        Raises:
            DataError: missing or no whole number.
        """
        value = as_integer(self._values.get(key))
        if value is None:
            raise self.error(key, "a whole number")
        return value

    def size(self, key: str) -> int | None:
        """Return a size in pixels; None if missing, null or 0, which tools write for unknown sizes.

        Raises:
            DataError: no whole number, or a negative one.
        """
        if not self.has(key):
            return None
        value = as_integer(self._values.get(key))
        if value is None or value < 0:
            raise self.error(key, "a number of pixels")
        return value or None

    def number(self, key: str) -> float:
        """Raises:
        DataError: missing, no number or not finite.
        """
        value = as_number(self._values.get(key))
        if value is None:
            raise self.error(key, "a finite number")
        return value

    def identifier(self, key: str) -> Id:
        """Return an identifier: 7, 7.0 and "7" are equal, "007" is another one.

        Raises:
            DataError: missing, or neither a whole number nor a text.
        """
        value = self._values.get(key)
        number = as_integer(value)
        if number is not None:
            return number
        if isinstance(value, str) and value.strip() and _is_encodable(value):
            return value
        raise self.error(key, "a whole number or a text")

    def flag(self, key: str) -> bool:
        """Return a boolean; missing and null are False.

        Raises:
            DataError: neither.
        """
        value = self._values.get(key)
        if value is None:
            return False
        try:
            return FLAGS[value.lower() if isinstance(value, str) else value]
        except (KeyError, TypeError):
            raise self.error(key, "0 or 1") from None

    def items(self, key: str) -> list[Any]:
        """Raises:
        DataError: missing or no list.
        """
        value = self._values.get(key)
        if not isinstance(value, list):
            raise self.error(key, "a list [...]")
        return value

    def record(self, key: str) -> "Record":
        """Raises:
        DataError: missing or no object.
        """
        if not isinstance(self._values.get(key), dict):
            raise self.error(key, "an object {...}")
        return Record(self._values[key], self.source, self, key)

    def records(self, key: str) -> Iterator["Record"]:
        """Return the objects of a list.

        Raises:
            DataError: missing, no list, or a list of something else.
        """
        for index, value in enumerate(self.items(key)):
            yield Record(value, self.source, self, key, index)


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        DataError: missing, empty or too large, or as `parse_json`.
    """
    return parse_json(read_bytes(path, MAX_JSON_BYTES), path)


def parse_json(data: bytes, source: Path | str) -> Any:
    """Parse JSON in any Unicode encoding.

    Args:
        source: the file, for errors.

    Raises:
        DataError: no text, no JSON, nested too deeply, or an object with the same key twice.
    """
    text = decode(data, source)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise DataError(f"{source}: an object has the key {shown(twice)} twice: remove one of them")
        return values

    try:
        return json.loads(text, object_pairs_hook=unique)
    except DataError:
        raise
    except RecursionError:
        raise DataError(f"{source}: is nested too deeply for an annotation file") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{source}: is not valid JSON, damaged or cut off ({error})") from None
    except ValueError:  # an integer of thousands of digits
        raise DataError(f"{source}: has a number with too many digits") from None


def read_record(path: Path) -> Record:
    """Read a JSON file with an object at the top level.

    Raises:
        DataError: as `read_json`, or its top level is something else.
    """
    return Record(read_json(path), path)


def read_records(path: Path) -> list[Record]:
    """Read a JSON file with a list of objects at the top level.

    Raises:
        DataError: as `read_json`, or its top level is something else.
    """
    values = read_json(path)
    if not isinstance(values, list):
        raise DataError(f"{path}: the file must be a list [...] of objects, not {shown(values)}")
    return [Record(value, path, None, "", index) for index, value in enumerate(values)]


def as_integer(value: Any) -> int | None:
    """Convert a JSON value to an integer; None if it is not one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and INTEGER.fullmatch(value.strip()):
        return int(value)
    return None


def as_number(value: Any) -> float | None:
    """Convert a JSON value to a finite number; None if it is not one."""
    if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def shown(value: Any) -> str:
    """Format a JSON value briefly for errors."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 40
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else short.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True

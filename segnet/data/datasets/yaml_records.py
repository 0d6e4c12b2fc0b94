"""Typed reading of YAML, with the checks of `json_records`."""

from pathlib import Path
from typing import Any

import yaml

from segnet.data.datasets.json_records import Record, shown
from segnet.data.datasets.text_files import decode, read_bytes
from segnet.errors import DataError

MAX_YAML_BYTES = 2**24


def read_yaml(path: Path) -> Record:
    """Read a YAML file with a mapping of plain values at the top level.

    Raises:
        DataError: missing, too large, no text, no YAML, a key given twice, or something else at its top level.
    """
    return Record(_parsed(path), path)


def read_yaml_list(path: Path) -> list[Any]:
    """Read a YAML file with a list of plain values at the top level.

    Raises:
        DataError: as `read_yaml`.
    """
    values = _parsed(path)
    if not isinstance(values, list):
        raise DataError(f"{path}: the file must be a list, not {shown(values)}: start each entry with '- '")
    return values


def _parsed(path: Path) -> Any:
    text = decode(read_bytes(path, MAX_YAML_BYTES), path)
    try:
        twice = _repeated_key(text)
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{path}: is not valid YAML ({reason or type(error).__name__})") from None
    if twice is not None:
        raise DataError(f"{path}: has the key {shown(twice)} twice: remove one of them")
    return values


def _repeated_key(text: str) -> str | None:
    """Find a repeated key in a mapping; YAML would silently use the last."""
    waiting, seen = [yaml.compose(text, yaml.SafeLoader)], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # by an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = [str(key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            twice = next((key for key in keys if keys.count(key) > 1), None)
            if twice is not None:
                return twice
            waiting += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
    return None

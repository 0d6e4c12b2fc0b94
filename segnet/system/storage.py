"""Files in a folder or behind a URL (s3://, gs://, https://, ...), by fsspec: whole, or many ranges of bytes."""

import time
from collections.abc import Sequence
from typing import Any

from segnet.errors import ConfigError, DataError, MachineError, SegnetError

PAUSES = (1.0, 5.0)  # before what did not come is asked for again [seconds]
FINAL = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)  # asking again does not help


def read_file(root: str, name: str) -> bytes:
    """Reads a file of a folder.

    Args:
        root: path or URL of the folder.
        name: of the file in it.

    Raises:
        ConfigError: a URL of a kind that fsspec does not know.
        DataError: there is no such file.
        MachineError: the network, or what grants access, does not allow it, or a package is missing.
    """
    return _read_parts(root, [name], [(None, None)])[0]


def read_ranges(root: str, parts: Sequence[tuple[str, int, int]]) -> list[bytes]:
    """Reads parts of files of a folder; all at once where that is a URL.

    Args:
        root: path or URL of the folder.
        parts: of each the file's name, the first byte, and the byte behind the last.

    Raises:
        ConfigError, DataError, MachineError: as `read_file`.
        DataError: a part has another length.
    """
    read = _read_parts(root, [name for name, _, _ in parts], [(start, end) for _, start, end in parts])
    for (name, start, end), data in zip(parts, read, strict=True):
        if len(data) > end - start:
            raise DataError(
                f"{place(root, name)}: the server sent the whole file when asked for a part of it: use another"
            )
        if len(data) < end - start:
            raise DataError(f"{place(root, name)}: is cut off, bytes {start} to {end} are not all there: copy it again")
    return read


def place(root: str, name: str) -> str:
    """The path or URL of a file, as messages name it."""
    return f"{root.rstrip('/')}/{name}"


def is_local(root: str) -> bool:
    """Whether a folder is named by its path."""
    return "://" not in root


def _read_parts(root: str, names: Sequence[str], ranges: Sequence[tuple[int | None, int | None]]) -> list[bytes]:
    read: list[Any] = [None] * len(names)
    missing = list(range(len(names)))
    for pause in (*PAUSES, None):
        wanted = [(names[number], *ranges[number]) for number in missing]
        for number, result in zip(missing, _tried(root, wanted), strict=True):
            read[number] = result
        missing = [number for number in missing if isinstance(read[number], Exception)]
        if not missing:
            return read
        if pause is None or is_local(root) or any(isinstance(read[number], FINAL) for number in missing):
            break
        time.sleep(pause)
    raise _refusal(place(root, names[missing[0]]), read[missing[0]])


def _tried(root: str, wanted: Sequence[tuple[str, int | None, int | None]]) -> Sequence[bytes | Exception]:
    """The parts, or why they did not come."""
    from fsspec.core import url_to_fs

    try:
        files, path = url_to_fs(root)  # each time: fsspec keeps one for each process, and none may cross a fork
    except ImportError as error:
        raise MachineError(f"{root}: a package is missing to read it: {error}") from None
    except ValueError as error:
        raise ConfigError(f"{root}: is neither a folder nor a URL that fsspec reads ({error})") from None
    try:
        read: Sequence[bytes | Exception] = files.cat_ranges(
            [f"{path.rstrip('/')}/{name}" for name, _, _ in wanted],
            [start for _, start, _ in wanted],
            [end for _, _, end in wanted],
            on_error="return",
        )
    except Exception as error:  # each kind of storage raises its own, before it has begun
        return [error] * len(wanted)
    return read


def _refusal(where: str, error: Exception) -> SegnetError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return DataError(f"{where}: no such file")
    reason = " ".join(str(error).split()) or type(error).__name__
    return MachineError(f"{where}: cannot be read ({reason}): look at the address, the network and what grants access")

"""Read files or byte ranges from a local folder or a URL (s3://, gs://, https://, ...) with fsspec."""

import time
from collections.abc import Sequence
from typing import Any

from segnet.errors import ConfigError, DataError, MachineError, SegnetError

PAUSES = (1.0, 5.0)  # before each retry [seconds]
FINAL = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)  # a retry does not help


def read_file(root: str, name: str) -> bytes:
    """Read a file of a folder.

    Args:
        root: path or URL of the folder.
        name: name of the file.

    Raises:
        ConfigError: fsspec does not know the kind of URL.
        DataError: the file does not exist.
        MachineError: the network or the credentials do not allow it, or a package is missing.
    """
    return _read_parts(root, [name], [(None, None)])[0]


def read_ranges(root: str, parts: Sequence[tuple[str, int, int]]) -> list[bytes]:
    """Read parts of files of a folder, all concurrently if it is a URL.

    Args:
        root: path or URL of the folder.
        parts: file name, first byte, and end (exclusive).

    Raises:
        ConfigError, DataError, MachineError: as `read_file`.
        DataError: a part has another length than requested.
    """
    read = _read_parts(root, [name for name, _, _ in parts], [(start, end) for _, start, end in parts])
    for (name, start, end), data in zip(parts, read, strict=True):
        if len(data) > end - start:
            raise DataError(
                f"{place(root, name)}: the server sent the whole file instead of a part: use another server"
            )
        if len(data) < end - start:
            raise DataError(f"{place(root, name)}: truncated, bytes {start} to {end} are incomplete: copy it again")
    return read


def place(root: str, name: str) -> str:
    """Path or URL of a file."""
    return f"{root.rstrip('/')}/{name}"


def is_local(root: str) -> bool:
    """Whether a folder is given as a path, not as a URL."""
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
    """The parts, each or its error."""
    from fsspec.core import url_to_fs

    try:
        files, path = url_to_fs(root)  # each time: fsspec caches it for each process, and none may cross a fork
    except ImportError as error:
        raise MachineError(f"{root}: a package is missing: {error}") from None
    except ValueError as error:
        raise ConfigError(f"{root}: is neither a folder nor a URL that fsspec supports ({error})") from None
    try:
        read: Sequence[bytes | Exception] = files.cat_ranges(
            [f"{path.rstrip('/')}/{name}" for name, _, _ in wanted],
            [start for _, start, _ in wanted],
            [end for _, _, end in wanted],
            on_error="return",
        )
    except Exception as error:  # each kind of storage has its own errors
        return [error] * len(wanted)
    return read


def _refusal(where: str, error: Exception) -> SegnetError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return DataError(f"{where}: no such file")
    reason = " ".join(str(error).split()) or type(error).__name__
    return MachineError(f"{where}: cannot be read ({reason}): check the address, the network and the credentials")

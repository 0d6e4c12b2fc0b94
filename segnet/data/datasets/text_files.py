"""Text files of any Unicode encoding: UTF-8, UTF-16 and UTF-32, with or without a byte order mark."""

from pathlib import Path

from segnet.errors import DataError
from segnet.system.encodings import unicode_encoding

MAX_TEXT_BYTES = 2**28  # size limit of a list, enough for ten million images


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """Read a whole file.

    Raises:
        DataError: missing, unreadable, empty or too large.
    """
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise DataError(f"{path}: {size / 2**30:.1f} GiB, above the limit of {max_bytes / 2**30:g} GiB: divide it")
        data = path.read_bytes()
    except DataError:
        raise
    except (OSError, ValueError) as error:  # ValueError: NUL in the name
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not data:
        raise DataError(f"{path}: is empty (0 bytes)")
    return data


def decode(data: bytes, path: Path | str) -> str:
    """Decode text by the encoding of its first bytes.

    Raises:
        DataError: not Unicode text.
    """
    encoding = unicode_encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not {encoding.upper()} text (byte {error.start}): save it as UTF-8") from None


def read_lines(path: Path, what: str = "a list of files") -> list[str]:
    """Return the non-empty lines of a text file, without surrounding whitespace.

    Args:
        what: the expected content, for errors.

    Raises:
        DataError: it cannot be read, is no text, or has no line.
    """
    try:
        text = decode(read_bytes(path, MAX_TEXT_BYTES), path)
    except DataError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise DataError(f"{path}: cannot be read as {what}: {reason}") from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise DataError(f"{path}: has no line: it should be {what}")
    return lines

"""New files that overwrite nothing: safe names for uploads, and an atomic write to a name that must be unused."""

import os
import re
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segnet.errors import MachineError
from segnet.system.files import SYSTEM_NAMES, UMASK

MAX_NAME = 80  # of a name without its ending; most file systems allow 255 bytes [characters]
UNSAFE_CHARACTERS = re.compile(r"[^\w.()-]+")
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # device names of Windows


def safe_name(name: str) -> str:
    """A name for a file of any system, without ending: letters, digits, and . _ - ( ).

    Args:
        name: any text, such as "C:\\\\photos\\\\my street.jpg".
    """
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rstrip("/").rpartition("/")[2]
    stem = last.rpartition(".")[0] if 0 < len(last) - last.rfind(".") <= 6 and last.rfind(".") > 0 else last
    plain = UNSAFE_CHARACTERS.sub("_", stem)[:MAX_NAME].strip("._ ")
    while len(os.fsencode(plain)) > 200:
        plain = plain[:-1]
    if not plain or plain.lower() in SYSTEM_NAMES or RESERVED.fullmatch(plain):
        plain = f"image_{plain}".rstrip("_")
    return plain


@contextmanager
def storing() -> Iterator[None]:
    """Convert errors of the file system.

    Raises:
        MachineError: a file cannot be read or written; the message names no path of the server.
    """
    try:
        yield
    except OSError as error:
        raise MachineError(f"the server cannot store the image ({error.strerror or error})") from None


@contextmanager
def hidden_file(folder: Path) -> Iterator[Path]:
    """A temporary file, which is deleted at the end; readers leave out its name."""
    with storing():
        handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=folder)
        os.close(handle)
    path = Path(name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def finish(path: Path) -> None:
    """Write a file to the disk, and give it the permissions of a new file."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    os.chmod(path, 0o666 & ~UMASK)  # mkstemp sets 0o600


def placed(source: Path, target: Path) -> bool:
    """Give a complete file another name, atomically; False: a file of that name exists."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError:  # a file system without links: claim the name, then move the file there
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        os.replace(source, target)
    return True

"""Atomic writes: under its name a file is complete, or it does not exist. And the names of hidden files."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segnet.errors import MachineError

GIB = 2**30  # [bytes]
# Folders and files of operating systems, network storage and desktops, besides all names that begin with a dot.
SYSTEM_NAMES = frozenset(
    {
        *("__macosx", "@eadir", "@recycle", "#recycle", "$recycle.bin", "recycler", "lost+found"),
        *("system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini"),
    }
)

UMASK = os.umask(0)  # only setting it tells it: once, since another thread could read the 0
os.umask(UMASK)


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Atomic write: give a temporary file in the target's folder, which replaces the target once it is complete.

    Args:
        path: the target.
        durable: whether the content is forced to the disk first, which a power failure may demand.

    Raises:
        MachineError: the disk refuses it; the old file, if any, is unchanged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise MachineError(f"{path}: cannot be written ({error.strerror})") from None
    temporary = Path(name)
    try:
        yield temporary
        if durable:
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~UMASK)  # mkstemp makes it private
        os.replace(temporary, path)
    except OSError as error:
        raise MachineError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        temporary.unlink(missing_ok=True)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, trash, a checkpoint folder of Jupyter, or an operating system's own."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES

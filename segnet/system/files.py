"""Atomic writes, removal of empty folders, and the names of hidden files."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segnet.errors import MachineError

GIB = 2**30  # [bytes]
# Folders and files of operating systems, network storage and desktops, besides all names that begin with a dot.
SYSTEM_NAMES = frozenset(
    {
        *("__macosx", "@eadir", "@recycle", "#recycle", "$recycle.bin", "recycler", "lost+found"),
        *("system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini"),
    }
)

UMASK = os.umask(0)  # reading it needs a write: once at import, before other threads could see the 0
os.umask(UMASK)


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Atomic write: yield a temporary file in the target's folder, which replaces the target on success.

    Args:
        path: the target.
        durable: whether to flush the content to disk first, so that it survives a power failure.

    Raises:
        MachineError: the file cannot be written; an old file is unchanged.
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
        os.chmod(temporary, 0o666 & ~UMASK)  # mkstemp sets 0o600
        os.replace(temporary, path)
    except OSError as error:
        raise MachineError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def removing_if_empty(folder: Path) -> Iterator[None]:
    """On exit remove `folder` and its parents if they are empty and did not exist before."""
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for path in created:
                if path.is_dir():
                    path.rmdir()


def is_hidden(name: str) -> bool:
    """Whether a name is a hidden, trash or system file or folder, or Jupyter's checkpoint folder."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if the file is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

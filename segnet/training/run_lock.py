"""Run lock: one run per folder, by an advisory file lock. The operating system releases a killed process's lock."""

import contextlib
import logging
import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from segnet.errors import ConfigError, MachineError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

LOCK = ".lock"
# struct flock: type, whence, start, length, process id; the order differs between systems.
_FLOCK = {"linux": ("hhqqi", 0, 4), "darwin": ("qqihh", 3, 2)}  # format, index of the type, index of the process id
_held: dict[Path, int] = {}  # lock file -> process id: POSIX locks do not exclude their own process


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a run folder, creating it if needed; a second run is refused.

    Raises:
        ConfigError: another run holds the lock.
        MachineError: the folder cannot be created or written to.
    """
    path = folder.absolute() / LOCK
    if _held.get(path) == os.getpid():
        raise _another_run(folder, f"process {os.getpid()}, this one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _open_locked(path)
    except OSError as error:
        raise MachineError(
            f"{folder}: the run folder cannot be written to ({error.strerror}): choose another hydra.run.dir"
        ) from None
    with file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        _held[path] = os.getpid()
        try:
            yield
        finally:
            del _held[path]
            with contextlib.suppress(OSError):
                if _is_at(path, file):  # the folder may have been deleted and created again by another run
                    path.unlink()


def in_use(folder: Path) -> bool:
    """Return True if a running process holds a run folder's lock. Creates, changes and locks nothing."""
    path = folder.absolute() / LOCK
    if _held.get(path) == os.getpid():  # opening and closing the file here would release the lock
        return True
    try:
        with open(path, encoding="utf-8") as file:
            return _holder(file) != 0
    except OSError:
        return False


def _open_locked(path: Path) -> TextIO:
    """Open and lock the file, and open it again if its name was deleted in between.

    The previous holder may delete the file between our open and our lock. A lock on a deleted file excludes nobody.
    """
    while True:
        # lockf rather than flock: worker processes of a killed run would keep an flock for a while.
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
        try:
            if fcntl is None or not _try_lock(file) or _is_at(path, file):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _try_lock(file: TextIO) -> bool:
    """Lock a file; return False if the file system does not support locks.

    Raises:
        ConfigError: another process holds it.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        raise _another_run(Path(file.name).parent, file.read().strip()) from None
    except OSError:
        log.debug("%s: this file system does not support locks", file.name)
        return False
    return True


def _is_at(path: Path, file: TextIO) -> bool:
    """Return True if a path still refers to an open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _holder(file: TextIO) -> int:
    """Return the id of the process that holds a file's exclusive lock; 0 if none does or locks are unsupported."""
    if fcntl is None or sys.platform not in _FLOCK:
        return 0
    layout, kind, process = _FLOCK[sys.platform]
    fields = [0] * 5
    fields[kind] = fcntl.F_RDLCK  # conflicts with the exclusive locks of others
    try:
        found = struct.unpack(layout, fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(layout, *fields)))
    except OSError:
        return 0
    return 0 if found[kind] == fcntl.F_UNLCK else found[process] or -1


def _another_run(folder: Path, holder: str) -> ConfigError:
    return ConfigError(
        f"{folder}: another run uses this folder ({holder}): wait for it, stop it, or choose another hydra.run.dir"
    )

"""One run a folder: an advisory lock on a file in the run folder. A killed process holds nothing."""

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
# struct flock: type, whence, start, length, process; its order differs between systems.
_FLOCK = {"linux": ("hhqqi", 0, 4), "darwin": ("qqihh", 3, 2)}  # format, index of the type, of the process
_held: dict[Path, int] = {}  # lock file -> process, because POSIX locks do not exclude their own process


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder against a second run.

    Raises:
        ConfigError: another run holds it.
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
                if _is_at(path, file):  # not of a folder that was deleted and created again
                    path.unlink()


def in_use(folder: Path) -> bool:
    """Whether a living process holds a run folder. Creates, changes and locks nothing."""
    path = folder.absolute() / LOCK
    if _held.get(path) == os.getpid():  # and to open the file here would release the lock
        return True
    try:
        with open(path, encoding="utf-8") as file:
            return _holder(file) != 0
    except OSError:
        return False


def _open_locked(path: Path) -> TextIO:
    """Open and lock a file that is still there under its name.

    The process that held the lock may delete the file after it is opened here and before it is locked. A lock on a file
    without a name would exclude nobody.
    """
    while True:
        # Not flock: worker processes of a killed run would keep such a lock for a while.
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
        try:
            if fcntl is None or not _try_lock(file) or _is_at(path, file):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _try_lock(file: TextIO) -> bool:
    """Lock a file; False where the file system has no locks.

    Raises:
        ConfigError: another process holds it.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        raise _another_run(Path(file.name).parent, file.read().strip()) from None
    except OSError:
        log.debug("%s: no locks on this file system", file.name)
        return False
    return True


def _is_at(path: Path, file: TextIO) -> bool:
    """Whether an open file is the one that a path names."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _holder(file: TextIO) -> int:
    """The process that holds an exclusive lock on a file; 0: none, or locks are not known here."""
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
        f"{folder}: another run is at work there ({holder}): wait for it or end it, or choose another hydra.run.dir"
    )

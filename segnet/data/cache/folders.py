"""Folders of the disk cache, one per dataset configuration, with one size limit for all of them."""

import contextlib
import os
from pathlib import Path

from segnet.errors import MachineError


def make_room(root: Path, folder: Path, size: int, limit: int) -> int:
    """Create the cache folder of a dataset, and remove folders of others, least recently used first, to make room.

    Args:
        root: folder that contains all cache folders.
        size: expected size of the dataset's folder [bytes].
        limit: total size of all folders [bytes].

    Returns:
        The size of all folders now [bytes].

    Raises:
        MachineError: the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
    except OSError as error:
        raise MachineError(f"data.cache=disk: {folder} cannot be written ({error.strerror})") from None
    others = sorted((other for other in root.iterdir() if other != folder), key=_last_use)
    if _folder_size(folder) > limit:  # it was filled under a larger limit
        _empty(folder)
    own = _folder_size(folder)
    used = own + sum(map(_folder_size, others))
    for other in others:
        if used + max(0, size - own) <= limit:
            break
        used -= _folder_size(other)
        _empty(other)
        with contextlib.suppress(OSError):
            other.rmdir()
    return used


def _empty(folder: Path) -> None:
    for path in folder.glob("*"):
        path.unlink(missing_ok=True)


def _last_use(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # another process removed it
        return 0


def _folder_size(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.stat().st_size
        except OSError:  # another process removed it
            continue
    return total

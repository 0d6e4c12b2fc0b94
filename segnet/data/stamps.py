"""By what it is told whether files are still those that something was remembered of, and where that lies."""

import os
from collections.abc import Sequence
from pathlib import Path


def cache_folder() -> Path:
    """The user's, for segnet: $XDG_CACHE_HOME/segnet, or ~/.cache/segnet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segnet"


def key_of(files: Sequence[Path | str]) -> str:
    """What a sample is remembered by: the paths of its files."""
    return "\n".join(str(file.absolute()) if isinstance(file, Path) else file for file in files)


def stamp_of(files: Sequence[Path | str]) -> list[int]:
    """Sizes [bytes] and times of change [ns] of a sample's files; empty: one is not there, or there are none."""
    stamp = []
    for file in files:
        if isinstance(file, Path):
            try:
                status = file.stat()
            except (OSError, ValueError):  # such as a name with NUL
                return []
            stamp += [status.st_size, status.st_mtime_ns]
    return stamp

"""By what it is told whether files are still those that something was remembered of, and where that lies."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segnet import __version__
from segnet.classes import Classes


def cache_folder() -> Path:
    """The user's, for segnet: $XDG_CACHE_HOME/segnet, or ~/.cache/segnet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segnet"


def dataset_digest(spec: Mapping[str, Any], classes: Classes) -> str:
    """Names all that samples depend on besides their files: the dataset's options, and this version of segnet."""
    told = json.dumps([__version__, dict(spec), classes.to_dict()], default=str)
    in_order = json.dumps(
        json.loads(told), sort_keys=True
    )  # keys of an id map are numbers and words, which have no order
    return hashlib.sha256(in_order.encode()).hexdigest()[:16]


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

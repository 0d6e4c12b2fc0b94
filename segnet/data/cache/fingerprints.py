"""Cache keys: file fingerprints (size, mtime) that invalidate cached scans and samples, and the cache folder."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segnet import __version__
from segnet.classes import Classes
from segnet.data.fold import base_spec

READERS_VERSION = 3  # increased when readers return other samples for the same files


def cache_folder() -> Path:
    """Return segnet's cache folder of the user: $XDG_CACHE_HOME/segnet, or ~/.cache/segnet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segnet"


def dataset_digest(spec: Mapping[str, Any], classes: Classes) -> str:
    """Hash everything except files that samples depend on: options, classes and the version of the readers."""
    described = json.dumps([__version__, READERS_VERSION, dict(base_spec(spec)), classes.to_dict()], default=str)
    # Keys of an id map are numbers and words, which only sort as text.
    in_order = json.dumps(json.loads(described), sort_keys=True)
    return hashlib.sha256(in_order.encode()).hexdigest()[:16]


def cache_key(files: Sequence[Path | str]) -> str:
    """Return the cache key of a sample: the paths of its files."""
    return "\n".join(str(file.absolute()) if isinstance(file, Path) else file for file in files)


def fingerprint_of(files: Sequence[Path | str]) -> list[int]:
    """Return sizes [bytes] and mtimes [ns] of a sample's files; empty if a file is missing, or there is none."""
    fingerprint = []
    for file in files:
        if isinstance(file, Path):
            try:
                status = file.stat()
            except (OSError, ValueError):  # such as a name with NUL
                return []
            fingerprint += [status.st_size, status.st_mtime_ns]
    return fingerprint

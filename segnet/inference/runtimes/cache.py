"""Cached ONNX export of a checkpoint for onnxruntime and OpenVINO; a changed checkpoint invalidates it."""

import hashlib
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from segnet.errors import CheckpointError
from segnet.extras import import_extra
from segnet.models.checkpoint import load_checkpoint
from segnet.models.metadata import Metadata

CACHE_SUFFIX = ".cache.onnx"

log = logging.getLogger(__name__)


class _OfFile(Protocol):
    """A runtime for an exported file."""

    metadata: Metadata


T = TypeVar("T", bound=_OfFile)


def file_digest(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, hexadecimal.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None


def cache_places(checkpoint: Path) -> list[Path]:
    """Possible paths of the cached export: next to the checkpoint, or in the user's cache if that is read-only."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segnet" / "exports"
    place = hashlib.sha256(os.fsencode(checkpoint.resolve())).hexdigest()[:16]
    return [checkpoint.with_suffix(CACHE_SUFFIX), root / f"{checkpoint.stem}-{place}{CACHE_SUFFIX}"]


def open_cached(checkpoint: Path, open_file: Callable[[Path], T], *, export: bool) -> T | None:
    """Open the cached export of a checkpoint.

    Args:
        open_file: opens an ONNX file in a runtime.
        export: whether to create the export if it is missing or outdated; takes some seconds.

    Returns:
        The runtime; None if no valid export exists and `export` is false.

    Raises:
        CheckpointError: the checkpoint cannot be used. MachineError: a package is not installed.
    """
    found = [place for place in cache_places(checkpoint) if os.path.isfile(place)]
    if not found and not export:
        return None
    with ThreadPoolExecutor(1) as pool:
        digest = pool.submit(file_digest, checkpoint)  # meanwhile, a library is imported and a model compiled
        for place in found:
            try:
                runtime = open_file(place)
            except CheckpointError as error:  # damaged: create it again
                log.warning("%s", error)
                continue
            if runtime.metadata.digest == digest.result():
                return runtime
    return open_file(_export(checkpoint, digest.result())) if export else None


def _export(checkpoint: Path, digest: str) -> Path:
    from segnet.exporters import EXPORTERS, exportable, metadata_of  # late: takes 0.3 s, and few predictions need it

    for package in ("onnx", "onnxscript"):
        import_extra(package, "onnx")  # before the model is loaded
    model, classes = load_checkpoint(checkpoint)
    metadata = metadata_of(model, classes, "float32", "logits", digest)
    beside, in_cache = cache_places(checkpoint)
    target = beside if os.access(beside.parent, os.W_OK) else in_cache
    EXPORTERS["onnx"](exportable(model, metadata), metadata, target)
    log.info("%s: exported to %s, for this and later runs", checkpoint, target)
    return target

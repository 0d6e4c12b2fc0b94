"""Reads every sample of a split once, on all cores, and remembers what was in its files.

The scan cache is in the user's cache folder ($XDG_CACHE_HOME/segnet, or ~/.cache/segnet): one file for each
configuration of a dataset, in which a sample counts as long as path, size and time of change of its files are the same.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from segnet.classes import Classes
from segnet.data.cache.fingerprints import cache_folder, dataset_digest, key_of, stamp_of
from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.datasets.labels import UnknownLabelError
from segnet.data.scan.band_values import fill_little, measured, stored_limits
from segnet.data.scan.finding import Finding
from segnet.data.scan.report import SplitReport
from segnet.errors import DataError, MachineError
from segnet.images.masks import ColoredMaskError
from segnet.images.values import ValueRangeError
from segnet.system.files import replacing
from segnet.system.machine import num_cores

log = logging.getLogger(__name__)

T = TypeVar("T")


class Memory:
    """What earlier surveys found, and this one.

    Args:
        spec, classes: of the dataset: what its samples depend on besides their files.
        folder: of the cache; None: in the user's cache folder.
    """

    def __init__(self, spec: Mapping[str, Any], classes: Classes, folder: Path | None = None) -> None:
        name = f"inspection-{dataset_digest(spec, classes)}.json"
        self._path = (folder or cache_folder()) / name
        self._known = self._read()
        self._changed = False

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def recall(self, files: Sequence[Path | str]) -> Finding | None:
        """What was found in a sample of these files; None: nothing is known, or they have changed."""
        try:
            stamp, record = self._known[key_of(files)]
            return Finding.restored(record) if stamp == stamp_of(files) else None
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):  # new; torn; or written by somebody else
            return None

    def remember(self, files: Sequence[Path | str], finding: Finding) -> None:
        """Keeps what was found; of problems nothing: the way out may lie elsewhere than in the files."""
        stamp = stamp_of(files)
        if stamp and not finding.problem:
            self._known[key_of(files)] = [stamp, astuple(finding)]
            self._changed = True

    def save(self) -> None:
        """Writes it, where anything is new; a disk that refuses it costs time in the next survey, and nothing else."""
        if not self._changed:
            return
        try:
            with replacing(self._path) as temporary:
                temporary.write_text(json.dumps(self._known), encoding="utf-8")
        except MachineError as error:
            log.info("what was found is not remembered: %s", error)


def survey(
    dataset: SegmentationDataset, split: str, memory: Memory | None = None, progress: bool = True
) -> SplitReport:
    """Reads every sample once, those apart that `memory` knows.

    Args:
        split: the dataset's, for the report.
        progress: whether a terminal shows how far it is.
    """

    def finding_of(index: int) -> Finding:
        files = dataset.files(index)
        known = memory.recall(files) if memory else None
        if known:
            return known
        stamp = stamp_of(files)
        finding = look_at(dataset, index)
        if memory and stamp == stamp_of(files):  # else somebody writes it at this moment
            memory.remember(files, finding)
        return finding

    pool = ThreadPoolExecutor(num_cores())  # decoders and hashes let go of Python's lock
    try:
        found = pool.map(finding_of, range(len(dataset)))
        findings = list(progress_shown(found, len(dataset), f"reading the {split} split", progress))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C need not wait for the rest
        if memory:
            memory.save()
    present = {label for finding in findings for label in finding.pixels}
    doubt = dataset.doubt(present) if present else ""
    return SplitReport(split, dataset.classes, findings, doubt, _advice(dataset, findings))


def _advice(dataset: SegmentationDataset, findings: Sequence[Finding]) -> dict[str, str]:
    """Of the dataset, for all masks with unknown labels or in colors."""
    labels: Counter[int] = Counter()
    for finding in findings:
        labels.update(finding.labels)
    colors = sorted({(r, g, b) for finding in findings for r, g, b in finding.colors})
    num_colors = max([len(colors), *(finding.num_colors for finding in findings)])
    return dataset.advice(labels, colors, num_colors) if labels or colors else {}


def look_at(dataset: SegmentationDataset, index: int) -> Finding:
    """Reads one sample."""
    try:
        sample = dataset.load(index)
    except DataError as error:
        files = dataset.files(index)
        return _problem(str(files[0]) if files else str(index), error, dataset.classes)
    finding = found_in(sample)
    if dataset.has_value_range and dataset.value_range is None and fill_little(finding.values):
        values, full = dataset.stored_values(index)
        finding = replace(
            finding,
            # Rounded to 0-255, images of small range are alike and of a few values.
            image_hash=content_hash(values),
            values=measured(values, full),
            limits=stored_limits(values, full),
        )
    return finding


def _problem(name: str, error: DataError, classes: Classes) -> Finding:
    """What is known of a sample that cannot be used."""
    if isinstance(error, UnknownLabelError):
        known = {*range(len(classes.names)), classes.ignore_index}
        pixels = {label: number for label, number in error.labels.items() if label in known}
        return Finding(name, str(error), pixels=pixels, labels=error.labels)
    if isinstance(error, ColoredMaskError):
        return Finding(name, str(error), colors=error.colors, num_colors=error.num_colors)
    if isinstance(error, ValueRangeError):
        return Finding(name, str(error), limits=[error.low, error.high, error.full])
    return Finding(name, str(error))


def found_in(sample: Sample) -> Finding:
    """What a sample holds."""
    labels, counts = _counted(sample.mask)
    return Finding(
        sample.name,
        "",
        (sample.image.shape[0], sample.image.shape[1]),
        dict(zip(labels, counts, strict=True)),
        content_hash(sample.image),
        content_hash(sample.mask),
        values=measured(sample.image),
    )


def _counted(mask: NDArray[np.integer]) -> tuple[list[int], list[int]]:
    counts = np.bincount(mask.ravel())
    labels = np.flatnonzero(counts)
    return labels.tolist(), counts[labels].tolist()


def content_hash(values: NDArray[Any]) -> str:
    """Equal for arrays of the same type, shape and values."""
    digest = hashlib.blake2b(f"{values.dtype} {values.shape}".encode(), digest_size=12)
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def progress_shown(found: Iterator[T], total: int, text: str, progress: bool) -> Iterable[T]:
    """Items as they arrive, with a progress bar where a terminal shows it."""
    console = Console(stderr=True)
    if not progress or not console.is_terminal:
        return found
    return track(found, description=text, total=total, console=console, transient=True)

"""Dataset scan: read every sample of a split once, on all cores, and cache the findings.

The scan cache is in the user's cache folder ($XDG_CACHE_HOME/segnet, or ~/.cache/segnet), one file per dataset
configuration. An entry is valid while path, size and modification time of the sample's files are unchanged.
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

from segnet.classes import IGNORED_IN_PLANE, Classes
from segnet.data.cache.fingerprints import cache_folder, cache_key, dataset_digest, fingerprint_of
from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.datasets.labels import UnknownLabelError
from segnet.data.scan.band_values import fill_little, measured, stored_limits
from segnet.data.scan.finding import Finding
from segnet.data.scan.report import SplitReport
from segnet.errors import DataError, MachineError
from segnet.images.formats import EXTENSIONS, HEIF_SUFFIXES
from segnet.images.header import PAGED_FORMATS, read_header
from segnet.images.masks import ColoredMaskError
from segnet.images.values import ValueRangeError
from segnet.system.files import replacing
from segnet.system.machine import num_cores

log = logging.getLogger(__name__)

PAGED_SUFFIXES = HEIF_SUFFIXES.union(*(EXTENSIONS.get(name, ()) for name in PAGED_FORMATS))

T = TypeVar("T")


class ScanCache:
    """Scan cache: the findings of earlier scans of a dataset configuration.

    Args:
        spec, classes: spec and classes of the dataset; samples depend on them besides their files.
        folder: folder of the cache file; None: the user's cache folder.
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

    def get(self, files: Sequence[Path | str]) -> Finding | None:
        """Return the cached finding of a sample; None if there is none, or its files changed."""
        try:
            fingerprint, record = self._known[cache_key(files)]
            return Finding.restored(record) if fingerprint == fingerprint_of(files) else None
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):  # unknown, or the cache file is damaged
            return None

    def put(self, files: Sequence[Path | str], finding: Finding) -> None:
        """Store a finding. Problems are not cached: they may be fixed without a change of the files."""
        fingerprint = fingerprint_of(files)
        if fingerprint and not finding.problem:
            self._known[cache_key(files)] = [fingerprint, astuple(finding)]
            self._changed = True

    def save(self) -> None:
        """Write the cache file if anything changed; on failure only the next scan takes longer."""
        if not self._changed:
            return
        try:
            with replacing(self._path) as temporary:
                temporary.write_text(json.dumps(self._known), encoding="utf-8")
        except MachineError as error:
            log.info("the scan cache was not saved: %s", error)


def scan_split(
    dataset: SegmentationDataset, split: str, cache: ScanCache | None = None, progress: bool = True
) -> SplitReport:
    """Scan a split: read every sample that is not in the scan cache.

    Args:
        dataset: the split's dataset.
        split: name of the split, for the report.
        cache: the scan cache; None: read every sample.
        progress: show a progress bar in a terminal.
    """

    def scanned(index: int) -> Finding:
        files = dataset.files(index)
        known = cache.get(files) if cache else None
        if known:
            return known
        fingerprint = fingerprint_of(files)
        finding = scan_sample(dataset, index)
        if cache and fingerprint == fingerprint_of(files):  # otherwise a file is being written right now
            cache.put(files, finding)
        return finding

    pool = ThreadPoolExecutor(num_cores())  # decoders and hashes release the GIL
    try:
        found = pool.map(scanned, range(len(dataset)))
        findings = list(progress_shown(found, len(dataset), f"reading the {split} split", progress))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest
        if cache:
            cache.save()
    present = {label for finding in findings for label in finding.pixels}
    doubt = dataset.doubt(present) if present else ""
    return SplitReport(split, dataset.classes, findings, doubt, _advice(dataset, findings))


def _advice(dataset: SegmentationDataset, findings: Sequence[Finding]) -> dict[str, str]:
    """Return the dataset's advice for all masks with unknown labels or colors."""
    labels: Counter[int] = Counter()
    for finding in findings:
        labels.update(finding.labels)
    colors = sorted({(r, g, b) for finding in findings for r, g, b in finding.colors})
    num_colors = max([len(colors), *(finding.num_colors for finding in findings)])
    return dataset.advice(labels, colors, num_colors) if labels or colors else {}


def scan_sample(dataset: SegmentationDataset, index: int) -> Finding:
    """Read one sample; an unusable sample gives a finding with a problem."""
    try:
        sample = dataset.load(index)
        no_data = dataset.nodata_pixels(index)
    except DataError as error:
        files = dataset.files(index)
        return _problem(str(files[0]) if files else str(index), error, dataset.classes)
    finding = finding_of(sample)
    finding = replace(finding, num_pages=_num_pages(dataset, index), nodata=dataset.declared_nodata(index))
    if no_data is not None:
        finding = replace(finding, has_nodata=bool((sample.mask[..., no_data] != dataset.classes.ignore_index).any()))
    if dataset.has_value_range and dataset.value_range is None and fill_little(finding.values):
        values, full = dataset.stored_values(index)
        finding = replace(
            finding,
            # Rounded to 0-255, images of a small range are alike and have few values.
            image_hash=content_hash(values),
            values=measured(values, full),
            limits=stored_limits(values, full),
        )
    return finding


def _num_pages(dataset: SegmentationDataset, index: int) -> int:
    """Return the pages or frames of the image's file; 1 if they are the bands of the image."""
    file = next(iter(dataset.files(index)), None)
    if not isinstance(file, Path) or file.suffix.lower() not in PAGED_SUFFIXES:
        return 1
    try:
        number = read_header(file).num_pages
    except DataError:  # too large to be read at once, as scenes are
        return 1
    return 1 if dataset.channels not in (1, 3) and number == dataset.channels else number


def _problem(name: str, error: DataError, classes: Classes) -> Finding:
    """Build the finding of a sample that cannot be used."""
    if isinstance(error, UnknownLabelError):
        known = {*range(len(classes.names)), classes.ignore_index}
        pixels = {label: number for label, number in error.labels.items() if label in known}
        return Finding(name, str(error), pixels=pixels, labels=error.labels)
    if isinstance(error, ColoredMaskError):
        return Finding(name, str(error), colors=error.colors, num_colors=error.num_colors)
    if isinstance(error, ValueRangeError):
        return Finding(name, str(error), limits=[error.low, error.high, error.full])
    return Finding(name, str(error))


def finding_of(sample: Sample) -> Finding:
    """Build the finding of a readable sample."""
    return Finding(
        sample.name,
        "",
        (sample.image.shape[0], sample.image.shape[1]),
        _counted(sample.mask),
        content_hash(sample.image),
        content_hash(sample.mask),
        values=measured(sample.image),
    )


def _counted(mask: NDArray[np.integer]) -> dict[int, int]:
    """The pixels of each class id, or of each plane of a multilabel mask; pixels ignored in all planes are ignored."""
    if mask.ndim == 3:
        counts = {label: int((plane == 1).sum()) for label, plane in enumerate(mask)}
        counts[IGNORED_IN_PLANE] = int((mask == IGNORED_IN_PLANE).all(axis=0).sum())
        return {label: count for label, count in counts.items() if count}
    bins = np.bincount(mask.ravel())
    labels = np.flatnonzero(bins)
    return dict(zip(labels.tolist(), bins[labels].tolist(), strict=True))


def content_hash(values: NDArray[Any]) -> str:
    """Hash an array; arrays of equal dtype, shape and values have equal hashes."""
    digest = hashlib.blake2b(f"{values.dtype} {values.shape}".encode(), digest_size=12)
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def progress_shown(found: Iterator[T], total: int, text: str, progress: bool) -> Iterable[T]:
    """Yield items as they arrive, with a progress bar on a terminal."""
    console = Console(stderr=True)
    if not progress or not console.is_terminal:
        return found
    return track(found, description=text, total=total, console=console, transient=True)

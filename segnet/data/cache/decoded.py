"""Cache of decoded samples: in memory shared by all workers, or on disk.

A cached sample is a memory-mapped view, so a crop reads only the pixels that it shows. A sample is valid while path,
size and mtime of its files are unchanged. Samples that do not fit are decoded each time, as without a cache.
"""

import hashlib
import logging
import mmap
import multiprocessing
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segnet.data.cache.fingerprints import cache_folder, cache_key, dataset_digest, fingerprint_of
from segnet.data.cache.folders import make_room
from segnet.data.cache.packing import pack_sample, size_of, unpack_sample
from segnet.data.dataset import Sample, SegmentationDataset, WrappedDataset
from segnet.errors import ConfigError, MachineError
from segnet.system.files import GIB, replacing

log = logging.getLogger(__name__)

CACHE_KINDS = ("memory", "disk")
ROOM = 2  # memory reserved, as a multiple of the estimate: samples differ in size from the first one
SAMPLE_SUFFIX = ".sample"


class CacheBudget:
    """Size limit of a cache, counted over all workers of a process.

    Args:
        limit: maximum size [bytes].
        used: current size [bytes].
    """

    def __init__(self, limit: int, used: int = 0) -> None:
        self.limit = limit
        self._used = multiprocessing.Value("q", used)

    @property
    def lock(self) -> Any:
        """Reentrant lock for state that workers share."""
        return self._used.get_lock()

    def reserve(self, size: int) -> int | None:
        """Reserve `size` bytes and return their offset; None: the cache is full."""
        with self.lock:
            start = int(self._used.value)
            if start + size > self.limit:
                return None
            self._used.value = start + size
            return start

    def close(self) -> bool:
        """Stop caching; returns whether this is the first call."""
        with self.lock:
            first = self._used.value <= self.limit
            self._used.value = self.limit + 1
            return bool(first)


class CachedDataset(WrappedDataset):
    """Dataset that decodes each sample once, while the cache has room and the files are unchanged.

    Args:
        dataset: source of the samples.
        budget: size limit.
    """

    def __init__(self, dataset: SegmentationDataset, budget: CacheBudget) -> None:
        super().__init__(dataset)
        self._budget = budget

    def load(self, index: int) -> Sample:
        """Read a sample; image and mask of a cached one are read-only."""
        files = self._dataset.files(index)
        fingerprint = fingerprint_of(files)
        if any(isinstance(file, Path) for file in files) and not fingerprint:  # missing file: the dataset names it
            return self._dataset.load(index)
        found = self._find(index, fingerprint)
        if found is not None:
            return found
        sample = self._dataset.load(index)
        if fingerprint == fingerprint_of(files):  # otherwise a file is being written right now
            self._keep(index, sample, fingerprint)
        return sample

    @abstractmethod
    def _find(self, index: int, fingerprint: list[int]) -> Sample | None:
        """Return the cached sample; None if it is not cached, or its files changed."""

    @abstractmethod
    def _keep(self, index: int, sample: Sample, fingerprint: list[int]) -> None:
        """Cache a sample if there is room."""


class Arena:
    """Memory shared by a process and the workers that it forks.

    Args:
        size: limit; memory is allocated on use [bytes].

    Raises:
        MachineError: more than the machine's memory, or processes of this system cannot share memory.
    """

    def __init__(self, size: int) -> None:
        if multiprocessing.get_start_method() != "fork":
            raise MachineError("data.cache=memory: workers cannot share memory on this system: set data.cache=disk")
        self.budget = CacheBudget(size)
        try:
            self.memory = mmap.mmap(-1, size)
        except (OSError, OverflowError, ValueError):
            raise MachineError(
                f"data.cache_size={size / GIB:g}: more than the available memory: lower it, or set data.cache=disk"
            ) from None


class MemoryCache(CachedDataset):
    """Cache in an arena, which several datasets may share."""

    def __init__(self, dataset: SegmentationDataset, arena: Arena) -> None:
        super().__init__(dataset, arena.budget)
        self._memory = arena.memory
        # Start and end of each sample's record; (0, 0): it is not cached.
        places = mmap.mmap(-1, max(1, len(dataset)) * 2 * np.dtype(np.int64).itemsize)
        self._places = np.frombuffer(places, np.int64).reshape(-1, 2)

    def _find(self, index: int, fingerprint: list[int]) -> Sample | None:
        with self._budget.lock:
            start, end = self._places[index].tolist()
        return unpack_sample(self._memory, start, end, fingerprint) if end else None

    def _keep(self, index: int, sample: Sample, fingerprint: list[int]) -> None:
        parts = pack_sample(sample, fingerprint)
        start = self._budget.reserve(size_of(parts))
        if start is None:
            return
        end = start
        for part in parts:
            self._memory[end : end + len(part)] = part
            end += len(part)
        with self._budget.lock:
            self._places[index] = start, end


class DiskCache(CachedDataset):
    """Cache in a folder, one file per sample, for this run and later ones.

    Args:
        folder: used by this dataset and its options only.
    """

    def __init__(self, dataset: SegmentationDataset, budget: CacheBudget, folder: Path) -> None:
        super().__init__(dataset, budget)
        if len(dataset) and not any(isinstance(file, Path) for file in dataset.files(0)):
            raise ConfigError(
                "data.cache=disk caches samples of files, but this dataset has no files: remove the option"
            )
        self._folder = folder

    def _path(self, index: int) -> Path:
        digest = hashlib.blake2b(cache_key(self._dataset.files(index)).encode(errors="surrogateescape"), digest_size=16)
        return self._folder / f"{digest.hexdigest()}{SAMPLE_SUFFIX}"

    def _find(self, index: int, fingerprint: list[int]) -> Sample | None:
        try:
            record = np.memmap(self._path(index), np.uint8, mode="r")
        except (OSError, ValueError):  # missing or empty
            return None
        return unpack_sample(record, 0, len(record), fingerprint)

    def _keep(self, index: int, sample: Sample, fingerprint: list[int]) -> None:
        parts = pack_sample(sample, fingerprint)
        if self._budget.reserve(size_of(parts)) is None:
            return
        try:
            with replacing(self._path(index)) as temporary, open(temporary, "wb") as file:
                file.writelines(parts)
        except MachineError as error:
            if self._budget.close():
                log.error("data.cache=disk: %s: caching stops; free some space, or set data.cache_size", error)


def with_cache(
    splits: Mapping[str, SegmentationDataset],
    kind: str,
    gibibytes: float,
    spec: Mapping[str, Any],
    log_size: bool = True,
) -> dict[str, CachedDataset]:
    """Give the splits of a dataset one cache.

    Args:
        kind: "memory" or "disk".
        gibibytes: size limit [GiB].
        spec: of the dataset.
        log_size: whether to log how much of the dataset fits.

    Raises:
        ConfigError: an unknown kind or an impossible size. MachineError: not enough memory, or a folder that cannot be
            written.
    """
    if kind not in CACHE_KINDS:
        raise ConfigError(f"data.cache={kind} is unknown: choose from {', '.join(CACHE_KINDS)}, or null for none")
    if not gibibytes > 0:
        raise ConfigError(f"data.cache_size={gibibytes} must be above 0 [GiB]")
    limit = int(gibibytes * GIB)
    size = needed(splits.values())
    if log_size:
        part = f"; data.cache_size={gibibytes:g} fits {100 * limit / size:.0f} % of them" if size > limit else ""
        log.info("data.cache=%s: %.3g GiB for all decoded samples%s", kind, size / GIB, part)
    if kind == "memory":
        arena = Arena(min(limit, ROOM * size))
        return {name: MemoryCache(dataset, arena) for name, dataset in splits.items()}
    root = cache_folder() / "decoded"
    folder = root / dataset_digest(spec, next(iter(splits.values())).classes)
    budget = CacheBudget(limit, make_room(root, folder, size, limit))
    return {name: DiskCache(dataset, budget, folder) for name, dataset in splits.items()}


def needed(datasets: Iterable[SegmentationDataset]) -> int:
    """Estimate the size of all decoded samples from the first of each split [bytes]."""
    return sum(len(dataset) * size_of(pack_sample(dataset.load(0), [])) for dataset in datasets if len(dataset))

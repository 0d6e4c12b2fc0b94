"""Keeps the decoded samples of a dataset: in memory that all workers share, or on disk.

What is read is a view of what is kept, of which a crop touches no more than it shows. It counts as long as path, size
and time of change of the sample's files are those of when it was decoded. What does not fit is decoded each time, as
without a cache.
"""

import hashlib
import logging
import mmap
import multiprocessing
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segnet.data.cache.fingerprints import cache_folder, dataset_digest, key_of, stamp_of
from segnet.data.cache.folders import make_room
from segnet.data.cache.packing import pack_sample, size_of, unpack_sample
from segnet.data.dataset import Sample, SegmentationDataset
from segnet.errors import ConfigError, MachineError
from segnet.system.files import GIB, replacing

log = logging.getLogger(__name__)

CACHE_KINDS = ("memory", "disk")
ROOM = 2  # that is set aside in memory, over what a dataset needs: samples are not all like the first
SAMPLE_SUFFIX = ".sample"


class CacheBudget:
    """How much may be kept, counted over all workers of a process.

    Args:
        limit: [bytes].
        used: what is there already [bytes].
    """

    def __init__(self, limit: int, used: int = 0) -> None:
        self.limit = limit
        self._used = multiprocessing.Value("q", used)

    @property
    def lock(self) -> Any:
        """Held by who reads or writes what workers share; may be taken twice."""
        return self._used.get_lock()

    def reserve(self, size: int) -> int | None:
        """Where the next `size` bytes lie, counted from the first; None: there is no more room."""
        with self.lock:
            start = int(self._used.value)
            if start + size > self.limit:
                return None
            self._used.value = start + size
            return start

    def close(self) -> bool:
        """Nothing is kept from now on; whether this is the first to say so."""
        with self.lock:
            first = self._used.value <= self.limit
            self._used.value = self.limit + 1
            return bool(first)


class CachedDataset(SegmentationDataset):
    """A dataset whose samples are decoded once, as long as there is room and their files stay as they are.

    Args:
        dataset: where the samples come from.
        budget: how much may be kept.
    """

    def __init__(self, dataset: SegmentationDataset, budget: CacheBudget) -> None:
        self.classes, self.channels = dataset.classes, dataset.channels
        self._dataset = dataset
        self._budget = budget

    def __len__(self) -> int:
        return len(self._dataset)

    def load(self, index: int) -> Sample:
        """As the dataset's; of what is kept, image and mask cannot be written to."""
        files = self._dataset.files(index)
        stamp = stamp_of(files)
        if any(isinstance(file, Path) for file in files) and not stamp:  # a file is not there: the dataset says which
            return self._dataset.load(index)
        found = self._find(index, stamp)
        if found is not None:
            return found
        sample = self._dataset.load(index)
        if stamp == stamp_of(files):  # else somebody writes it at this moment
            self._keep(index, sample, stamp)
        return sample

    def files(self, index: int) -> Sequence[Path | str]:
        return self._dataset.files(index)

    def doubt(self, present: Iterable[int]) -> str:
        return self._dataset.doubt(present)

    @abstractmethod
    def _find(self, index: int, stamp: list[int]) -> Sample | None:
        """What is kept of a sample; None: nothing, or it is of other files."""

    @abstractmethod
    def _keep(self, index: int, sample: Sample, stamp: list[int]) -> None:
        """Keeps a sample, where there is room."""


class Arena:
    """Memory that a process shares with the workers that it forks.

    Args:
        size: how much may be kept; it is taken as it is needed [bytes].

    Raises:
        MachineError: more than the machine has, or its processes cannot share.
    """

    def __init__(self, size: int) -> None:
        if multiprocessing.get_start_method() != "fork":
            raise MachineError("data.cache=memory: workers share no memory on this system: set data.cache=disk")
        self.budget = CacheBudget(size)
        try:
            self.memory = mmap.mmap(-1, size)
        except (OSError, OverflowError, ValueError):
            raise MachineError(
                f"data.cache_size={size / GIB:g}: the memory does not hold as much: lower it, or set data.cache=disk"
            ) from None


class MemoryCache(CachedDataset):
    """Keeps samples in an arena, which several datasets may share."""

    def __init__(self, dataset: SegmentationDataset, arena: Arena) -> None:
        super().__init__(dataset, arena.budget)
        self._memory = arena.memory
        # Where the record of each sample begins and ends; (0, 0) where there is none.
        places = mmap.mmap(-1, max(1, len(dataset)) * 2 * np.dtype(np.int64).itemsize)
        self._places = np.frombuffer(places, np.int64).reshape(-1, 2)

    def _find(self, index: int, stamp: list[int]) -> Sample | None:
        with self._budget.lock:
            start, end = self._places[index].tolist()
        return unpack_sample(self._memory, start, end, stamp) if end else None

    def _keep(self, index: int, sample: Sample, stamp: list[int]) -> None:
        parts = pack_sample(sample, stamp)
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
    """Keeps samples in a folder, each in a file, for this run and later ones.

    Args:
        folder: of this dataset and its options alone.
    """

    def __init__(self, dataset: SegmentationDataset, budget: CacheBudget, folder: Path) -> None:
        super().__init__(dataset, budget)
        if len(dataset) and not any(isinstance(file, Path) for file in dataset.files(0)):
            raise ConfigError("data.cache=disk keeps what files hold, but this dataset has none: leave it out")
        self._folder = folder

    def _path(self, index: int) -> Path:
        digest = hashlib.blake2b(key_of(self._dataset.files(index)).encode(errors="surrogateescape"), digest_size=16)
        return self._folder / f"{digest.hexdigest()}{SAMPLE_SUFFIX}"

    def _find(self, index: int, stamp: list[int]) -> Sample | None:
        try:
            record = np.memmap(self._path(index), np.uint8, mode="r")
        except (OSError, ValueError):  # not there, or empty
            return None
        return unpack_sample(record, 0, len(record), stamp)

    def _keep(self, index: int, sample: Sample, stamp: list[int]) -> None:
        parts = pack_sample(sample, stamp)
        if self._budget.reserve(size_of(parts)) is None:
            return
        try:
            with replacing(self._path(index)) as temporary, open(temporary, "wb") as file:
                file.writelines(parts)
        except MachineError as error:
            if self._budget.close():
                log.error("data.cache=disk: %s: no more is kept; free some space, or set data.cache_size", error)


def with_cache(
    splits: Mapping[str, SegmentationDataset], kind: str, gibibytes: float, spec: Mapping[str, Any], told: bool = True
) -> dict[str, CachedDataset]:
    """The splits of a dataset with a cache that they share.

    Args:
        kind: "memory" or "disk".
        gibibytes: how much it may hold [GiB].
        spec: of the dataset.
        told: whether it is logged how much of the dataset fits.

    Raises:
        ConfigError: another kind or an impossible size. MachineError: memory or disk refuse it.
    """
    if kind not in CACHE_KINDS:
        raise ConfigError(f"data.cache={kind} is unknown: choose from {', '.join(CACHE_KINDS)}, or null for none")
    if not gibibytes > 0:
        raise ConfigError(f"data.cache_size={gibibytes} must be above 0 [GiB]")
    limit = int(gibibytes * GIB)
    size = needed(splits.values())
    if told:
        share = f"; data.cache_size={gibibytes:g} holds {100 * limit / size:.0f} % of it" if size > limit else ""
        log.info("data.cache=%s: %.3g GiB when all is decoded%s", kind, size / GIB, share)
    if kind == "memory":
        arena = Arena(min(limit, ROOM * size))
        return {name: MemoryCache(dataset, arena) for name, dataset in splits.items()}
    root = cache_folder() / "decoded"
    folder = root / dataset_digest(spec, next(iter(splits.values())).classes)
    budget = CacheBudget(limit, make_room(root, folder, size, limit))
    return {name: DiskCache(dataset, budget, folder) for name, dataset in splits.items()}


def needed(datasets: Iterable[SegmentationDataset]) -> int:
    """About how much all samples take, were they like the first of their split [bytes]."""
    return sum(len(dataset) * size_of(pack_sample(dataset.load(0), [])) for dataset in datasets if len(dataset))

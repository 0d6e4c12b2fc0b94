"""The cache returns decoded samples unchanged, decodes them once, is never stale, and keeps its size limit."""

import errno
import logging
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.classes import Classes
from segnet.data.cache import decoded as module
from segnet.data.cache.decoded import Arena, CacheBudget, DiskCache, MemoryCache, needed, with_cache
from segnet.data.dataset import FileDataset, Sample
from segnet.data.datasets.shapes import Shapes
from segnet.errors import ConfigError, DataError, MachineError
from segnet.system.files import GIB

THREE = Classes.create(["road", "tree", "sky"])
SPEC = {"name": "folder"}


class Counting(FileDataset):
    """Dataset that records the indices of decoded samples."""

    def __init__(self, pairs) -> None:
        super().__init__(pairs, THREE)
        self.decoded: list[int] = []

    def load(self, index: int) -> Sample:
        self.decoded.append(index)
        return super().load(index)


def write(folder: Path, name: str, seed: int, size: tuple[int, int] = (6, 8)) -> tuple[Path, Path]:
    rng = np.random.default_rng(seed)
    pair = folder / f"{name}_image.png", folder / f"{name}_mask.png"
    Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(pair[0])
    Image.fromarray(rng.integers(0, 3, size, np.uint8)).save(pair[1])
    return pair


@pytest.fixture
def dataset(tmp_path) -> Counting:
    folder = tmp_path / "files"
    folder.mkdir()
    return Counting([write(folder, name, seed, (6 + seed, 9)) for seed, name in enumerate(["a", "b \udcff", "c"])])


@pytest.fixture(params=["memory", "disk"])
def cached(request, dataset, tmp_path):
    """Return the dataset with a cache of each kind."""
    if request.param == "memory":
        return MemoryCache(dataset, Arena(10**6))
    return DiskCache(dataset, CacheBudget(10**6), tmp_path / "kept")


def same(one: Sample, other: Sample) -> bool:
    return one.name == other.name and all(
        a.dtype == b.dtype and a.shape == b.shape and (a == b).all()
        for a, b in ((one.image, other.image), (one.mask, other.mask))
    )


def test_samples_are_decoded_once_and_returned_unchanged(cached, dataset):
    expected = [FileDataset.load(dataset, index) for index in range(3)]
    for _ in range(3):
        for index in (2, 0, 1):
            assert same(cached.load(index), expected[index])
    assert sorted(dataset.decoded) == [0, 1, 2]
    assert (len(cached), cached.classes, cached.channels, cached.files(1)) == (3, THREE, 3, dataset.files(1))


def test_cached_samples_are_read_only(cached):
    cached.load(0)
    kept = cached.load(0)
    for values in (kept.image, kept.mask):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 0


@pytest.mark.parametrize("which", [0, 1])
def test_a_changed_file_is_decoded_again(cached, dataset, which):
    before = cached.load(0)
    pixels = np.full((6, 9, 3) if which == 0 else (6, 9), 1, np.uint8)
    Image.fromarray(pixels).save(dataset.pairs[0][which])
    os.utime(dataset.pairs[0][which], ns=(1, 1))  # even if it looks older
    for _ in range(2):
        after = cached.load(0)
        assert ((after.image, after.mask)[which] == 1).all()
        assert not same(before, after)
    assert dataset.decoded == [0, 0]
    cached.load(1)
    cached.load(1)
    assert dataset.decoded == [0, 0, 1]


def test_a_missing_file_is_named(cached, dataset):
    cached.load(0)
    dataset.pairs[0][1].unlink()
    with pytest.raises(DataError, match="no such file"):
        cached.load(0)


def test_a_file_written_during_decoding_is_not_cached(cached, dataset, monkeypatch):
    load = Counting.load

    def slow(self, index):
        sample = load(self, index)
        os.utime(self.pairs[index][0])
        return sample

    monkeypatch.setattr(Counting, "load", slow)
    cached.load(0)
    monkeypatch.undo()
    cached.load(0)
    assert dataset.decoded == [0, 0]


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_samples_beyond_the_limit_are_decoded_each_time(dataset, tmp_path, kind):
    one = needed([Counting(dataset.pairs[:1])])
    room = int(1.5 * one)
    kept = tmp_path / "kept"
    cached = MemoryCache(dataset, Arena(room)) if kind == "memory" else DiskCache(dataset, CacheBudget(room), kept)
    for _ in range(3):
        for index in range(3):
            cached.load(index)
    assert sorted(dataset.decoded) == [0, 1, 1, 1, 2, 2, 2]
    if kind == "disk":
        assert sum(path.stat().st_size for path in kept.iterdir()) <= room


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 8])
def test_any_channels_and_dtypes_are_cached(tmp_path, dtype, channels):
    class Bands(FileDataset):
        def load(self, index: int) -> Sample:
            rng = np.random.default_rng(index)
            image = rng.integers(0, 256, (5, 7, channels)).astype(dtype)
            return Sample(image, rng.integers(0, 300, (5, 7)).astype(np.int32), "näme")

    bands = Bands([write(tmp_path, "a", 0)], THREE, channels=channels)
    for cached in (MemoryCache(bands, Arena(10**5)), DiskCache(bands, CacheBudget(10**5), tmp_path / "kept")):
        cached.load(0)
        assert same(cached.load(0), bands.load(0))
        assert cached.channels == channels


# Memory


def decode_in_child(cached: MemoryCache, dataset: Counting, results) -> None:
    cached.load(1)
    results.put(dataset.decoded)


def test_memory_is_shared_with_workers(dataset):
    cached = MemoryCache(dataset, Arena(10**6))
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    for expected in ([1], []):  # the second worker finds what the first decoded
        worker = fork.Process(target=decode_in_child, args=(cached, dataset, results))
        worker.start()
        assert results.get(timeout=60) == expected
        worker.join()
    cached.load(1)
    assert dataset.decoded == []


def test_splits_share_the_memory(dataset):
    other = Counting(dataset.pairs[::-1])
    arena = Arena(int(2.5 * needed([Counting(dataset.pairs[:1])])))
    first, second = MemoryCache(dataset, arena), MemoryCache(other, arena)
    first.load(0)
    second.load(2)
    for _ in range(2):
        assert same(first.load(0), second.load(2))  # one file, cached for each split
        second.load(0)
    assert (dataset.decoded, other.decoded) == ([0], [2, 0, 0])


def test_generated_samples_are_cached_in_memory_too():
    shapes = Shapes("train", num_train=3, size=(20, 24))
    cached = MemoryCache(shapes, Arena(10**5))
    cached.load(1)
    kept = cached.load(1)
    assert same(kept, shapes.load(1))
    assert not kept.image.flags.writeable


def test_a_cache_larger_than_memory_is_refused():
    with pytest.raises(MachineError, match=r"data\.cache_size=.* lower it, or set data\.cache=disk"):
        Arena(2**62)


def test_a_memory_cache_needs_forked_workers(monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "spawn")
    with pytest.raises(MachineError, match=r"data\.cache=memory: workers cannot share memory.* data\.cache=disk"):
        Arena(100)


# Disk


def test_a_later_run_uses_the_disk_cache(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    for _ in range(2):
        cached = with_cache({"train": dataset}, "disk", 1, SPEC)["train"]
        for index in range(3):
            cached.load(index)
    assert sorted(dataset.decoded) == [0, 0, 0, 1, 2]  # the first is decoded once more in each run, for its size
    with_cache({"train": dataset}, "disk", 1, {**SPEC, "id_map": {0: 1}})["train"].load(1)
    assert sorted(dataset.decoded) == [0, 0, 0, 0, 1, 1, 2]  # other options may read files differently


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\xff" * 100, b"cut"])
def test_an_incomplete_record_is_decoded_again(dataset, tmp_path, content):
    cached = DiskCache(dataset, CacheBudget(10**6), tmp_path / "kept")
    cached.load(0)
    (record,) = (tmp_path / "kept").iterdir()
    record.write_bytes(record.read_bytes()[:-70] if content == b"cut" else content)
    for _ in range(2):
        assert same(cached.load(0), FileDataset.load(dataset, 0))
    assert dataset.decoded == [0, 0]


def test_a_full_disk_is_reported_in_one_line_and_stops_caching(dataset, tmp_path, monkeypatch, caplog):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("segnet.system.files.os.fsync", full)
    cached = DiskCache(dataset, CacheBudget(10**6), tmp_path / "kept")
    with caplog.at_level(logging.INFO):
        for index in (0, 1, 2, 0):
            assert same(cached.load(index), FileDataset.load(dataset, index))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "No space left on device" in record.message
    assert "caching stops" in record.message
    assert not list((tmp_path / "kept").iterdir())


def test_a_disk_cache_needs_files():
    with pytest.raises(ConfigError, match=r"data\.cache=disk caches samples of files"):
        DiskCache(Shapes("train", num_train=2), CacheBudget(10**6), Path("kept"))


# Options


@pytest.mark.parametrize(
    ("kind", "size", "message"),
    [
        ("ram", 1, r"data\.cache=ram is unknown: choose from memory, disk"),
        ("memory", 0, r"data\.cache_size=0 must be above 0"),
        ("disk", float("nan"), r"data\.cache_size=nan"),
    ],
)
def test_impossible_options_are_refused(dataset, kind, size, message):
    with pytest.raises(ConfigError, match=message):
        with_cache({"train": dataset}, kind, size, SPEC)


def test_the_needed_size_and_the_fraction_that_fits_are_logged(dataset, caplog):
    size = needed([dataset])
    with caplog.at_level(logging.INFO, logger=module.__name__):
        with_cache({"train": dataset}, "memory", 1, SPEC)
        with_cache({"train": dataset}, "memory", size / GIB / 2, SPEC)
        with_cache({"train": dataset}, "memory", 1, SPEC, log_size=False)
    first, second = caplog.messages
    assert "for all decoded samples" in first
    assert "holds" not in first
    assert "fits 50 % of them" in second

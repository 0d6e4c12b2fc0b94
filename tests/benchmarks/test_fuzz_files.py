"""The fuzzer finds what it is for, and what it damages is what is read."""

import argparse
import os
import signal
from pathlib import Path

import fuzz_files
import fuzz_verbs
import pytest
from small_datasets import LAYOUTS

from segnet.data import build_splits
from segnet.errors import DataError, SegnetError

OPTIONS = argparse.Namespace(seed=3, first=0, cases=25, seconds=600.0, limit=1)


def fuzz(monkeypatch, read):
    """The findings of a reader of one text file, by kind."""

    def subject(folder, rng_of):
        path = folder / "a.bin"
        path.write_bytes(bytes(range(200)))
        yield path, read, [path]

    monkeypatch.setitem(fuzz_files.SUBJECTS, "fake", subject)
    return fuzz_files.fuzz("fake", OPTIONS)


def of_sound(path: Path):
    return path.read_bytes() == bytes(range(200))


def test_a_refusal_in_one_line_is_in_order(monkeypatch):
    def read(path):
        if not of_sound(path):
            raise DataError(f"{path}: is damaged")
        return b"same"

    assert set(fuzz(monkeypatch, read)) <= {"refused", "harmless"}


@pytest.mark.parametrize(
    ("fault", "finding"),
    [
        (lambda: {}["x"], "TRACE KeyError"),
        (lambda: (_ for _ in ()).throw(DataError("")), "TRACE without a message"),
        (lambda: b"other", "SILENT CHANGE"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "CRASH"),
    ],
)
def test_each_kind_of_fault_is_found(fault, finding, monkeypatch):
    found = fuzz(monkeypatch, lambda path: b"same" if of_sound(path) else fault())
    assert any(finding in kind for kind in found), found


def test_a_sound_file_that_is_refused_ends_the_fuzzing(monkeypatch):
    def read(path):
        raise DataError(f"{path}: no")

    with pytest.raises(RuntimeError, match="the sound file cannot be read"):
        fuzz(monkeypatch, read)


def test_cases_depend_on_the_seed_alone(monkeypatch):
    read = lambda path: sum(path.read_bytes())  # noqa: E731
    assert fuzz(monkeypatch, read) == fuzz(monkeypatch, read)


def read_all(spec):
    for dataset in build_splits(spec, ("train", "val")).values():
        for index in range(len(dataset)):
            dataset.load(index)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_files_that_are_damaged_are_read(layout, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz_verbs, "LAYOUTS", {layout: LAYOUTS[layout]})
    found = list(fuzz_verbs.datasets(tmp_path))
    if not found:
        pytest.skip(f"{LAYOUTS[layout][1]} is an optional package, and not installed")
    [(spec, targets)] = found
    for target in targets:
        target.write_bytes(b"\0")
    with pytest.raises(SegnetError):
        read_all(spec)

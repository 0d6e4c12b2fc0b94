"""The fuzzer finds what it is for, and what it damages is what is read."""

import argparse
import os
import signal
import zlib
from pathlib import Path

import fuzz_files
import pytest

from segnet.errors import DataError

OPTIONS = argparse.Namespace(first=0, cases=25, seconds=600.0, limit=1)


def fuzz(monkeypatch, read, seed=3):
    """The findings of a reader of one file, by kind."""

    def subject(folder, rng_of):
        path = folder / "a.bin"
        path.write_bytes(bytes(range(200)))
        yield path, read, [path]

    monkeypatch.setitem(fuzz_files.SUBJECTS, "fake", subject)
    return fuzz_files.fuzz("fake", argparse.Namespace(**{**vars(OPTIONS), "seed": seed}))


def of_sound(path: Path):
    return path.read_bytes() == bytes(range(200))


def test_a_refusal_in_one_line_is_in_order(monkeypatch):
    def read(path):
        if not of_sound(path):
            raise DataError(f"{path}: is damaged")
        return b"same"

    found = fuzz(monkeypatch, read)
    assert set(found) <= {"refused", "harmless"}
    assert found["refused"] > OPTIONS.cases / 2
    assert found.total() == OPTIONS.cases


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


def test_cases_depend_on_the_seed_alone(monkeypatch, capsys):
    def read(path):
        if not of_sound(path):
            raise KeyError(zlib.crc32(path.read_bytes()))
        return b"same"

    def damage(seed):
        """What was read in each case that damages the file."""
        fuzz(monkeypatch, read, seed=seed)
        return [line for line in capsys.readouterr().out.splitlines() if "TRACE KeyError: " in line]

    first = damage(3)
    assert len(first) > OPTIONS.cases / 2
    assert damage(3) == first
    assert damage(4) != first

"""Damaged files: every mutated image, checkpoint, export, weight file and annotation is refused, or harmless.

    python benchmarks/fuzz_files.py checkpoints --cases 2880
    python benchmarks/fuzz_files.py images weights annotations --seconds 300
    python benchmarks/fuzz_files.py checkpoint_verbs annotation_verbs image_verbs --seconds 300

The first four read files as the verbs do; the others run whole verbs (`fuzz_verbs.py`).
Counts stack traces (any error that is no SegnetError), hangs (more than --limit seconds), crashes (a process that dies)
and silent changes (a damaged file computes another result, though its format has a checksum). Cases depend on the seed
alone: --first N --cases 1 repeats one. The exit code is 1 if anything was found.
"""

import argparse
import logging
import os
import pickle
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fuzz_readers
import fuzz_verbs
import numpy as np
import torch
from fuzz_verbs import Read, Subject
from mutations import damaged

from segnet.errors import SegnetError

SUBJECTS = {**fuzz_readers.SUBJECTS, **fuzz_verbs.SUBJECTS}
BATCH = 20  # cases of a process: it is forked, so that a crash or a leak ends one batch only


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise _Hang after this time."""

    def end(*_: object) -> None:
        raise _Hang

    signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


class _Hang(BaseException):
    pass


def attempt(read: Read, path: Path, expected: Any, seen_by_checksum: bool, limit: int) -> str:
    """The name of what was found; "refused", "accepted" or "harmless" of what is in order."""
    try:
        with time_limit(limit):
            result = read(path)
    except SegnetError as error:
        return "refused" if str(error).strip() else f"TRACE without a message: {error!r}"
    except _Hang:
        return "HANG"
    except BaseException as error:
        return f"TRACE {type(error).__name__}: {' '.join(str(error).split())[:100]}"
    if seen_by_checksum and isinstance(result, bytes) and result != expected:
        return "SILENT CHANGE"
    return "harmless" if result == expected else "accepted"


def expected_result(read: Read, path: Path) -> Any:
    """What a sound file gives, in a forked process.

    Raises:
        RuntimeError: it cannot be read.
    """
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        with os.fdopen(writing, "wb") as answer:
            logging.disable(logging.CRITICAL)
            try:
                pickle.dump((True, read(path)), answer)
            except BaseException as error:
                pickle.dump((False, f"{type(error).__name__}: {error}"), answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        content = answer.read()
    os.waitpid(process, 0)
    succeeded, result = pickle.loads(content)
    if not succeeded:
        raise RuntimeError(f"{path}: the sound file cannot be read ({result})")
    return result


def run_cases(
    cases: range,
    subjects: list[Subject],
    expected_of: list[Any],
    options: argparse.Namespace,
    report: IO[str],
) -> None:
    """Damage, read and restore one file after another."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    logging.disable(logging.CRITICAL)
    for case in cases:
        rng = np.random.default_rng([options.seed, case])
        path, read, targets = subjects[case % len(subjects)]
        target = targets[int(rng.integers(0, len(targets)))]
        whole = target.read_bytes()
        kind, content, visible = damaged(target, rng)
        report.write(f"{case}\t{target.name} {kind}\t")
        report.flush()
        target.write_bytes(content)
        finding = attempt(read, path, expected_of[case % len(subjects)], visible, options.limit)
        target.write_bytes(whole)
        report.write(f"{finding}\n")
        report.flush()


def run_batch(cases: range, subjects: list[Subject], expected_of: list[Any], options: argparse.Namespace) -> list[str]:
    """The findings of a forked process, one a case; a crash is found by its absence."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        with os.fdopen(writing, "w", encoding="utf-8", errors="backslashreplace") as report:
            try:
                run_cases(cases, subjects, expected_of, options, report)
            except BaseException as error:  # of this script: the parent's folder must stay
                report.write(f"TRACE of the fuzzer itself: {error!r}\n")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as report:
        lines = report.read().split("\n")
    _, status = os.waitpid(process, 0)
    found = [line for line in lines if line]
    if status:
        signum = status & 0x7F
        found[-1:] = [f"{found[-1] if found else cases[0]}CRASH by {signal.Signals(signum).name if signum else status}"]
    return found


def fuzz(name: str, options: argparse.Namespace) -> Counter[str]:
    """Runs the cases of a subject, and prints what was found."""
    totals: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="segnet-fuzz-") as folder:
        subjects = list(SUBJECTS[name](Path(folder), lambda number: np.random.default_rng([options.seed, number])))
        sound = {path: path.read_bytes() for _, _, targets in subjects for path in targets}
        expected_of = [expected_result(read, path) for path, read, _ in subjects]
        batch = 1 if name in fuzz_verbs.SUBJECTS else BATCH
        first, started = options.first, time.monotonic()
        while first < options.first + options.cases and time.monotonic() - started < options.seconds:
            cases = range(first, min(first + batch, options.first + options.cases))
            for line in run_batch(cases, subjects, expected_of, options):
                finding = line.rpartition("\t")[2]
                totals[finding.split(":")[0] if finding.isupper() or finding[:5] == "TRACE" else finding] += 1
                if finding.split(" ")[0] in ("TRACE", "HANG", "CRASH", "SILENT"):
                    print(f"{name}: {line}", flush=True)
            for path, content in sound.items():
                path.write_bytes(content)
            first = cases.stop
    done = first - options.first
    print(f"{name}: {done} cases in {time.monotonic() - started:.0f} s: {dict(totals)}", flush=True)
    return totals


def main() -> int:
    """Exit code 1 where anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="*", default=list(SUBJECTS), help=f"of {', '.join(SUBJECTS)}; default: all")
    parser.add_argument("--cases", type=int, default=10**9, help="of each subject")
    parser.add_argument("--seconds", type=float, default=60, help="for each subject; default: 60")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--limit", type=int, default=30, help="seconds after which a case counts as a hang")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bad = Counter[str]()
    for name in options.subjects:
        for finding, count in fuzz(name, options).items():
            if finding.split(" ")[0] in ("TRACE", "HANG", "CRASH", "SILENT"):
                bad[finding.split(" ")[0]] += count
    print(f"found: {dict(bad) or 'nothing'}")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())

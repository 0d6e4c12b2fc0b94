"""Find images and videos in a folder or by a glob, and count skipped files."""

import glob
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from segnet.images.formats import HEIF_SUFFIXES, INSTALL_HEIF, image_suffixes
from segnet.system.files import is_hidden

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"})
NUM_SUFFIXES = 8  # listed in a note at most


@dataclass
class Found:
    """Files found in a folder or by a glob.

    Attributes:
        paths: images and videos, sorted.
        notes: messages about skipped files.
        unreadable: folders that cannot be read -> reason.
    """

    paths: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)


class _Counts:
    """Sort files into inputs and skipped files, by reason."""

    def __init__(self, is_result: Callable[[Path], bool]) -> None:
        self._is_result = is_result
        self._wanted = image_suffixes() | VIDEO_SUFFIXES
        self._num_hidden = self._num_results = 0
        self._others: Counter[str] = Counter()
        self.paths: list[Path] = []

    def add(self, path: Path, hidden: bool) -> None:
        suffix = path.suffix.lower()
        if hidden:
            self._num_hidden += suffix in self._wanted
        elif self._is_result(path):
            self._num_results += suffix in self._wanted
        elif suffix in self._wanted:
            self.paths.append(path)
        else:
            self._others[suffix] += 1

    def notes(self, where: str) -> list[str]:
        notes = []
        if self._num_hidden:
            notes.append(f"{where}: hidden images skipped: {self._num_hidden}")
        if self._num_results:
            notes.append(f"{where}: results of earlier predictions skipped: {self._num_results}")
        if self._others:
            listed = [f"{suffix or 'none'} ({number})" for suffix, number in self._others.most_common(NUM_SUFFIXES)]
            more = ", ..." if len(self._others) > NUM_SUFFIXES else ""
            heif = f"; HEIC needs {INSTALL_HEIF}" if HEIF_SUFFIXES & set(self._others) else ""
            notes.append(
                f"{where}: files skipped, no image or video by extension: {self._others.total()}: "
                f"{', '.join(listed)}{more}{heif}"
            )
        return notes


def files_below(top: Path, is_result: Callable[[Path], bool]) -> Found:
    """Find all images and videos in a folder and its subfolders, except hidden files and earlier results.

    Links to folders are followed, each folder once.
    """
    found, counts = Found(), _Counts(is_result)
    seen: dict[str, str] = {}
    hidden: set[str] = set()

    def unreadable(error: OSError) -> None:
        found.unreadable[os.fspath(error.filename)] = str(error.strerror)

    for parent, folders, files in os.walk(top, followlinks=True, onerror=unreadable):
        real = os.path.realpath(parent)
        if real in seen:
            found.notes.append(f"{parent}: skipped, a link to {seen[real]}")
            folders.clear()
            continue
        seen[real] = parent
        folders.sort()
        hidden.update(os.path.join(parent, name) for name in folders if parent in hidden or is_hidden(name))
        for name in files:
            counts.add(Path(parent, name), parent in hidden or is_hidden(name))
    found.paths = sorted(counts.paths)
    found.notes += counts.notes(str(top))
    return found


def files_of_glob(pattern: str, is_result: Callable[[Path], bool]) -> Found:
    """Find the images and videos that match a glob."""
    counts = _Counts(is_result)
    for path in sorted(Path(name) for name in glob.glob(pattern, recursive=True)):
        if not path.is_dir():
            counts.add(path, hidden=False)
    return Found(counts.paths, counts.notes(pattern))

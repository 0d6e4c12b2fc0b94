"""File names as lists and annotations give them, and the files below a folder that they mean.

Names come from Windows (backslashes, another case), from macOS (decomposed accents, NFD), from web addresses ("%20",
"?signature=") and with absolute paths. The name as it is comes first: any of these may be a real name on Linux.
"""

import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

from segnet.data.datasets.notes import Notes
from segnet.errors import DataError
from segnet.system.files import is_hidden

QUOTES = ("'", '"')
PLAIN = re.compile(r"[^/\\\\%?#\0][^\\\\%?#\0]*")  # names that can be read in one way alone


def normal_form(name: str) -> str:
    """A name in the Unicode form NFC: names that look the same compare equal."""
    return unicodedata.normalize("NFC", name)


def walk(folder: Path, notes: Notes, counts: Callable[[Path], bool]) -> list[Path]:
    """All files below a folder, sorted, but hidden ones.

    Links to folders are followed, each folder once.

    Args:
        notes: counts the hidden files.
        counts: whether a hidden file is worth a note.

    Raises:
        DataError: a folder that may not be read.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"{os.fspath(error.filename)}: the folder cannot be read ({error.strerror})")

    found: list[Path] = []
    seen: set[str] = set()
    hidden: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(parent)
        if real in seen:
            notes.add(
                folder, "folder", "left out, a link to a folder that is read already", os.path.relpath(parent, folder)
            )
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        if parent in hidden:
            hidden.update(os.path.join(parent, name) for name in folders)
        else:
            hidden.update(os.path.join(parent, name) for name in folders if is_hidden(name))
        for name in sorted(files):
            path = Path(parent, name)
            if parent not in hidden and not is_hidden(name):
                found.append(path)
            elif counts(path):
                notes.add(folder, "file", "left out, hidden or in the trash", path.relative_to(folder))
    return sorted(found)


class Files:
    """The files below a folder, found by names that another program wrote.

    Args:
        folder: what the names are relative to, and may not leave.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._top = os.path.abspath(folder)
        self._listings: dict[str, dict[str, list[str]]] = {}

    def find(self, name: str, source: Path) -> Path:
        """The file of a name; if there is none, the path at which it should be.

        Raises:
            DataError: the name leads out of the folder; `source` names the file that it stands in.
        """
        if PLAIN.fullmatch(name) and ".." not in name and os.path.isfile(self.folder / name):
            return self.folder / name
        inside = self.relative_names(name, source)
        for relative in inside:
            if os.path.isfile(self.folder / relative):
                return self.folder / relative
        for relative in inside:
            similar = self._similar(relative)
            if similar is not None:
                return similar
        return self.folder / inside[-1]

    def relative_names(self, name: str, source: Path) -> list[str]:
        """The paths below the folder that a name may mean, the most literal first.

        Raises:
            DataError: a way of reading it leads out of the folder, and no file is where the others lead.
        """
        inside: list[str] = []
        leaves = not name.strip() or "\0" in name
        for spelling in [] if leaves else spellings(name):
            path = os.path.normpath(os.path.join(self._top, spelling))
            if not _is_below(path, self._top):  # an absolute path through a link to the folder is below it too
                path = os.path.normpath(
                    os.path.join(self._top, os.path.relpath(os.path.realpath(path), os.path.realpath(self._top)))
                )
            if _is_below(path, self._top):
                inside.append(os.path.relpath(path, self._top))
            else:
                leaves = True
        inside = list(dict.fromkeys(inside))
        if leaves and not any(os.path.isfile(self.folder / relative) for relative in inside):
            raise DataError(f"{source}: {name!r} is outside {self.folder}: it may only name files below")
        return inside

    def _similar(self, relative: str) -> Path | None:
        """The only file whose path differs in Unicode form or case alone."""
        place = self._top
        for part in Path(relative).parts:
            names = self._listing(place).get(_folded(part), [])
            same = [name for name in names if normal_form(name) == normal_form(part)] or names
            if len(same) != 1:
                return None
            place = os.path.join(place, same[0])
        return self.folder / os.path.relpath(place, self._top) if os.path.isfile(place) else None

    def _listing(self, place: str) -> dict[str, list[str]]:
        if place not in self._listings:
            names: dict[str, list[str]] = {}
            try:
                for name in os.listdir(place):
                    names.setdefault(_folded(name), []).append(name)
            except OSError:  # not there, or no folder: it has no files
                pass
            self._listings[place] = names
        return self._listings[place]


def spellings(name: str) -> Iterator[str]:
    """Ways to read a file name that another program wrote: as it is, with slashes, without query or quotes, decoded."""
    yield name
    slashes = name.replace("\\", "/")
    yield slashes
    plain = slashes.removeprefix("file://")
    yield plain
    decoded = unquote(plain)
    yield decoded
    for mark in "?#":
        if mark in plain:
            yield unquote(plain.partition(mark)[0]) or decoded
    if name[:1] == name[-1:] and name[:1] in QUOTES:
        yield slashes.strip(name[0]) or slashes


def _folded(name: str) -> str:
    return normal_form(name).casefold()


def _is_below(path: str, top: str) -> bool:
    return path.startswith(top.rstrip(os.sep) + os.sep)

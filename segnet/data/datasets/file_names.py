"""Find files below a folder by their names in lists and annotations.

The literal name has priority: names written by other systems may be real names on Linux.
"""

import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

from segnet.data.datasets.notes import Notes
from segnet.errors import DataError
from segnet.system.files import is_hidden
from segnet.system.path_names import TailIndex, folded, is_elsewhere, parts_of, spellings

PLAIN = re.compile(r"[^/\\\\%?#\0][^\\\\%?#\0]*")  # names with a single interpretation


def normal_form(name: str) -> str:
    """Normalize a name to the Unicode form NFC, so that names that look the same compare equal."""
    return unicodedata.normalize("NFC", name)


def walk(folder: Path, notes: Notes, counts: Callable[[Path], bool]) -> list[Path]:
    """List all files below a folder, sorted, without hidden ones.

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
    """Finds files below a folder by names from another program.

    Args:
        folder: what the names are relative to, and may not leave.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._top = os.path.abspath(folder)
        self._listings: dict[str, dict[str, list[str]]] = {}
        self._tails: TailIndex | None = None

    def find(self, name: str, source: Path, base: str = "", elsewhere: bool = True) -> Path:
        """Return the file of a name, or its expected path if there is none.

        Args:
            source: file that contains the name, for errors.
            base: folder below this one; the name is relative to it.
            elsewhere: whether to match paths of other computers by their last parts.

        Raises:
            DataError: the name leads out of the folder, or no unique file matches a path of another computer.
        """
        if not base and PLAIN.fullmatch(name) and ".." not in name and os.path.isfile(self.folder / name):
            return self.folder / name
        inside = self.relative_names(name, source, base, elsewhere)
        for relative in inside:
            if os.path.isfile(self.folder / relative):
                return self.folder / relative
        for relative in inside:
            similar = self._similar(relative)
            if similar is not None:
                return similar
        return self.folder / inside[-1]

    def relative_names(self, name: str, source: Path, base: str = "", elsewhere: bool = True) -> list[str]:
        """Return the possible paths of a name below the folder, the most literal first.

        Raises:
            DataError: as `find`, unless another spelling of the name leads to a file.
        """
        inside, leaves = self._readings(name, base)
        if any(os.path.isfile(self.folder / relative) for relative in inside):
            return inside
        tail = self._by_tail(name, source) if elsewhere else None
        if tail is not None:
            return [tail]
        if leaves or not inside:
            raise DataError(f"{source}: {name!r} is outside {self.folder}: it may only name files below")
        return inside

    def _readings(self, name: str, base: str) -> tuple[list[str], bool]:
        """Return the possible paths of a name below the folder, and whether one leads outside."""
        inside: list[str] = []
        leaves = not name.strip() or "\0" in name
        for spelling in [] if leaves else spellings(name):
            path = os.path.normpath(os.path.join(self._top, base, spelling))
            if not _is_below(path, self._top):  # an absolute path through a link to the folder is below it too
                path = os.path.normpath(
                    os.path.join(self._top, os.path.relpath(os.path.realpath(path), os.path.realpath(self._top)))
                )
            if not _is_below(path, self._top):
                leaves = True
            elif not is_elsewhere(spelling) or os.path.isabs(spelling) or os.path.isfile(path):
                inside.append(os.path.relpath(path, self._top))
            inside += self._from_above(spelling)
        return list(dict.fromkeys(inside)), leaves

    def _from_above(self, spelling: str) -> list[str]:
        """Find the file of a name that starts with the folder's own name: "train2017/a.jpg" in train2017."""
        parts, above = parts_of(spelling), parts_of(self._top)
        places = [place for place, part in enumerate(above) if part == parts[0]] if len(parts) > 1 else []
        found = [parts[len(above) - place :] for place in places if parts[: len(above) - place] == above[place:]]
        return ["/".join(rest) for rest in found if rest and os.path.isfile(os.path.join(self._top, *rest))]

    def _by_tail(self, name: str, source: Path) -> str | None:
        """Find the file that matches the end of another computer's path; None if there is none.

        An existing file outside the folder is not replaced by a file of the same name.
        """
        if "\0" in name or not is_elsewhere(name) or any(map(_is_there, spellings(name))):
            return None
        if self._tails is None:
            paths = walk(self.folder, Notes(), lambda path: False)
            self._tails = TailIndex(path.relative_to(self.folder).as_posix() for path in paths)
        for spelling in spellings(name):
            found = self._tails.fitting(parts_of(spelling))
            if len(found) > 1:
                raise DataError(
                    f"{source}: {name!r} may be {found[0]} or {found[1]} in {self.folder}: keep its folders"
                )
            if found:
                return found[0]
        return None

    def _similar(self, relative: str) -> Path | None:
        """Find the only file with a path that differs just in Unicode form or case."""
        place = self._top
        for part in Path(relative).parts:
            names = self._listing(place).get(folded(part), [])
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
                    names.setdefault(folded(name), []).append(name)
            except OSError:  # missing, or not a folder
                pass
            self._listings[place] = names
        return self._listings[place]


def _is_there(path: str) -> bool:
    return os.path.isabs(path) and os.path.lexists(path)


def _is_below(path: str, top: str) -> bool:
    return path.startswith(top.rstrip(os.sep) + os.sep)

"""Read lists of images and masks: pairs, images only, or names."""

import os
import posixpath
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from segnet.data.datasets.file_names import Files, normal_form
from segnet.data.datasets.notes import Notes
from segnet.data.datasets.pairing import Pair, refuse
from segnet.data.datasets.text_files import read_lines
from segnet.errors import DataError
from segnet.system.path_names import TailIndex, is_elsewhere, parts_of, spellings

COMMENT = "#"  # starts a comment line, unless a file has this name
SEPARATORS = "\t ,;"  # between the image and the mask of a line


def listed_pairs(listing: Path, root: Path, notes: Notes, pairs: Callable[[], tuple[Path, list[Pair]]]) -> list[Pair]:
    """Return the pairs of a list file, in its order.

    A line is an image and its mask, relative to `root`, separated by a tab, blanks, a comma or a semicolon; or an image
    alone, by its path relative to `root` or to the folder of images, with or without ending. Lines that begin with #
    are comments.

    Args:
        listing: the list file.
        root: the folder that names may not leave.
        notes: counts lines that repeat a pair.
        pairs: gives the folder of images and all pairs; called only if a line is an image alone.

    Raises:
        DataError: a line that names nothing, or leads out of `root`; an image with two masks.
    """
    files = Files(root)
    places = [files]
    index: dict[str, Pair] | None = None
    mask_of: dict[Path, Path] = {}
    found = []
    for line in read_lines(listing):
        pair = _columns(line, files, listing)
        if pair is None and line.startswith(COMMENT) and _existing(line, files, listing) is None:
            continue
        if pair is None:
            if index is None:
                folder, all_pairs = pairs()
                places.append(Files(folder))
                index = _index(root, folder, all_pairs)
            pair = _named(line, listing, index, places)
        if pair is None:
            raise DataError(f"{listing}: names '{line}', but {root} has no such image with a mask: correct the list")
        if pair[0] in mask_of:
            if mask_of[pair[0]] != pair[1]:
                raise DataError(
                    f"{listing}: names {pair[0]} with two masks, {mask_of[pair[0]].name} and {pair[1].name}"
                )
            notes.add(listing, "line", "repeated, its image counts each time", line)
        mask_of[pair[0]] = pair[1]
        found.append(pair)
    return found


def _named(line: str, listing: Path, index: Mapping[str, Pair], places: Sequence[Files]) -> Pair | None:
    """Return the pair of a line with an image only; names are relative to the first base, or to another."""
    problem: DataError | None = None
    for files in places:
        try:
            names = [files.find(line, listing), *(files.folder / name for name in files.relative_names(line, listing))]
        except DataError as error:
            problem = problem or error
            continue
        for path in names:
            name = normal_form(path.relative_to(places[0].folder).as_posix())
            if name in index:
                return index[name]
    if problem is not None:
        raise problem
    return None


def _index(root: Path, folder: Path, pairs: Sequence[Pair]) -> dict[str, Pair]:
    """Index pairs by all possible names in a line: below `root` or `folder`, with and without suffix."""
    index: dict[str, Pair] = {}
    for base in (folder, root):  # of two images with the same name, the path below the root counts
        for pair in pairs:
            if pair[0].is_relative_to(base):
                name = normal_form(pair[0].relative_to(base).as_posix())
                index |= {os.path.splitext(name)[0]: pair, name: pair}
    return index


def _columns(line: str, files: Files, listing: Path) -> Pair | None:
    """Split a line into image and mask, at the first separator with a file on its left."""
    for place, character in enumerate(line):
        left, right = line[:place].strip(SEPARATORS), line[place:].strip(SEPARATORS)
        if character in SEPARATORS and left and right:
            image = files.find(left, listing) if character == "\t" else _existing(left, files, listing)
            if image is not None:
                return image, files.find(right, listing)
    return None


def _existing(name: str, files: Files, listing: Path) -> Path | None:
    try:
        path = files.find(name, listing)
    except DataError:  # the whole line may be a name with spaces; otherwise it is refused
        return None
    return path if path.is_file() else None


def named_pairs(
    listing: Path, names: Sequence[str], image_of: Mapping[str, Path], mask_of: Mapping[str, Path], folder: Path
) -> list[Pair]:
    """Return the pairs of a list of names, in its order; a name may have folders, a suffix or quotes.

    Args:
        listing: the list file, for errors.
        image_of, mask_of: files by `by_key`.
        folder: the folder of images.

    Raises:
        DataError: a name without image or mask, or given twice.
    """
    found: dict[str, Pair] = {}
    missing: list[str] = []
    known = _KnownNames(image_of, folder)
    for name in names:
        key = known.find(name)
        if key is None and name.startswith(COMMENT):
            continue
        if key is None or key not in mask_of:
            missing.append(f"{listing}: names '{name}', but {folder} has no such image" + (" with a mask" * bool(key)))
        elif key in found:
            raise DataError(f"{listing}: names '{name}' twice: remove one of the lines")
        else:
            found[key] = (image_of[key], mask_of[key])
    more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
    for problem in missing:
        refuse(f"{problem}{more}: complete the folder or correct the list")
    return list(found.values())


class _KnownNames:
    """Index of file keys by possible names in a list: with folders, suffix or quotes, or of another computer."""

    def __init__(self, keys: Collection[str], folder: Path) -> None:
        self._keys, self._above = keys, parts_of(str(folder))
        self._tails = TailIndex(keys)

    def find(self, name: str) -> str | None:
        """Return the key of a name; None if none or several fit."""
        for spelling in spellings(name):
            path = normal_form(posixpath.normpath(spelling)).lstrip("/")
            for key in (path, posixpath.splitext(path)[0]):
                if key in self._keys:
                    return key
        for spelling in spellings(name):
            parts = self._below(parts_of(spelling))
            for last in (parts[-1], posixpath.splitext(parts[-1])[0]) if parts else ():
                found = self._tails.fitting([*parts[:-1], last])
                is_whole = found and (is_elsewhere(spelling) or len(parts_of(found[0])) == len(parts))
                if len(found) == 1 and is_whole:
                    return found[0]
        return None

    def _below(self, parts: tuple[str, ...]) -> tuple[str, ...]:
        """A path without the folder's own names in front: "../JPEGImages/a" in JPEGImages."""
        while parts[:1] == ("..",):
            parts = parts[1:]
        for length in range(min(len(parts) - 1, len(self._above)), 0, -1):
            if parts[:length] == self._above[-length:]:
                return parts[length:]
        return parts

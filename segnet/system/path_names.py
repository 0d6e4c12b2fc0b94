"""Resolve file names written by other programs and computers.

Names come from Windows (backslashes, another case), from macOS (decomposed accents, NFD), from web addresses ("%20",
"?signature=") and with absolute paths. A path of another computer is matched by its suffix:
"https://host/images/train/a.jpg" means train/a.jpg in a folder of images.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import unquote

QUOTES = ("'", '"')
ELSEWHERE = re.compile(r"[A-Za-z]:[\\/]|[A-Za-z][A-Za-z0-9+.-]+://|[\\/]")


def is_elsewhere(name: str) -> bool:
    """Whether a name is an absolute path of any system, or a URL."""
    return ELSEWHERE.match(name) is not None


def parts_of(name: str) -> tuple[str, ...]:
    """Split a path of any system into folders and file name."""
    return tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def folded(name: str) -> str:
    """Normalize a name for comparison without case and Unicode form."""
    return unicodedata.normalize("NFC", name).casefold()


def spellings(name: str) -> Iterator[str]:
    """Spellings of a file name: unchanged, with slashes, without query or quotes, percent-decoded."""
    yield name
    slashes = name.strip().replace("\\", "/")
    yield slashes
    if len(slashes) > 2 and slashes[0] == slashes[-1] and slashes[0] in QUOTES:
        yield slashes[1:-1].strip()
    plain = slashes.removeprefix("file://")
    yield plain
    decoded = unquote(plain)
    yield decoded
    for mark in "?#":
        if mark in plain:
            yield unquote(plain.partition(mark)[0]) or decoded


class TailIndex:
    """Index of files by path suffix.

    Args:
        paths: paths of the files relative to a folder, with slashes.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._by_name: dict[str, list[str]] = {}
        for path in paths:
            self._by_name.setdefault(folded(path.rpartition("/")[2]), []).append(path)

    def fitting(self, parts: Sequence[str]) -> list[str]:
        """Find the files with the longest common path suffix, provided one path is a suffix of the other.

        An exact file name takes precedence over another case.
        """
        if not parts:
            return []
        known = self._by_name.get(folded(parts[-1]), [])
        wanted = tuple(map(folded, parts))
        agreeing: dict[str, int] = {}
        for path in known:
            own = tuple(map(folded, parts_of(path)))
            if own[-len(wanted) :] == wanted[-len(own) :]:
                agreeing[path] = min(len(own), len(wanted))
        best = [path for path, length in agreeing.items() if length == max(agreeing.values())]
        name = unicodedata.normalize("NFC", parts[-1])
        exact = [path for path in best if unicodedata.normalize("NFC", path.rpartition("/")[2]) == name]
        return exact or best

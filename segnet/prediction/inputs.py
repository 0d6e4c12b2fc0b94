"""Inputs of a prediction from arguments: images, folders, globs, lists, URLs, stdin, videos, cameras.

Only folders and lists are read here. An argument that cannot be used becomes an input with a `problem`: it is reported
in its place among the others, and counted.
"""

import codecs
import glob
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal
from urllib.parse import unquote, urlsplit

from segnet.errors import ConfigError, DataError
from segnet.images.formats import pillow_formats
from segnet.prediction.folders import VIDEO_SUFFIXES, Found, files_below, files_of_glob
from segnet.system.encodings import unicode_encoding
from segnet.system.path_names import is_elsewhere, parts_of, spellings

MAX_LIST_BYTES = 2**28
LIST_SEPARATORS = "\t ,;"  # between an image and its mask
MAX_NAME_BYTES = 180  # of a result's name without its ending; file systems allow 255

Kind = Literal["picture", "video", "camera", "url", "stdin"]


@dataclass(frozen=True, slots=True)
class Input:
    """One thing to segment.

    Attributes:
        text: the argument, for messages.
        kind: how it is read.
        name: base of its results' name: the path below the folder that was given, or the file's name.
        path: of a file.
        problem: why it cannot be used; empty if it can.
    """

    text: str
    kind: Kind
    name: PurePath
    path: Path | None = None
    problem: str = ""


class Collector:
    """Collect inputs; a file that is named twice is collected once.

    Args:
        is_result: whether a file in a folder is the result of an earlier prediction.

    Attributes:
        inputs: collected so far.
        notes: messages about files that were left out.
    """

    def __init__(self, is_result: Callable[[Path], bool] = lambda path: False) -> None:
        self._is_result = is_result
        self._seen: set[str] = set()
        self.inputs: list[Input] = []
        self.notes: list[str] = []

    def add(self, argument: str, root: str | None = None) -> None:
        """Add an argument: "-", @list, URL, camera number, file, folder or glob; `root` is for a list.

        Raises:
            DataError: a folder or glob without images, or a list that cannot be read.
        """
        if argument == "-":
            self._append(Input("-", "stdin", PurePath("stdin")), "-")
        elif _exists(argument):
            self._add_path(Path(argument))
        elif argument.startswith("@"):
            self.add_list(argument[1:], root)
        elif "://" in argument:
            self._append(Input(argument, "url", _url_name(argument)), argument)
        elif argument.isdecimal():
            self._append(Input(f"camera {argument}", "camera", PurePath(f"camera{argument}")), f"camera {argument}")
        elif glob.has_magic(argument):
            self._add_found(files_of_glob(argument, self._is_result), argument)
        else:
            self._add_file(Path(argument))  # a missing file is reported with the others

    def _add_path(self, path: Path) -> None:
        if path.is_dir():
            self._add_found(files_below(path, self._is_result), str(path), path)
        else:
            self._add_file(path)

    def _add_found(self, found: Found, what: str, top: Path | None = None) -> None:
        for folder, reason in found.unreadable.items():
            problem = f"{folder}: the folder cannot be read ({reason})"
            self._append(Input(folder, "picture", PurePath("_"), None, problem), f"{folder}/")
        if not found.paths:
            others = f" ({'; '.join(found.notes)})" if found.notes else ""
            raise DataError(f"{what}: no image ({', '.join(pillow_formats())}) and no video{others}")
        self.notes += found.notes
        for path in found.paths:
            self._add_file(path, path.relative_to(top) if top else None)

    def _add_file(self, path: Path, name: PurePath | None = None, text: str | None = None) -> None:
        kind: Kind = "video" if path.suffix.lower() in VIDEO_SUFFIXES else "picture"
        self._append(Input(text or str(path), kind, name or PurePath(path.name), path), os.path.abspath(path))

    def _append(self, item: Input, key: str) -> None:
        if key not in self._seen:
            self._seen.add(key)
            self.inputs.append(item)

    def add_list(self, listing: str, root: str | None = None) -> None:
        """Add the files of a list, one a line, relative to `root` and below it, or URLs.

        Lists of a dataset, with a mask after each image, and those of other systems are read as `segnet.data` reads
        them. Lines that begin with # are comments.

        Args:
            listing: path of the list; "-" is stdin.
            root: default: the folder of the list; for stdin the current one.

        Raises:
            DataError: it cannot be read, or is empty.
        """
        source = "stdin" if listing == "-" else listing
        top = Path(root) if root else Path() if listing == "-" else Path(listing).parent
        lines = [line.strip() for line in re.split(r"\r\n?|\n", _decoded_list(_list_bytes(listing), source))]
        if not any(lines):
            raise DataError(f"{source}: the list is empty")
        real_top = os.path.realpath(top)
        for line in filter(None, lines):
            if line.startswith(("http://", "https://")):
                self._append(Input(line, "url", _url_name(line)), line)
                continue
            name = _name_below(top, real_top, line)
            if name is None and line.startswith("#"):  # a comment
                continue
            try:
                self._add_file(_below(top, real_top, name or line), _inner(PurePath(name or line)))
            except ValueError:
                problem = f"{source}: {line!r} is outside of {top or '.'}: --root FOLDER allows a list to reach it"
                self._append(Input(line, "picture", PurePath("_"), None, problem), f"{source}\0{line}")


def _list_bytes(listing: str) -> bytes:
    try:
        if listing == "-":
            content = sys.stdin.buffer.read(MAX_LIST_BYTES + 1)
        else:
            with open(listing, "rb") as file:
                content = file.read(MAX_LIST_BYTES + 1)
    except OSError as error:
        raise DataError(f"{listing}: cannot be read as a list of files ({error.strerror})") from None
    if len(content) > MAX_LIST_BYTES:
        raise DataError(f"{listing}: larger than {MAX_LIST_BYTES >> 20} MiB: split it")
    return content


def _decoded_list(content: bytes, source: str) -> str:
    """Text of any Unicode encoding; names that are no UTF-8 are kept as they are."""
    encoding = unicode_encoding(content)
    if encoding.startswith("utf-8"):
        return os.fsdecode(content.removeprefix(codecs.BOM_UTF8))
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        raise DataError(f"{source}: is not {encoding.upper()} text: save it as UTF-8") from None


def _name_below(top: Path, real_top: str, line: str) -> str | None:
    """The file below `top` that a line of a list means, in any way that it may be written; None: there is none."""
    heads = [line[:place].rstrip() for place, character in enumerate(line) if place and character in LIST_SEPARATORS]
    for text in (line, *heads):
        names = list(dict.fromkeys(spellings(text)))
        if is_elsewhere(text) and not _exists(text):
            tails = [parts[place:] for name in names for parts in [parts_of(name)] for place in range(1, len(parts))]
            names += ["/".join(tail) for tail in tails]
        for name in names:
            try:
                if os.path.isfile(_below(top, real_top, name)):
                    return name
            except ValueError:
                continue
    return None


def _below(top: Path, real_top: str, line: str) -> Path:
    """Raises:
    ValueError: the path is outside of `top`, by its parts or by a link.
    """
    if "\0" in line:
        raise ValueError
    path = top / line
    if not Path(os.path.realpath(path)).is_relative_to(real_top):
        raise ValueError
    return path


def _inner(path: PurePath) -> PurePath:
    """A path without the parts that would lead out of the folder that it is put into."""
    parts = [part for part in path.parts if part not in (path.anchor, "..", ".")]
    return PurePath(*(parts or ["_"]))


def _exists(argument: str) -> bool:
    return os.path.lexists(argument)  # unlike the methods of Path, it does not fail on a name that is too long


def _url_name(url: str) -> PurePath:
    try:
        name = PurePath(unquote(urlsplit(url).path)).name
    except ValueError:
        name = ""
    return PurePath(name.replace("\0", "_").lstrip(".") or "url")


def require_input_file(path: Path) -> os.stat_result:
    """Check that a path is a regular file, and return its status: opening a pipe without a writer would hang.

    Raises:
        DataError: the file does not exist, or cannot be read.
    """
    if "\0" in str(path):
        raise DataError(f"{path}: no such file")
    try:
        status = path.stat()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if stat.S_ISDIR(status.st_mode):
        raise DataError(f"{path}: is a folder, not an image")
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: is a device or a pipe, not a file: read a pipe as '-'")
    return status


def result_names(inputs: Sequence[Input]) -> list[str]:
    """Choose a unique name, without ending, for the results of each input; sub-folders are kept.

    The name is the input's path without its ending. If it is not unique, the ending is kept; then the whole given path
    is used; then a number is appended. Upper and lower case are the same name, as on some file systems.
    """

    def counted(names: Iterable[PurePath]) -> Counter[str]:
        return Counter(str(name).casefold() for name in names)

    stems = counted(item.name.with_suffix("") for item in inputs)
    full_names = counted(item.name for item in inputs)
    taken: set[str] = set()
    chosen = []
    for item in inputs:
        if stems[str(item.name.with_suffix("")).casefold()] == 1:
            name = item.name.with_suffix("")
        elif full_names[str(item.name).casefold()] == 1 or item.path is None:
            name = item.name
        else:
            name = _inner(item.path)
        shortened = str(PurePath(*map(_shortened, name.parts)))
        unique, number = shortened, 2
        while unique.casefold() in taken:
            unique, number = f"{shortened}_{number}", number + 1
        taken.add(unique.casefold())
        chosen.append(unique)
    return chosen


def _shortened(part: str) -> str:
    """A part of a path, cut to a length that every file system allows with an ending; "~" marks the cut."""
    if len(os.fsencode(part)) <= MAX_NAME_BYTES:
        return part
    while len(os.fsencode(part)) > MAX_NAME_BYTES - 1:
        part = part[:-1]
    return part + "~"


def shard(inputs: Sequence[Input], text: str) -> list[int]:
    """Indices of the inputs in one shard; every machine is given the same inputs.

    Args:
        text: "2/8": the second of eight shards. In the order of the names, each takes every eighth input.

    Raises:
        ConfigError: not of this form, or a number out of range.
    """
    first, _, last = text.partition("/")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise ConfigError(f"--shard {text}: must be i/n with 1 <= i <= n, such as 1/4")
    order = sorted(range(len(inputs)), key=lambda place: (str(inputs[place].name), inputs[place].text))
    return sorted(order[int(first) - 1 :: int(last)])

"""Collect the inputs of a prediction: images, folders, globs, lists, URLs, stdin, videos, cameras.

Only folders and lists are read here. An unusable argument becomes an input with a `problem`, which is reported in
order and counted as failed.
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
MAX_NAME_BYTES = 180  # of a result's name without suffix; file systems allow 255

Kind = Literal["image", "video", "camera", "url", "stdin"]


@dataclass(frozen=True, slots=True)
class Input:
    """An input to segment.

    Attributes:
        text: the argument, for messages.
        kind: kind of input.
        name: base name of the results: the path relative to the given folder, or the file name.
        path: path of a file.
        problem: reason why it cannot be used; empty if it can.
    """

    text: str
    kind: Kind
    name: PurePath
    path: Path | None = None
    problem: str = ""


class Collector:
    """Collects inputs; duplicate files are collected once.

    Args:
        is_result: whether a file in a folder is the result of an earlier prediction.

    Attributes:
        inputs: the collected inputs.
        notes: messages about skipped files.
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
            self._append(Input(folder, "image", PurePath("_"), None, problem), f"{folder}/")
        if not found.paths:
            others = f" ({'; '.join(found.notes)})" if found.notes else ""
            raise DataError(f"{what}: no image ({', '.join(pillow_formats())}) and no video{others}")
        self.notes += found.notes
        for path in found.paths:
            self._add_file(path, path.relative_to(top) if top else None)

    def _add_file(self, path: Path, name: PurePath | None = None, text: str | None = None) -> None:
        kind: Kind = "video" if path.suffix.lower() in VIDEO_SUFFIXES else "image"
        self._append(Input(text or str(path), kind, name or PurePath(path.name), path), os.path.abspath(path))

    def _append(self, item: Input, key: str) -> None:
        if key not in self._seen:
            self._seen.add(key)
            self.inputs.append(item)

    def add_list(self, listing: str, root: str | None = None) -> None:
        """Add the files of a list, one per line, relative to `root` and inside it; or URLs.

        Lists of a dataset with a mask after each image, and lists from other systems, are read like in `segnet.data`.
        Lines that start with # are comments.

        Args:
            listing: path of the list; "-" is stdin.
            root: folder of the files; None: the folder of the list, or the current folder for stdin.

        Raises:
            DataError: the list cannot be read, or is empty.
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
                problem = f"{source}: {line!r} is outside of {top or '.'}: set --root to a folder that contains it"
                self._append(Input(line, "image", PurePath("_"), None, problem), f"{source}\0{line}")


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
    """Decode text of any Unicode encoding; names that are not UTF-8 are preserved."""
    encoding = unicode_encoding(content)
    if encoding.startswith("utf-8"):
        return os.fsdecode(content.removeprefix(codecs.BOM_UTF8))
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        raise DataError(f"{source}: is not {encoding.upper()} text: save it as UTF-8") from None


def _name_below(top: Path, real_top: str, line: str) -> str | None:
    """The file in `top` for a line of a list, trying several spellings; None if it does not exist."""
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
    """The path of a file in `top`.

    Raises:
        ValueError: the path is outside of `top`, by its parts or by a link.
    """
    if "\0" in line:
        raise ValueError
    path = top / line
    if not Path(os.path.realpath(path)).is_relative_to(real_top):
        raise ValueError
    return path


def _inner(path: PurePath) -> PurePath:
    """A path without parts that lead out of its folder."""
    parts = [part for part in path.parts if part not in (path.anchor, "..", ".")]
    return PurePath(*(parts or ["_"]))


def _exists(argument: str) -> bool:
    return os.path.lexists(argument)  # unlike Path.exists, it accepts a too long name


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
        raise DataError(f"{path}: is a device or a pipe, not a file: pass a pipe as '-'")
    return status


def result_names(inputs: Sequence[Input]) -> list[str]:
    """Choose a unique name, without suffix, for the results of each input; subfolders are kept.

    The name is the input's path without suffix. If it is not unique, the suffix is kept; then the whole given path is
    used; then a number is appended. Names are compared without case, as on some file systems.
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
    """A part of a path, truncated for every file system; "~" marks the cut."""
    if len(os.fsencode(part)) <= MAX_NAME_BYTES:
        return part
    while len(os.fsencode(part)) > MAX_NAME_BYTES - 1:
        part = part[:-1]
    return part + "~"


def shard(inputs: Sequence[Input], text: str) -> list[int]:
    """Indices of the inputs in one shard; every machine gets the same list of inputs.

    Args:
        text: "2/8": the second of eight shards, with every eighth input in the order of names.

    Raises:
        ConfigError: not of this form, or a number out of range.
    """
    first, _, last = text.partition("/")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise ConfigError(f"--shard {text}: must be i/n with 1 <= i <= n, such as 1/4")
    order = sorted(range(len(inputs)), key=lambda place: (str(inputs[place].name), inputs[place].text))
    return sorted(order[int(first) - 1 :: int(last)])

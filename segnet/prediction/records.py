"""What a folder of predictions remembers: of which input, model and options each result was made.

Beside the results of NAME lies .segnet/NAME.json. By it an interrupted prediction goes on where it stopped, results of
something else are never taken for one's own, and of two predictions into one folder only one gets a name. It is written
before the results, which appear whole or not at all: results that it vouches for and that are there are done.
"""

import contextlib
import json
import os
import re
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segnet.errors import DataError, MachineError
from segnet.system.files import replacing

FOLDER = ".segnet"
OWN_PROCESS = f"{socket.gethostname()}:{os.getpid()}"
GRACE = 60  # in which a prediction on another machine writes its first file [seconds]
STALE = 3600  # after which a temporary file belongs to nobody [seconds]
SAVE_SUFFIXES = {
    "mask": "_mask.png",
    "overlay": "_overlay.png",
    "colors": "_colors.png",
    "probabilities": "_probabilities.npz",
    "confidence": "_confidence.png",
    "geojson": ".geojson",
    "coco": "_coco.json",
    "labelme": ".json",
    "video": "_overlay.mp4",
    "scene": "_mask.tif",
    "csv": "",  # one file for all: SHARES
}
SHARES = "shares.csv"


@dataclass(frozen=True, slots=True)
class Origin:
    """What results are made of.

    Attributes:
        source: the input: an absolute path, a URL.
        stamp: size [bytes] and time of change [ns] of a file; None: of what can never be recognized, such as stdin.
        job: model and options, as builtins of JSON.
    """

    source: str
    stamp: Sequence[int] | None
    job: Mapping[str, Any]


class Records:
    """The records of one folder.

    Args:
        folder: of the results.
        overwrite: whether results are replaced, of whatever they were made.
    """

    def __init__(self, folder: Path, overwrite: bool = False) -> None:
        self.folder, self._overwrite = folder, overwrite

    def target(self, name: str, kind: str) -> Path:
        """The file of a result."""
        return self.folder / (f"{name}{SAVE_SUFFIXES[kind]}" if SAVE_SUFFIXES[kind] else SHARES)

    def _path(self, name: str) -> Path:
        return self.folder / FOLDER / f"{name}.json"

    def read(self, name: str) -> dict[str, Any]:
        """A record; empty where there is none that can be read."""
        try:
            record = json.loads(self._path(name).read_bytes())
        except (OSError, json.JSONDecodeError, UnicodeDecodeError):
            return {}
        complete = isinstance(record, dict) and isinstance(record.get("saved"), list)
        return record if complete else {}

    def pending(self, name: str, kinds: Sequence[str], origin: Origin) -> list[str]:
        """The kinds that are still to be made.

        Raises:
            DataError: there are results of something else.
        """
        if self._overwrite:
            return list(kinds)
        record = self.read(name)
        mine = record.get("saved", []) if not _difference(record, origin) else []
        others = record.get("saved", []) if not mine else []
        for kind in dict.fromkeys([*kinds, *others]):
            path = self.target(name, kind)
            if kind not in mine and os.path.lexists(path) and (kind != "csv" or kind in others):
                raise DataError(
                    f"{path}: exists already{_difference(record, origin)}; --overwrite replaces it, --output FOLDER "
                    "leaves it alone"
                )
        return [kind for kind in kinds if kind not in mine or not os.path.lexists(self.target(name, kind))]

    @contextlib.contextmanager
    def taken(
        self, name: str, kinds: Sequence[str], origin: Origin, facts: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Takes a name for the results that are written within.

        What is overwritten is vouched for after it has been replaced; what is new, before: then it needs no second look
        after an interruption.

        Args:
            name: of the results.
            kinds: to be made.
            origin: what of.
            facts: what else is to be remembered, as builtins of JSON.

        Returns:
            The facts, to which may be added within.

        Raises:
            DataError: another prediction has taken it. MachineError: the disk refuses it.
        """
        before = self.read(name)
        ours = bool(before) and not _difference(before, origin)
        base = {"source": origin.source, "stamp": origin.stamp, "job": origin.job, "by": OWN_PROCESS}
        known = {key: value for key, value in before.items() if key not in (*base, "saved")} if ours else {}
        known |= facts or {}
        earlier = set(before["saved"]) if ours else set()
        if self._overwrite:
            claimed = {**base, "saved": sorted(earlier - set(kinds)), **known}
            self._replace(name, claimed)
        else:
            self.pending(name, kinds, origin)
            if before and not ours and self._is_at_work(name, before):
                raise _taken_away(self.folder / name)
            claimed = {**base, "saved": sorted(earlier | set(kinds)), **known}
            if before:
                self._replace(name, claimed)
            elif not _create(self._path(name), json.dumps(claimed)) and _difference(self.read(name), origin):
                raise _taken_away(self.folder / name)
        yield known
        record = {**base, "saved": sorted(earlier | set(kinds)), **known}
        if record != claimed:
            self._replace(name, record)

    def _is_at_work(self, name: str, record: Mapping[str, Any]) -> bool:
        """Whether the prediction that took a name may still write its first file."""
        by = str(record.get("by"))
        host, _, process = by.rpartition(":")
        if by == OWN_PROCESS:
            return False
        if host == socket.gethostname() and process.isdecimal() and os.name == "posix":
            try:
                os.kill(int(process), 0)
            except OSError:
                return False
            return True
        try:
            with tempfile.NamedTemporaryFile(dir=self.folder / FOLDER, suffix=".tmp") as now:  # by the disk's own clock
                return os.stat(now.name).st_mtime - self._path(name).stat().st_mtime < GRACE
        except OSError:
            return False

    def _replace(self, name: str, record: Mapping[str, Any]) -> None:
        with replacing(self._path(name)) as temporary:
            temporary.write_text(json.dumps(record), encoding="utf-8")

    def done(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """All records, by name."""
        top = self.folder / FOLDER
        for path in sorted(top.rglob("*.json")):
            name = str(path.relative_to(top)).removesuffix(".json")
            if record := self.read(name):
                yield name, record


def _taken_away(name: Path) -> DataError:
    return DataError(f"{name}: another prediction into this folder has just taken this name: choose another --output")


def _difference(record: Mapping[str, Any], origin: Origin) -> str:
    """What a record's results were made of that is not the origin; empty where it is the same."""
    if not record:
        return ", made by something else"
    if record.get("source") != origin.source:
        return f", made of {record.get('source')}"
    if origin.stamp is None:
        return f", made of {origin.source} before"
    if list(record.get("stamp") or []) != list(origin.stamp):
        return ", made of an earlier state of this input"
    was, now = record.get("job", {}), json.loads(json.dumps(origin.job))
    changed = sorted(key for key in was.keys() | now.keys() if was.get(key) != now.get(key))
    return f", made with other options ({', '.join(changed)})" if changed else ""


def _create(path: Path, text: str) -> bool:
    """Creates a file with its content at once; whether it was not there before."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{uuid.uuid4().hex[:8]}.tmp")
        try:
            temporary.write_text(text, encoding="utf-8")
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            except OSError:  # a file system without links
                os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise MachineError(f"{path}: cannot be written ({error.strerror})") from None
    return True


def is_result(path: Path) -> bool:
    """Whether a file was made by a prediction: a record in a folder above it vouches for it."""
    names = [
        path.name.removesuffix(suffix) for suffix in SAVE_SUFFIXES.values() if suffix and path.name.endswith(suffix)
    ]
    for name in names:
        for top in path.parents:
            if not (top / FOLDER).is_dir():
                continue
            record = top / FOLDER / path.parent.relative_to(top)
            # Of a video's frames the record is the video's.
            if (record / f"{name}.json").is_file() or record.with_name(f"{record.name}.json").is_file():
                return True
    return False


def remove_stale_files(folder: Path) -> None:
    """Removes what killed predictions were writing an hour ago and longer."""
    endings = "|".join(re.escape(suffix) for suffix in SAVE_SUFFIXES.values() if suffix)
    torn = re.compile(rf"\..*({endings}|{re.escape(SHARES)}|\.json)\.[a-z0-9_]{{8}}\.tmp|\.[a-z0-9_]{{8}}\.tmp")
    for parent, _, files in os.walk(folder):
        for name in files:
            if name.endswith(".tmp") and torn.fullmatch(name):
                with contextlib.suppress(OSError):
                    path = Path(parent, name)
                    if time.time() - path.stat().st_mtime > STALE:
                        path.unlink()

"""Records of a prediction folder: the input, model and options that each result was made from.

The results of NAME have their record in .segnet/NAME.json. It lets an interrupted prediction resume, and it keeps
results of another input, model or option from being taken for current ones. A record is written before its results, and
each result is an atomic write: a result that exists and has a record is complete.
"""

import contextlib
import json
import os
import re
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segnet.errors import DataError
from segnet.system.files import replacing

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FOLDER = ".segnet"
STALE = 3600  # age at which a temporary file belongs to no running prediction [seconds]
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
    """What results are made from.

    Attributes:
        source: the input: an absolute path or a URL.
        stamp: size [bytes] and modification time [ns] of a file; None if the input cannot be recognized, such as stdin.
        job: model and options, as builtins of JSON.
    """

    source: str
    stamp: Sequence[int] | None
    job: Mapping[str, Any]


class Records:
    """The records of one prediction folder.

    Args:
        folder: of the results.
        overwrite: whether existing results are replaced, whatever they were made from.
    """

    def __init__(self, folder: Path, overwrite: bool = False) -> None:
        self.folder, self._overwrite = folder, overwrite

    def target(self, name: str, kind: str) -> Path:
        """The file of a result."""
        return self.folder / (f"{name}{SAVE_SUFFIXES[kind]}" if SAVE_SUFFIXES[kind] else SHARES)

    def _path(self, name: str) -> Path:
        return self.folder / FOLDER / f"{name}.json"

    def read(self, name: str) -> dict[str, Any]:
        """A record; empty if there is none, or none that can be read."""
        try:
            record = json.loads(self._path(name).read_bytes())
        except (OSError, json.JSONDecodeError, UnicodeDecodeError):
            return {}
        complete = isinstance(record, dict) and isinstance(record.get("saved"), list)
        return record if complete else {}

    def pending(self, name: str, kinds: Sequence[str], origin: Origin) -> list[str]:
        """The kinds of results that are still to be made.

        Raises:
            DataError: results of another origin exist.
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
        """Record the results that are written inside the context, while other processes wait with results of this name.

        New results are recorded before they are written. Results that are overwritten are recorded afterwards, so that
        no record ever covers an old file.

        Args:
            name: of the results.
            kinds: to be made.
            origin: what they are made from.
            facts: further entries of the record, as builtins of JSON.

        Returns:
            The facts. Entries that are added inside the context are recorded too.

        Raises:
            DataError: results of another origin exist. MachineError: the disk refuses the record.
        """
        with self.locked(name):
            self.pending(name, kinds, origin)  # another process may have written some since the last look
            before = self.read(name)
            ours = bool(before) and not _difference(before, origin)
            base = {"source": origin.source, "stamp": origin.stamp, "job": origin.job}
            known = {key: value for key, value in before.items() if key not in (*base, "saved")} if ours else {}
            known |= facts or {}
            earlier = set(before["saved"]) if ours else set()
            first = earlier - set(kinds) if self._overwrite else earlier | set(kinds)
            claimed = {**base, "saved": sorted(first), **known}
            self._write(name, claimed)
            yield known
            record = {**base, "saved": sorted(earlier | set(kinds)), **known}
            if record != claimed:
                self._write(name, record)

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Keep other processes from writing the results of a name; wait for one that does.

        A lock ends with its process, however that ends. Names share 256 lock files.
        """
        path = self.folder / FOLDER / "locks" / f"{zlib.crc32(os.fsencode(name)) % 256:02x}"
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # a file system without locks; a full disk refuses the record, too
                path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(open(path, "a", encoding="utf-8"))
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write(self, name: str, record: Mapping[str, Any]) -> None:
        with replacing(self._path(name), durable=False) as temporary:  # fsync takes longer than a small image
            temporary.write_text(json.dumps(record), encoding="utf-8")

    def done(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """All records, by name."""
        top = self.folder / FOLDER
        for path in sorted(top.rglob("*.json")):
            name = str(path.relative_to(top)).removesuffix(".json")
            if record := self.read(name):
                yield name, record


def _difference(record: Mapping[str, Any], origin: Origin) -> str:
    """How a record's origin differs from another one, for a message; empty if they are the same."""
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


def is_result(path: Path) -> bool:
    """Whether a file was made by a prediction: a folder above it has its record."""
    names = [
        path.name.removesuffix(suffix) for suffix in SAVE_SUFFIXES.values() if suffix and path.name.endswith(suffix)
    ]
    for name in names:
        for top in path.parents:
            if not (top / FOLDER).is_dir():
                continue
            record = top / FOLDER / path.parent.relative_to(top)
            # The frames of a video have the video's record.
            if (record / f"{name}.json").is_file() or record.with_name(f"{record.name}.json").is_file():
                return True
    return False


def remove_stale_files(folder: Path) -> None:
    """Remove temporary files that killed predictions left an hour ago or earlier."""
    endings = "|".join(re.escape(suffix) for suffix in SAVE_SUFFIXES.values() if suffix)
    torn = re.compile(rf"\..*({endings}|{re.escape(SHARES)}|\.json)\.[a-z0-9_]{{8}}\.tmp")
    for parent, _, files in os.walk(folder):
        for name in files:
            if name.endswith(".tmp") and torn.fullmatch(name):
                with contextlib.suppress(OSError):
                    path = Path(parent, name)
                    if time.time() - path.stat().st_mtime > STALE:
                        path.unlink()

"""Records of a prediction folder: the input, model and options of each result.

The results of NAME have their record in .segnet/NAME.json. It allows an interrupted prediction to resume, and prevents
reuse of results of another input, model or option. A record is written before its results, and each result is an atomic
write: a result that exists and has a record is complete.
"""

import contextlib
import json
import os
import re
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from segnet.errors import DataError
from segnet.system.files import replacing

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FOLDER = ".segnet"
STALE = 3600  # age of temporary files left by killed predictions [seconds]
SAVE_SUFFIXES = {
    "mask": "_mask.png",
    "planes": "_mask.tif",
    "overlay": "_overlay.png",
    "colors": "_colors.png",
    "probabilities": "_probabilities.npz",
    "confidence": "_confidence.png",
    "geojson": ".geojson",
    "coco": ".coco",
    "labelme": ".json",
    "yolo": ".txt",
    "cvat": ".cvat",
    "label-studio": ".label-studio",
    "video": "_overlay.mp4",
    "cvat-video": "_cvat.zip",
    "scene": "_mask.tif",
    "csv": "",  # one file for all inputs: SHARES
}
# Kinds in a folder of their own. Those in FOLDER are parts of a file that holds all images.
SAVE_FOLDERS = {"yolo": "yolo/labels/train", "coco": FOLDER, "cvat": FOLDER, "label-studio": FOLDER}
YOLO_IMAGES = "yolo/images"  # where users copy the images that the label files of a folder belong to
SHARES = "shares.csv"
# Kind -> its files for all images of a folder, written by segnet.prediction.folder_files.
FOLDER_FILES = {
    "coco": ("coco.json",),
    "yolo": ("yolo/data.yaml", "yolo/train.txt"),
    "cvat": ("cvat.zip", "cvat_labels.json"),
    "label-studio": ("label_studio.json", "label_studio.xml"),
}


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of results.

    Attributes:
        source: the input: an absolute path or a URL.
        stamp: size [bytes] and modification time [ns] of a file; None for inputs without identity, such as stdin.
        job: model and options, as JSON values.
    """

    source: str
    stamp: Sequence[int] | None
    job: Mapping[str, Any]


class Records:
    """The records of one prediction folder.

    Args:
        folder: the output folder.
        overwrite: whether existing results are replaced, regardless of their origin.

    Attributes: as the arguments.
    """

    def __init__(self, folder: Path, overwrite: bool = False) -> None:
        self.folder, self.overwrite = folder, overwrite

    def target(self, name: str, kind: str) -> Path:
        """The file of a result."""
        file_name = f"{name}{SAVE_SUFFIXES[kind]}" if SAVE_SUFFIXES[kind] else SHARES
        return self.folder / SAVE_FOLDERS.get(kind, "") / file_name

    def _path(self, name: str) -> Path:
        return self.folder / FOLDER / f"{name}.json"

    def read(self, name: str) -> dict[str, Any]:
        """A record; empty if it is missing or cannot be read."""
        try:
            record = json.loads(self._path(name).read_bytes())
        except (OSError, json.JSONDecodeError, UnicodeDecodeError):
            return {}
        complete = isinstance(record, dict) and isinstance(record.get("saved"), list)
        return record if complete else {}

    def pending(self, name: str, kinds: Sequence[str], origin: Origin) -> list[str]:
        """The kinds of results that are still missing.

        Raises:
            DataError: results of another origin exist.
        """
        if self.overwrite:
            return list(kinds)
        record = self.read(name)
        mine = record.get("saved", []) if not _difference(record, origin) else []
        others = record.get("saved", []) if not mine else []
        for kind in dict.fromkeys([*kinds, *others]):
            path = self.target(name, kind)
            if kind not in mine and os.path.lexists(path) and (kind != "csv" or kind in others):
                shown = str(path)
                if SAVE_FOLDERS.get(kind) == FOLDER:  # a part of a file that holds all images
                    shown = f"{self.folder / FOLDER_FILES[kind][0]}: '{name}'"
                raise DataError(
                    f"{shown}: exists already{_difference(record, origin)}; --overwrite replaces it, or use another "
                    "--output FOLDER"
                )
        return [kind for kind in kinds if kind not in mine or not os.path.lexists(self.target(name, kind))]

    @contextlib.contextmanager
    def taken(
        self, name: str, kinds: Sequence[str], origin: Origin, facts: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Lock a name and record the results written inside the context.

        New results are recorded before they are written. Overwritten results are recorded afterwards, so that a record
        never refers to an old file.

        Args:
            name: name of the results.
            kinds: kinds to write.
            origin: the origin of the results.
            facts: further entries of the record, as JSON values.

        Yields:
            The facts. Entries added inside the context are recorded too.

        Raises:
            DataError: results of another origin exist. MachineError: the record cannot be written.
        """
        with self.locked(name):
            self.pending(name, kinds, origin)  # another process may have written some in the meantime
            before = self.read(name)
            ours = bool(before) and not _difference(before, origin)
            base = {"source": origin.source, "stamp": origin.stamp, "job": origin.job}
            known = {key: value for key, value in before.items() if key not in (*base, "saved")} if ours else {}
            known |= facts or {}
            earlier = set(before["saved"]) if ours else set()
            first = earlier - set(kinds) if self.overwrite else earlier | set(kinds)
            claimed = {**base, "saved": sorted(first), **known}
            self._write(name, claimed)
            yield known
            record = {**base, "saved": sorted(earlier | set(kinds)), **known}
            if record != claimed:
                self._write(name, record)

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Lock the results of a name against other processes; wait for the lock.

        A lock ends with its process, even if it is killed. Names share 256 lock files.
        """
        path = self.folder / FOLDER / "locks" / f"{zlib.crc32(os.fsencode(name)) % 256:02x}"
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # a file system without locks; a full disk fails at the record too
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
    """The difference between a record's origin and another one, for a message; empty if equal."""
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
    """Whether a file is the result of a prediction, or a copy of its input beside YOLO's labels.

    A parent folder has its record.
    """
    names = [
        path.name.removesuffix(suffix) for suffix in SAVE_SUFFIXES.values() if suffix and path.name.endswith(suffix)
    ]
    for name in names:
        for top in path.parents:
            if not (top / FOLDER).is_dir():
                continue
            record = top / FOLDER / path.parent.relative_to(top)
            # Frames of a video have the record of the video.
            if (record / f"{name}.json").is_file() or record.with_name(f"{record.name}.json").is_file():
                return True
    return _is_copy_for_yolo(path)


def _is_copy_for_yolo(path: Path) -> bool:
    """Whether an image lies in yolo/images/SPLIT of an output folder and has YOLO labels there."""
    for images in path.parents:
        if not images.as_posix().endswith(f"/{YOLO_IMAGES}"):
            continue
        top, inner = images.parent.parent, path.relative_to(images)
        if len(inner.parts) < 2:
            continue
        records = Records(top)
        name = str(PurePath(*inner.parts[1:]).with_suffix(""))
        if any("yolo" in records.read(one).get("saved", ()) for one in (name, str(PurePath(name).parent))):
            return True
    return False


def remove_stale_files(folder: Path) -> None:
    """Remove temporary files of killed predictions that are older than an hour."""
    endings = "|".join(re.escape(suffix) for suffix in SAVE_SUFFIXES.values() if suffix)
    whole = "|".join(re.escape(name.rpartition("/")[2]) for name in (SHARES, *sum(FOLDER_FILES.values(), ())))
    torn = re.compile(rf"\..*({endings}|{whole}|\.json)\.[a-z0-9_]{{8}}\.tmp")
    for parent, _, files in os.walk(folder):
        for name in files:
            if name.endswith(".tmp") and torn.fullmatch(name):
                with contextlib.suppress(OSError):
                    path = Path(parent, name)
                    if time.time() - path.stat().st_mtime > STALE:
                        path.unlink()

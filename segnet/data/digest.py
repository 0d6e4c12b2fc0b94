"""Digest of a dataset: hashes of names, sizes and modification times of its files. No file is opened.

Checkpoints store it, so that a resumed run detects a changed dataset. Names are hashed: a published checkpoint does not
reveal the names of its training files.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segnet.data.cache.fingerprints import fingerprint_of
from segnet.data.dataset import SegmentationDataset
from segnet.errors import listed

NAME, CONTENT, TIME = range(3)  # columns
MOST_NAMES = 3  # names in a message
FILES_A_THREAD = 1000  # files per task of a thread

Fingerprint = Sequence[int]  # size [bytes] and mtime [ns]; empty: no such file


@dataclass(frozen=True, slots=True)
class SplitDigest:
    """The digest of a split.

    Attributes:
        samples: (N, 3) int64, in the order of the split: hashes of the name, of sizes and other file names, of times.
        shared: (M, 3) int64, the same for files shared by several samples, such as an annotation file.
        names: names of the samples, then of the shared files; empty in a stored digest.
    """

    samples: NDArray[np.int64]
    shared: NDArray[np.int64]
    names: Sequence[str] = ()

    def to_state(self) -> dict[str, torch.Tensor]:
        """Return the tensors that a checkpoint stores."""
        return {"samples": torch.from_numpy(self.samples), "shared": torch.from_numpy(self.shared)}

    @classmethod
    def from_state(cls, state: Any) -> "SplitDigest":
        """Build a digest from the tensors of a checkpoint.

        Raises:
            ValueError: the state is not a digest.
        """
        tables = []
        for key in ("samples", "shared"):
            table = state.get(key) if isinstance(state, Mapping) else None
            if not isinstance(table, torch.Tensor) or table.dtype != torch.int64 or table.shape[1:] != (3,):
                raise ValueError("is not a digest of a dataset")
            tables.append(table.numpy())
        return cls(tables[0], tables[1])


def split_digest(dataset: SegmentationDataset, roots: Sequence[str] = ()) -> SplitDigest:
    """Compute the digest of a split.

    Args:
        dataset: the split's dataset.
        roots: folders relative to which names are hashed, so that a dataset may be moved.
    """
    bases = [os.path.abspath(os.path.expanduser(root)) + os.sep for root in roots]
    parts = [dataset.files(index) for index in range(len(dataset))]
    owners = Counter(file for files in parts for file in set(files) if isinstance(file, Path))
    fingerprints = _fingerprints(list(owners))
    occurrences: Counter[str] = Counter()
    names, rows = [], []
    for files in parts:
        own = [file for file in files if isinstance(file, Path) and owners[file] == 1]
        texts = [file for file in files if isinstance(file, str)]
        first = next((file for file in files if isinstance(file, Path)), None)
        name = _relative(first, bases) if first else next(iter(texts), "sample")
        occurrences[name] += 1  # windows of a scene, or entries of an annotation file, share a name
        names.append(name)
        others = [_relative(file, bases) for file in own if file != first]
        rows.append(_row(f"{name}\0{occurrences[name]}", [*texts, *others], [fingerprints[file] for file in own]))
    shared = sorted(file for file, number in owners.items() if number > 1)
    names += [_relative(file, bases) for file in shared]
    shared_rows = [_row(_relative(file, bases), [], [fingerprints[file]]) for file in shared]
    return SplitDigest(_table(rows), _table(shared_rows), names)


def _fingerprints(files: Sequence[Path]) -> dict[Path, Fingerprint]:
    """Return sizes and times of files, with several threads, because network disks have a high latency."""
    chunks = [files[start : start + FILES_A_THREAD] for start in range(0, len(files), FILES_A_THREAD)]
    with ThreadPoolExecutor(16) as pool:
        found = pool.map(lambda chunk: [fingerprint_of([file]) for file in chunk], chunks)
        return dict(zip(files, (fingerprint for fingerprints in found for fingerprint in fingerprints), strict=True))


def _relative(path: Path, bases: Sequence[str]) -> str:
    name = os.path.abspath(path)
    return next((name.removeprefix(base) for base in bases if name.startswith(base)), name)


def _row(name: str, texts: Iterable[str], fingerprints: Sequence[Fingerprint]) -> tuple[int, int, int]:
    sizes, times = ([str(value) for fingerprint in fingerprints for value in fingerprint[part::2]] for part in range(2))
    return _hash([name]), _hash([*texts, "", *sizes]), _hash(times)


def _hash(texts: Iterable[str]) -> int:
    digest = hashlib.blake2b("\0".join(texts).encode(errors="surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "little", signed=True)


def _table(rows: Sequence[tuple[int, int, int]]) -> NDArray[np.int64]:
    return np.array(rows, np.int64).reshape(-1, 3)


def changes(before: SplitDigest, now: SplitDigest) -> str:
    """Describe the changes of a split: "3 images more (a.png, b.png, c.png), 1 changed (d.png)"; empty if none."""
    names = dict(zip([*now.samples[:, NAME].tolist(), *now.shared[:, NAME].tolist()], now.names, strict=True))
    old, new = _by_name(before.samples), _by_name(now.samples)
    more = [names[key] for key in new if key not in old]
    fewer = sum(key not in new for key in old)
    changed, times_only = _differing(old, new)
    found = [f"{len(more):,} more ({listed(more, MOST_NAMES)})"] if more else []
    found += [f"{fewer} fewer"] if fewer else []
    if changed:
        note = "; modification times only" if times_only else ""
        found.append(f"{len(changed)} changed ({listed([names[key] for key in changed], MOST_NAMES)}{note})")
    if found:
        number, _, rest = found[0].partition(" ")
        found[0] = f"{number} image{'' if number == '1' else 's'} {rest}"
    elif [*old] != [*new]:
        found.append("the images have another order")
    shared, _ = _differing(_by_name(before.shared), _by_name(now.shared))
    found += [f"{listed([names[key] for key in shared], MOST_NAMES)} changed"] if shared else []
    return ", ".join(found)


def _by_name(table: NDArray[np.int64]) -> dict[int, list[int]]:
    return {row[NAME]: row for row in table.tolist()}


def _differing(old: Mapping[int, list[int]], new: Mapping[int, list[int]]) -> tuple[list[int], bool]:
    """Return the names with different rows in both, and whether only the times differ."""
    differing = [key for key in new if key in old and old[key] != new[key]]
    return differing, all(old[key][CONTENT] == new[key][CONTENT] for key in differing)

"""Dataset in shards of `segnet shard`: in a folder, a bucket or on a web server.

Each sample is read by its range of bytes when it is needed; nothing is stored on disk. A dataset can be larger than any
disk, and its samples come in the same order, to the same processes and workers, as from files: training gives the same
weights.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from segnet.components import did_you_mean
from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.datasets.json_records import parse_json
from segnet.data.scan.finding import Finding
from segnet.data.shard_index import INDEX, Index, findings_name
from segnet.data.shards import require_webdataset, unpack
from segnet.errors import ConfigError, DataError
from segnet.system.storage import is_local, place, read_file, read_ranges


def _is_sound(finding: Finding, labels: Collection[int]) -> bool:
    """Return True if all values have the right types, and the labels are known."""
    texts = (finding.name, finding.problem, finding.image_hash, finding.mask_hash)
    numbers = (*finding.size, *finding.pixels.values())
    are_texts = all(isinstance(text, str) for text in texts)
    return are_texts and all(type(n) is int and n >= 0 for n in numbers) and set(finding.pixels) <= set(labels)


class Streaming(SegmentationDataset):
    """Samples in shards.

    Args:
        split: one of those that were sharded.
        root: path or URL of the folder: s3://, gs://, https:// or another scheme of fsspec.
        task: "multiclass" or "multilabel", which must be the task of the shards; None: that of the shards.

    Raises:
        ConfigError: a split that was not sharded, a URL of an unknown kind, or another task.
        DataError: the index is missing or damaged.
        MachineError: a package is missing, or the folder cannot be reached.
    """

    classes_from_files = True

    def __init__(self, split: str, root: str, task: str | None = None) -> None:
        require_webdataset()
        self._root = str(Path(os.path.expanduser(root))) if is_local(root) else root
        try:
            text = read_file(self._root, INDEX)
        except DataError as error:
            raise DataError(f"{error}: dataset.root must be the output of `segnet shard`") from None
        index = Index.from_json(text, place(self._root, INDEX))
        if not index.splits.get(split):
            raise ConfigError(f"split={split} is not in {place(self._root, INDEX)}.{did_you_mean(split, index.splits)}")
        if task not in (None, index.classes.task):
            raise ConfigError(
                f"dataset.task={task}, but the masks of {root} are for task={index.classes.task}: use that"
            )
        self._split = split
        self.classes, self.channels = index.classes, index.channels
        self.value_range = index.value_range
        shards = index.splits[split]
        # Arrays rather than lists: reading a list in a worker copies its numbers into that process.
        self._starts = np.concatenate([np.array(shard.offsets[:-1], np.int64) for shard in shards])
        self._ends = np.concatenate([np.array(shard.offsets[1:], np.int64) for shard in shards])
        self._numbers = np.repeat(np.arange(len(shards)), [len(shard.offsets) - 1 for shard in shards])
        self._names = [shard.name for shard in shards]

    def __len__(self) -> int:
        return len(self._starts)

    def load(self, index: int) -> Sample:
        return next(self.load_many([index]))

    def load_many(self, indices: Sequence[int]) -> Iterator[Sample]:
        parts = [self._part(index) for index in indices]
        for index, data in zip(indices, read_ranges(self._root, parts), strict=True):
            yield unpack(data, self._where(index), self.classes, self.channels)

    def files(self, index: int) -> Sequence[Path | str]:
        if not is_local(self._root):
            name, start, end = self._part(index)
            return (f"{name}, bytes {start} to {end}",)
        return Path(self._root, self._names[self._numbers[index]]), f"sample {index}"

    def findings(self) -> Sequence[Finding] | None:
        where = place(self._root, findings_name(self._split))
        records = read_file(self._root, findings_name(self._split))
        try:
            found = [Finding.restored(record) for record in parse_json(records, where)]
            known = {*range(len(self.classes.names)), self.classes.ignore_index}
            if not all(_is_sound(finding, known) for finding in found):
                raise ValueError
        except (ValueError, TypeError, AttributeError, KeyError, IndexError):
            raise DataError(f"{where}: is damaged: copy it again") from None
        if len(found) != len(self):
            raise DataError(
                f"{where}: has {len(found):,} samples, but {INDEX} has {len(self):,}: shard the dataset again"
            )
        return found

    def _part(self, index: int) -> tuple[str, int, int]:
        return self._names[self._numbers[index]], int(self._starts[index]), int(self._ends[index])

    def _where(self, index: int) -> str:
        return f"{place(self._root, self._names[self._numbers[index]])} (sample {index})"

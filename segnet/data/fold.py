"""A fold of a cross-validation: a dataset's samples, divided into train and val by the indices of the held-out ones."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.data.dataset import LazySample, Sample, SegmentationDataset, WrappedDataset
from segnet.data.datasets.notes import Notes
from segnet.data.scan.finding import Finding
from segnet.errors import DataError, counted
from segnet.images.values import ValueRange

FOLD = "fold"  # its name in the spec of a dataset


class JoinedSplits(SegmentationDataset):
    """The samples of several splits of a dataset, one split after the other.

    Args:
        parts: the splits, with the same classes.
    """

    def __init__(self, parts: Sequence[SegmentationDataset]) -> None:
        self._parts = list(parts)
        self._places = [(part, index) for part in parts for index in range(len(part))]
        first = parts[0]
        self.classes, self.channels, self.classes_from_files = first.classes, first.channels, first.classes_from_files
        self.has_value_range, self.value_range = first.has_value_range, first.value_range
        self.notes = Notes()
        for part in parts:
            self.notes.include(part.notes)

    def __len__(self) -> int:
        return len(self._places)

    def load(self, index: int) -> Sample:
        part, place = self._places[index]
        return part.load(place)

    def load_many(self, indices: Sequence[int]) -> Iterator[Sample]:
        part = self._places[indices[0]][0] if indices else self._parts[0]
        if all(self._places[index][0] is part for index in indices):
            return part.load_many([self._places[index][1] for index in indices])
        return map(self.load, indices)

    def open_many(self, indices: Sequence[int]) -> Iterator[Sample | LazySample]:
        part = self._places[indices[0]][0] if indices else self._parts[0]
        if all(self._places[index][0] is part for index in indices):
            return part.open_many([self._places[index][1] for index in indices])
        return chain.from_iterable(part.open_many([place]) for part, place in (self._places[i] for i in indices))

    def findings(self) -> Sequence[Finding] | None:
        found = [part.findings() for part in self._parts]
        return None if any(one is None for one in found) else [finding for one in found for finding in one or ()]

    def files(self, index: int) -> Sequence[Any]:
        part, place = self._places[index]
        return part.files(place)

    def doubt(self, present: Iterable[int]) -> str:
        return self._parts[0].doubt(present)

    def stored_values(self, index: int) -> tuple[NDArray[Any], float]:
        part, place = self._places[index]
        return part.stored_values(place)

    def declared_nodata(self, index: int) -> int:
        part, place = self._places[index]
        return part.declared_nodata(place)

    def nodata_pixels(self, index: int) -> NDArray[np.bool_] | None:
        part, place = self._places[index]
        return part.nodata_pixels(place)

    def take_value_range(self, value_range: ValueRange | None, model: object) -> None:
        for part in self._parts:
            part.take_value_range(value_range, model)
        self.value_range = self._parts[0].value_range

    def advice(
        self, labels: Mapping[int, int], colors: Sequence[tuple[int, int, int]], num_colors: int
    ) -> dict[str, str]:
        return self._parts[0].advice(labels, colors, num_colors)


class Fold(WrappedDataset):
    """A fold of another dataset, as `segnet crossval` makes it. No file is copied.

    Args:
        samples: all samples of the other dataset.
        held_out: indices of the held-out samples.
        split: "train": the samples that are not held out; "val": those that are.

    Raises:
        DataError: fewer samples than the fold was drawn from.
    """

    def __init__(self, samples: SegmentationDataset, held_out: Sequence[int], split: str) -> None:
        super().__init__(samples)
        self.classes_from_files = samples.classes_from_files
        held, everything = set(held_out), range(len(samples))
        if held and max(held) >= len(everything):
            raise DataError(
                f"the fold holds out image {max(held) + 1:,}, but the dataset has {counted(len(everything), 'image')}: "
                "files are missing, or start a new cross-validation"
            )
        self._indices = [index for index in everything if (index in held) == (split == "val")]

    def __len__(self) -> int:
        return len(self._indices)

    def load(self, index: int) -> Sample:
        return self._dataset.load(self._indices[index])

    def load_many(self, indices: Sequence[int]) -> Iterator[Sample]:
        return self._dataset.load_many([self._indices[index] for index in indices])

    def open_many(self, indices: Sequence[int]) -> Iterator[Sample | LazySample]:
        return self._dataset.open_many([self._indices[index] for index in indices])

    def findings(self) -> Sequence[Finding] | None:
        found = self._dataset.findings()
        return None if found is None else [found[index] for index in self._indices]

    def files(self, index: int) -> Sequence[Any]:
        return self._dataset.files(self._indices[index])

    def stored_values(self, index: int) -> tuple[NDArray[Any], float]:
        return self._dataset.stored_values(self._indices[index])

    def declared_nodata(self, index: int) -> int:
        return self._dataset.declared_nodata(self._indices[index])

    def nodata_pixels(self, index: int) -> NDArray[np.bool_] | None:
        return self._dataset.nodata_pixels(self._indices[index])


def base_spec(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """The spec of the dataset whose samples a spec reads: folds share caches and roots with it."""
    base = spec.get("of") if spec.get("name") == FOLD else None
    return base if isinstance(base, Mapping) else spec

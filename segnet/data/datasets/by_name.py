"""Convert a dataset to the class ids of another one: classes are matched by name, never by position.

Annotation files name their classes themselves, and each split has a file of its own: the ids may differ between them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from segnet.classes import Classes
from segnet.data.dataset import Sample, SegmentationDataset, WrappedDataset
from segnet.data.datasets.labels import mask_type
from segnet.data.scan.finding import Finding
from segnet.errors import DataError

UNMATCHED = -1


def with_class_ids(dataset: SegmentationDataset, classes: Classes, split: str) -> SegmentationDataset:
    """Return a dataset with the class ids of `classes`; unchanged if it has them, or its files do not name classes.

    Args:
        split: the dataset's, for errors.

    Raises:
        DataError: they have no class in common but background.
    """
    if not dataset.classes_from_files or dataset.classes == classes:
        return dataset
    shared = set(dataset.classes.names) & set(classes.names)
    if not shared - {"background"} and len(dataset.classes.names) > 1:
        raise DataError(
            f"the {split} split has the classes {', '.join(dataset.classes.names)}, but train has "
            f"{', '.join(classes.names)}: none is the same"
        )
    return ByName(dataset, classes, split)


class ByName(WrappedDataset):
    """Dataset with class ids converted to other ids of classes with the same names.

    Args:
        dataset: where the samples come from.
        classes: what the ids are to mean; it may lack some of the dataset's, if no pixel has them.
        split: the dataset's, for errors.
    """

    classes_from_files = True

    def __init__(self, dataset: SegmentationDataset, classes: Classes, split: str) -> None:
        super().__init__(dataset)
        self.classes, self._split = classes, split
        own = dataset.classes
        self._ids = np.full(max(len(own.names), own.ignore_index + 1), UNMATCHED, np.int32)
        self._ids[own.ignore_index] = classes.ignore_index
        for index, name in enumerate(own.names):
            self._ids[index] = classes.names.index(name) if name in classes.names else UNMATCHED

    def load(self, index: int) -> Sample:
        return self._matched(self._dataset.load(index))

    def load_many(self, indices: Sequence[int]) -> Iterator[Sample]:
        return map(self._matched, self._dataset.load_many(indices))

    def findings(self) -> Sequence[Finding] | None:
        found = self._dataset.findings()
        if found is None or any(UNMATCHED in self._ids[list(finding.pixels)] for finding in found):
            return None  # the samples are read, and the first with an unknown class is refused by name
        return [replace(f, pixels={int(self._ids[label]): n for label, n in f.pixels.items()}) for f in found]

    def _matched(self, sample: Sample) -> Sample:
        ids = self._ids[sample.mask]
        if (ids == UNMATCHED).any():
            name = self._dataset.classes.names[int(sample.mask[ids == UNMATCHED][0])]
            raise DataError(
                f"{sample.name}: has the class '{name}' of the {self._split} split, which train lacks "
                f"({', '.join(self.classes.names)}): choose the classes, or add it to train"
            )
        return Sample(sample.image, ids.astype(mask_type(self.classes)), sample.name)

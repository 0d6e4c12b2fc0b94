"""Classes are matched by name across splits with different orders of classes."""

import numpy as np
import pytest

from segnet.classes import Classes
from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.datasets.by_name import with_class_ids
from segnet.errors import DataError


class Fixed(SegmentationDataset):
    """Return a dataset of one sample with every class and ignored pixels."""

    classes_from_files = True

    def __init__(self, *names: str, ignore_index: int = 255) -> None:
        self.classes = Classes.create(names, ignore_index=ignore_index)

    def __len__(self) -> int:
        return 1

    def load(self, index: int) -> Sample:
        ids = [*range(len(self.classes.names)), self.classes.ignore_index]
        return Sample(np.zeros((1, len(ids), 3), np.uint8), np.array([ids], np.int32), "fixed")


TRAIN = Classes.create(["background", "cat", "dog", "bird"])


def test_classes_are_matched_by_name():
    dataset = with_class_ids(Fixed("background", "dog", "cat"), TRAIN, "val")
    assert dataset.classes == TRAIN
    assert dataset.load(0).mask.tolist() == [[0, 2, 1, 255]]
    assert next(iter(dataset.load_many([0]))).mask.tolist() == [[0, 2, 1, 255]]


def test_another_ignore_index_is_converted_to_that_of_train():
    many = Classes.create([*TRAIN.names, *(f"class{number}" for number in range(300))], ignore_index=304)
    assert with_class_ids(Fixed("dog", "cat"), many, "val").load(0).mask.tolist() == [[2, 1, 304]]
    assert with_class_ids(Fixed("dog", "cat", ignore_index=9), TRAIN, "val").load(0).mask.dtype == np.uint8


def test_equal_or_configured_classes_are_not_converted():
    for dataset in (Fixed(*TRAIN.names), Fixed("a", "b")):
        dataset.classes_from_files = dataset.classes == TRAIN
        assert with_class_ids(dataset, TRAIN, "val") is dataset


def test_a_class_missing_from_train_is_refused_if_a_pixel_has_it():
    with pytest.raises(DataError, match="fixed: has the class 'cow' of the val split, which train lacks"):
        with_class_ids(Fixed("background", "cat", "cow"), TRAIN, "val").load(0)
    with pytest.raises(DataError, match="none is the same"):
        with_class_ids(Fixed("background", "cow", "pig"), TRAIN, "val")

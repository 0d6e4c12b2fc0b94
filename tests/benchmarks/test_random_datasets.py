"""Random datasets: what is written can be read."""

import numpy as np
import pytest
from random_datasets import KINDS, Data, write_data

from segnet.data import build_splits


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_image_is_written_as_it_is_read(kind, tmp_path):
    data = Data(kind, ((50, 90), (3, 2)), 2, 1, 11, ignored=True)
    write_data(data, tmp_path, 0)
    spec = {"name": "folder", "root": str(tmp_path), "class_names": [f"c{label}" for label in range(11)]}
    for channels in {3, KINDS[kind].channels}:
        splits = build_splits({**spec, "channels": channels}, ["train", "val"])
        assert [len(split) for split in splits.values()] == [2, 1]
        first, second = (splits["train"].load(index) for index in range(2))
        assert first.image.shape == (50, 90, channels)
        assert second.mask.shape == (3, 2)
        assert (first.mask[:12] == 255).all()
        assert first.mask[12:].max() <= 10
        assert np.ptp(first.image) > 100

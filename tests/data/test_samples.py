"""Training samples are equal whether files are decoded in part or as a whole."""

import numpy as np
import pytest
import torch
from augmented import transform
from PIL import Image

from segnet.classes import Classes
from segnet.data.dataset import FileDataset, LazySample
from segnet.data.samples import TrainSamples, to_tensors
from segnet.errors import DataError
from segnet.images.partial import LazyPixels

CLASSES = Classes.create(["road", "tree", "sky"], ignore_index=255)


class Whole(FileDataset):
    def open_many(self, indices):
        return self.load_many(indices)


@pytest.fixture
def pairs(tmp_path):
    rng = np.random.default_rng(0)
    found = []
    for number, suffix in enumerate(["jpg", "png", "webp"]):
        pair = tmp_path / f"{number}.{suffix}", tmp_path / f"{number}_mask.png"
        Image.fromarray(rng.integers(0, 256, (90, 120, 3), np.uint8)).save(pair[0])
        Image.fromarray(rng.integers(0, 3, (9, 12), np.uint8).repeat(10, 0).repeat(10, 1)).save(pair[1])
        found.append(pair)
    return found


@pytest.mark.parametrize("options", [{}, {"category_max_ratio": 0.4}, {"scale_range": (2.5, 4.0)}], ids=str)
def test_samples_are_those_of_whole_files(pairs, options):
    augment = transform(**{"crop_size": (48, 64), "scale_range": (0.5, 2.0), **options})
    lazy, whole = (TrainSamples(kind(pairs, CLASSES), augment) for kind in (FileDataset, Whole))
    keys = [(epoch, number) for epoch in range(6) for number in range(3)]
    for one, other in zip(lazy.__getitems__(keys), whole.__getitems__(keys), strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["mask"], other["mask"])
        assert one["name"] == other["name"]


def test_labels_of_a_crop_are_checked(pairs):
    Image.fromarray(np.full((90, 120), 7, np.uint8)).save(pairs[0][1])
    samples = TrainSamples(FileDataset(pairs, CLASSES), transform())
    with pytest.raises(DataError, match=r"0_mask\.png: label 7"):
        samples[0, 0]


def test_the_first_two_files_are_decoded_in_part(pairs):
    opened = list(FileDataset(pairs, CLASSES).open_many(range(3)))
    assert all(isinstance(sample, LazySample) and isinstance(sample.mask, LazyPixels) for sample in opened)
    assert [isinstance(sample.image, LazyPixels) for sample in opened] == [True, True, False]


def test_tensors_have_channels_first(pairs):
    sample = FileDataset(pairs, CLASSES).load(1)
    batch = to_tensors(sample)
    np.testing.assert_array_equal(batch["image"].numpy(), sample.image.transpose(2, 0, 1))
    np.testing.assert_array_equal(batch["mask"].numpy(), sample.mask)

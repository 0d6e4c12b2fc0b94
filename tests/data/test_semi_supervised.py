"""Batches of labeled and unlabeled images: content, order, and independence of workers, processes and resuming."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from loaders import epochs
from photos import write_photos

from segnet.config import ConsistencyConfig, DataConfig
from segnet.data.datamodule import SegmentationDataModule, train_transform
from segnet.data.datasets.shapes import Shapes
from segnet.data.semi_supervised import PADDED, UnlabeledKey, UnlabeledStream, UnlabeledViews, weak_options
from segnet.data.unlabeled import UnlabeledImages

SHAPES = {"name": "shapes", "num_train": 10, "num_val": 3, "size": [40, 32]}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = write_photos(tmp_path_factory.mktemp("unlabeled") / "photos", 7)
    return UnlabeledImages([str(folder)], Shapes("train", **{key: SHAPES[key] for key in ("num_train", "size")}))


def module(photos, rank=0, num_processes=1, unlabeled=2, **options):
    data = DataConfig(**{"batch_size": 3, "crop_size": [24, 28], "num_workers": 0, **options})
    stream = UnlabeledStream(photos, ConsistencyConfig(batch_size=unlabeled))
    found = SegmentationDataModule(SHAPES, data, (0.2, 0.4, 0.6), 0, unlabeled=stream)
    found.trainer = SimpleNamespace(global_rank=rank, world_size=num_processes)
    return found


def same(one, other):
    return len(one) == len(other) and all(
        a["name"] == b["name"]
        and all(torch.equal(a[key], b[key]) for key in ("image", "mask"))
        and all(torch.equal(a["unlabeled"][key], b["unlabeled"][key]) for key in a["unlabeled"])
        for a, b in zip(one, other, strict=True)
    )


def stream(batches):
    """The names of the unlabeled images, in order."""
    return [name for batch in batches for name in batch["name"][len(batch["mask"]) :]]


def test_a_batch_has_labeled_images_and_views_of_unlabeled_ones(photos):
    batches = epochs(module(photos), range(1))
    assert len(batches) == 3
    for batch in batches:
        assert batch["image"].shape == (3, 3, 24, 28)
        views = batch["unlabeled"]
        assert {key: (value.dtype, tuple(value.shape)) for key, value in views.items()} == {
            "weak": (torch.uint8, (2, 3, 24, 28)),
            "strong": (torch.uint8, (2, 2, 3, 24, 28)),
            "is_image": (torch.bool, (2, 24, 28)),
            "boxes": (torch.int64, (2, 2, 4)),
        }
        assert not torch.equal(views["strong"][:, 0], views["strong"][:, 1])


def test_labeled_images_are_those_of_a_training_without_unlabeled_ones(photos):
    data = DataConfig(batch_size=3, crop_size=[24, 28], num_workers=0)
    alone = epochs(SegmentationDataModule(SHAPES, data, (0.2, 0.4, 0.6), 0))
    both = epochs(module(photos))
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(alone, both, strict=True))


def test_the_stream_shows_every_image_once_before_any_comes_again(photos):
    names = stream(epochs(module(photos), range(4)))  # 4 epochs of 3 batches of 2
    assert len(names) == 24
    for start in (0, 7, 14):
        assert len(set(names[start : start + 7])) == 7
    assert names[:7] != names[7:14]


def test_padding_is_no_image_and_has_the_mean_color(photos):
    for batch in epochs(module(photos, crop_size=[100, 100]), range(1)):
        views = batch["unlabeled"]
        padded = ~views["is_image"]
        assert 0.3 < padded.float().mean() < 1
        assert (views["weak"].permute(0, 2, 3, 1)[padded] == torch.tensor([51, 102, 153])).all()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_do_not_depend_on_workers_or_resuming(photos, num_workers):
    whole = epochs(module(photos))
    assert same(whole, epochs(module(photos, num_workers=num_workers)))
    resumed = module(photos, num_workers=num_workers)
    resumed.resume(epoch=1, batches=2)
    assert same(list(resumed.train_dataloader()), whole[5:])


def test_two_processes_see_the_images_of_one_with_twice_the_batch(photos):
    one = epochs(module(photos, batch_size=4, unlabeled=4))
    two = [epochs(module(photos, rank, 2, batch_size=2, unlabeled=2)) for rank in range(2)]
    for whole, *parts in zip(one, *two, strict=True):
        for key in ("weak", "strong", "boxes"):
            joined = torch.stack([part["unlabeled"][key] for part in parts], 1).flatten(0, 1)
            assert torch.equal(joined, whole["unlabeled"][key])


def test_a_cache_changes_nothing(photos):
    assert same(epochs(module(photos)), epochs(module(photos, cache="memory")))


def test_images_of_more_channels_get_views_too():
    floats = SimpleNamespace(
        load_many=lambda numbers: [
            SimpleNamespace(image=np.full((40, 32, 5), 3.0, np.float32), mask=np.zeros((40, 32), np.uint8), name="a")
            for _ in numbers
        ]
    )
    data = DataConfig(batch_size=1, crop_size=[24, 28])
    weak = train_transform(weak_options(data), (0.5,) * 5, PADDED, 0)
    [views] = UnlabeledViews(floats, weak, ConsistencyConfig(), 0)([UnlabeledKey(0, 0)])
    assert (views["strong"].dtype, views["strong"].shape) == (torch.float32, (2, 5, 24, 28))

"""Data loaders: samples and their order, for any number of workers and processes."""

import cv2
import numpy as np
import pytest
import torch
from loaders import SHAPES, as_rank, epochs, module, names, same
from PIL import Image

from segnet.config import DataConfig
from segnet.data import datamodule
from segnet.data.datamodule import SegmentationDataModule
from segnet.errors import ConfigError, DataError

# Training batches


def test_training_batches_have_the_crop_size_and_compact_dtypes():
    batches = epochs(module(), range(1))
    assert len(batches) == 3  # the tenth image does not fill a batch
    for batch in batches:
        assert (batch["image"].dtype, batch["image"].shape) == (torch.uint8, (3, 3, 24, 28))
        assert (batch["mask"].dtype, batch["mask"].shape) == (torch.uint8, (3, 24, 28))
    assert len(set(names(batches))) == 9


def test_batches_are_the_same_for_any_number_of_workers():
    alone = epochs(module(num_workers=0))
    assert len(alone) == 6
    assert same(alone, epochs(module(num_workers=2)))


def test_each_epoch_has_its_own_order_and_augmentations():
    first, second = epochs(module(), range(1)), epochs(module(), range(1, 2))
    assert names(first) != names(second)
    images = [
        {n: i for b in batches for n, i in zip(b["name"], b["image"], strict=True)} for batches in (first, second)
    ]
    common = images[0].keys() & images[1].keys()
    assert len(common) >= 8
    assert not any(torch.equal(images[0][name], images[1][name]) for name in common)


def test_an_epoch_does_not_depend_on_earlier_epochs():
    """Resuming needs this: epoch 1 does not depend on epoch 0."""
    assert same(epochs(module())[3:], epochs(module(), range(1, 2)))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_loader_continues_with_the_next_batch(num_workers):
    resumed = module(num_workers=num_workers)
    resumed.resume(epoch=1, batches=2)
    assert same(list(resumed.train_dataloader()), epochs(module(), range(1, 2))[2:])


def test_batches_depend_on_the_seed():
    assert not same(epochs(module(seed=0), range(1)), epochs(module(seed=1), range(1)))
    assert same(epochs(module(seed=1), range(1)), epochs(module(seed=1), range(1)))


def test_processes_train_on_different_samples():
    seen = [names(epochs(as_rank(module(batch_size=1), rank, 2), range(1))) for rank in range(2)]
    assert [len(share) for share in seen] == [5, 5]
    assert not set(seen[0]) & set(seen[1])


def test_padding_has_the_mean_color_and_ignore_index():
    batches = epochs(module(crop_size=[100, 100], color_jitter=0.0), range(1))
    for batch in batches:
        padded = batch["mask"] == 255
        assert 0.3 < padded.float().mean() < 1
        colors = batch["image"].permute(0, 2, 3, 1)[padded]
        assert (colors == torch.tensor([51, 102, 153])).all()


# Caches


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_cache_does_not_change_batches(tmp_path, monkeypatch, folder_spec, kind, num_workers):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    plain = module(folder_spec)
    for _ in range(2):  # the second run finds what the first kept on disk
        data = module(folder_spec, cache=kind, num_workers=num_workers)
        data.check()
        assert same(epochs(data, range(3)), epochs(plain, range(3)))
        for _ in range(2):
            assert same(list(data.val_dataloader()), list(plain.val_dataloader()))


def test_the_cache_serves_training_and_validation_after_the_scan(folder_spec, monkeypatch):
    data = module(folder_spec, cache="memory")
    data.check()
    monkeypatch.setattr("segnet.data.dataset.read_bands", None)
    assert len(epochs(data, range(3))) == 3
    assert len(list(data.val_dataloader())) == 4


def test_an_unknown_cache_is_refused_before_the_first_step():
    with pytest.raises(ConfigError, match=r"data\.cache=ram is unknown"):
        module(cache="ram", check=False).check()


# Evaluation


@pytest.mark.parametrize(("split", "length"), [("train", 10), ("val", 7), ("test", 3)])
def test_evaluation_yields_every_whole_image_once_in_order(split, length):
    data = module()
    batches = list(data.evaluation_dataloader(split))
    assert names(batches) == [f"shapes/{split}/{index}" for index in range(length)]
    for index, batch in enumerate(batches):
        sample = data.split(split).load(index)
        np.testing.assert_array_equal(batch["image"][0].permute(1, 2, 0), sample.image)
        np.testing.assert_array_equal(batch["mask"][0], sample.mask)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("num_processes", [2, 3])
def test_processes_divide_an_odd_number_of_images_without_repetition(num_processes, num_workers):
    shares = [
        names(list(as_rank(module(num_workers=num_workers), rank, num_processes).val_dataloader()))
        for rank in range(num_processes)
    ]
    assert sorted(name for share in shares for name in share) == [f"shapes/val/{index}" for index in range(7)]


def test_val_and_test_loaders_yield_their_splits():
    data = module()
    assert names(list(data.val_dataloader()))[0] == "shapes/val/0"
    assert names(list(data.test_dataloader()))[0] == "shapes/test/0"


# Checks before the first step


def test_fewer_images_than_a_batch_are_refused():
    module(batch_size=10).check()
    with pytest.raises(DataError, match="has 10 images, fewer than one batch of 11"):
        module(batch_size=11).check()


def test_fewer_images_than_a_batch_per_process_are_refused():
    module(batch_size=5).check(num_processes=2)
    with pytest.raises(DataError, match="fewer than one batch of 12"):
        module(batch_size=6).check(num_processes=2)


def test_fewer_val_images_than_processes_are_refused():
    module({**SHAPES, "num_val": 2}, batch_size=1).check(num_processes=2)
    with pytest.raises(DataError, match="val split has 2 images, fewer than the 3 processes"):
        module({**SHAPES, "num_val": 2}, batch_size=1).check(num_processes=3)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_size_below_1_is_refused(batch_size):
    with pytest.raises(ConfigError, match=rf"data\.batch_size={batch_size}"):
        module(batch_size=batch_size)


def test_unknown_dataset_or_option_is_refused():
    with pytest.raises(ConfigError, match=r"dataset\.name=shape is unknown.* Did you mean 'shapes'"):
        module({"name": "shape"})
    with pytest.raises(ConfigError, match=r"dataset\.num_trian is not an option"):
        module({"name": "shapes", "num_trian": 3})


@pytest.fixture
def folder_spec(tmp_path, write_pairs):
    for split in ("train", "val"):
        write_pairs(tmp_path / "images" / split, tmp_path / "masks" / split, "abcd")
    return {"name": "folder", "root": str(tmp_path), "class_names": ["road", "tree", "sky"]}


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_wrong_label_is_detected_before_the_first_step(tmp_path, folder_spec, split):
    module(folder_spec).check()
    wrong = tmp_path / "masks" / split / "c.png"
    Image.fromarray(np.full((6, 8), 37, np.uint8)).save(wrong)
    with pytest.raises(DataError, match=r"label 37 \(48 pixels\)") as caught:
        module(folder_spec).check()
    assert str(wrong) in str(caught.value)
    module(folder_spec, check=False).check()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_unreadable_image_is_a_one_line_error_when_its_batch_is_loaded(tmp_path, folder_spec, num_workers):
    damaged = tmp_path / "images" / "train" / "b.png"
    damaged.write_bytes(b"")
    data = module(folder_spec, batch_size=4, check=False, num_workers=num_workers)
    with pytest.raises(DataError) as caught:
        list(data.train_dataloader())
    assert str(caught.value) == f"{damaged}: is empty (0 bytes)"


def test_the_datamodule_has_the_dataset_s_classes(folder_spec):
    assert module(folder_spec).classes.names == ("road", "tree", "sky")


def test_masks_of_300_classes_are_int32(tmp_path, folder_spec):
    for name in "abcd":
        ids = np.random.default_rng(0).integers(0, 300, (6, 8)).astype(np.uint16)
        Image.fromarray(ids).save(tmp_path / "masks" / "train" / f"{name}.png")
    spec = {**folder_spec, "class_names": [f"class {number}" for number in range(300)], "ignore_index": 65535}
    (batch,) = epochs(module(spec), range(1))
    assert batch["mask"].dtype == torch.int32
    assert set(batch["mask"].unique().tolist()) <= {*range(300), 65535}
    assert batch["mask"][batch["mask"] != 65535].max() > 255


def test_a_wrong_number_of_image_channels_is_refused(tmp_path, write_pairs):
    write_pairs(tmp_path / "images", tmp_path / "masks", "abcdef")
    spec = {"name": "folder", "root": str(tmp_path), "class_names": ["a", "b", "c"], "channels": 1}
    with pytest.raises(ConfigError, match=r"images have 1 channels, but the model takes 3: set dataset\.channels and"):
        module(spec).check()
    data = DataConfig(batch_size=3, crop_size=[24, 28], num_workers=0, color_jitter=0)
    gray = SegmentationDataModule(spec, data, [0.5], seed=0)
    assert next(iter(gray.train_dataloader()))["image"].shape == (3, 1, 24, 28)
    assert next(iter(gray.val_dataloader()))["image"].shape == (1, 1, 6, 8)


def test_workers_reuse_freed_memory(monkeypatch):
    """Reading an image is otherwise as slow as decoding it twice."""
    calls = []
    monkeypatch.setattr(datamodule, "keep_freed_memory", lambda *sizes: calls.append(sizes))
    monkeypatch.setattr(datamodule, "shield_worker", lambda: None)
    threads = cv2.getNumThreads()
    try:
        datamodule._prepare_worker(0)
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(threads)
    assert calls == [(2**25, 2**28)]

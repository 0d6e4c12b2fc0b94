"""A dataset in shards equals its source, sample by sample, in every kind of storage."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from range_server import serving
from tiny import OVERLAPPING

from segnet.components import build
from segnet.config import DataConfig
from segnet.data import DATASETS
from segnet.data.datamodule import SegmentationDataModule
from segnet.data.datasets.streaming import Streaming
from segnet.data.scan import scan as scan_module
from segnet.data.scan.scan import ScanCache, scan_split
from segnet.errors import ConfigError, DataError, MachineError
from segnet.system import storage
from segnet.verb_config import ShardConfig
from segnet.workflows.shard import write_shards

pytest.importorskip("webdataset", reason="webdataset is an optional package, and not installed")

NAMES = ["road", "tree", "sky"]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(storage, "PAUSES", (0.0,))


@pytest.fixture
def source(tmp_path, write_pairs):
    """Spec of a dataset of 13 train and 5 val images, of other sizes."""
    folder = tmp_path / "source"
    for split, names, size in (("train", "abcdefghijklm", (40, 36)), ("val", "nopqr", (30, 50))):
        write_pairs(folder / "images" / split, folder / "masks" / split, names, size=size)
    Image.open(folder / "images/train/c.png").save(folder / "images/train/c.jpg")
    (folder / "images/train/c.png").unlink()
    return {"name": "folder", "root": str(folder), "class_names": NAMES}


@pytest.fixture
def shards(source, tmp_path):
    folder = tmp_path / "shards"
    write_shards(ShardConfig(dataset=source, output=str(folder), images_per_shard=4))
    return folder


def dataset(spec, split="train"):
    return build("dataset", DATASETS, spec, split=split)


def module(spec, **options):
    data = DataConfig(**{"batch_size": 2, "crop_size": [24, 28], "num_workers": 0, **options})
    return SegmentationDataModule(spec, data, (0.2, 0.4, 0.6), seed=3)


def epoch_of(spec, rank=0, num_processes=1, epoch=1, **options):
    """Return the training batches of a process."""
    data = module(spec, **options)
    data.trainer = SimpleNamespace(global_rank=rank, world_size=num_processes)
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def same_batches(one, other):
    return len(one) == len(other) > 0 and all(
        a["name"] == b["name"] and torch.equal(a["image"], b["image"]) and torch.equal(a["mask"], b["mask"])
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("split", ["train", "val"])
def test_samples_equal_those_of_the_source_in_the_same_order(source, shards, split):
    theirs, ours = dataset(source, split), Streaming(split, str(shards))
    assert (len(ours), ours.classes, ours.channels) == (len(theirs), theirs.classes, theirs.channels)
    for index in range(len(theirs)):
        one, other = theirs.load(index), ours.load(index)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.mask, other.mask)
        assert (one.name, one.mask.dtype) == (other.name, other.mask.dtype)


def test_several_samples_are_read_in_the_requested_order(shards):
    data = Streaming("train", str(shards))
    asked = [12, 0, 5, 5, 3]
    assert [sample.name for sample in data.load_many(asked)] == [data.load(index).name for index in asked]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("num_processes", [1, 2])
def test_batches_equal_those_of_files_for_any_processes_and_workers(source, shards, num_processes, num_workers):
    streamed = {"name": "streaming", "root": str(shards)}
    shares = []
    for rank in range(num_processes):
        batches = epoch_of(streamed, rank, num_processes, num_workers=num_workers)
        assert same_batches(batches, epoch_of(source, rank, num_processes))
        shares += [name for batch in batches for name in batch["name"]]
    assert len(shares) == len(set(shares)) == 12  # each once; the thirteenth makes no batch


@pytest.mark.parametrize("num_workers", [0, 2])
def test_shards_are_read_from_a_web_server(source, shards, num_workers):
    """Workers are forked after this process has read from the server."""
    with serving(shards) as url:
        streamed = {"name": "streaming", "root": url}
        assert Streaming("val", url).load(0).image.shape == (30, 50, 3)
        assert same_batches(epoch_of(streamed, num_workers=num_workers), epoch_of(source))


def test_a_resumed_run_continues_with_the_next_batch(shards):
    streamed = {"name": "streaming", "root": str(shards)}
    data = module(streamed)
    data.resume(epoch=1, batches=4)
    assert same_batches(list(data.train_dataloader()), epoch_of(streamed)[4:])


# Findings


@pytest.mark.parametrize("split", ["train", "val"])
def test_stored_findings_equal_those_of_a_scan(source, shards, split):
    ours = Streaming(split, str(shards))
    assert ours.findings() == scan_split(ours, split).findings == scan_split(dataset(source, split), split).findings


def test_training_reads_no_sample_before_its_first_step(shards, monkeypatch):
    monkeypatch.setattr(scan_module, "scan_sample", None)
    data = module({"name": "streaming", "root": str(shards)})
    data.check()
    assert data.report("train").pixels.total() == 13 * 40 * 36


def test_a_scan_of_shards_is_cached_until_a_shard_changes(shards, tmp_path, monkeypatch):
    data = Streaming("val", str(shards))
    first = scan_split(data, "val", ScanCache({}, data.classes, tmp_path / "cache"))
    scan_sample = scan_module.scan_sample
    monkeypatch.setattr(scan_module, "scan_sample", None)
    assert scan_split(data, "val", ScanCache({}, data.classes, tmp_path / "cache")) == first
    monkeypatch.setattr(scan_module, "scan_sample", scan_sample)
    shard = shards / "val-000000.tar"
    shard.write_bytes(shard.read_bytes().replace(b"IDAT", b"IDAX"))
    found = scan_split(data, "val", ScanCache({}, data.classes, tmp_path / "cache")).findings
    named = [finding.problem.partition(": ")[0] for finding in found if finding.problem]
    assert named == [f"{shard} (sample {index})" for index in range(4)]


@pytest.mark.parametrize("content", ["[]", "[1]", "{", '[["a"]]'])
def test_damaged_findings_are_refused(shards, content):
    (shards / "train-findings.json").write_text(content)
    with pytest.raises(
        DataError, match=r"shards/train-findings\.json: (is damaged|has 0 samples, but index.json has 13)"
    ):
        module({"name": "streaming", "root": str(shards)}).check()


# What cannot be


def test_a_folder_without_index_is_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"index\.json: no such file: dataset\.root must be the output of `segnet shard`"
    ):
        Streaming("train", str(tmp_path))
    with serving(tmp_path) as url, pytest.raises(DataError, match=rf"^{url}/index\.json: no such file"):
        Streaming("train", url)


def test_a_split_that_was_not_sharded_is_refused(shards):
    with pytest.raises(ConfigError, match=r"split=test is not in .*index\.json\. Choose from: train, val\."):
        Streaming("test", str(shards))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_damaged_shard_is_named_with_the_sample(shards, num_workers):
    index = json.loads((shards / "index.json").read_text())
    (start, end) = index["splits"]["train"][1]["offsets"][2:4]
    shard = shards / "train-000001.tar"
    data = bytearray(shard.read_bytes())
    data[start + 512 : end - 512] = bytes(end - start - 1024)
    shard.write_bytes(data)
    streamed = {"name": "streaming", "root": str(shards)}
    with pytest.raises(DataError) as caught:
        epoch_of(streamed, batch_size=13, num_workers=num_workers)
    assert str(caught.value).startswith(f"{shard} (sample 6): is damaged")
    assert "\n" not in str(caught.value)


def test_a_truncated_or_missing_shard_is_named(shards):
    data = Streaming("train", str(shards))
    shard = shards / "train-000002.tar"
    shard.write_bytes(shard.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"train-000002\.tar: truncated"):
        data.load(9)
    shard.unlink()
    with pytest.raises(DataError, match=r"train-000002\.tar: no such file"):
        data.load(9)


def test_a_missing_webdataset_package_is_named(shards, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "webdataset"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(MachineError, match=r'webdataset, which is not installed: pip install "segnet\[streaming\]"'):
        Streaming("train", str(shards))


def test_shards_of_several_classes_per_pixel_equal_their_source(tmp_path):
    folder = tmp_path / "planes"
    write_shards(ShardConfig(dataset=OVERLAPPING, output=str(folder)))
    spec = {"name": "streaming", "root": str(folder), "task": "multilabel"}
    there, here = dataset(spec), dataset(OVERLAPPING)
    assert there.classes == here.classes
    for index in range(len(here)):
        np.testing.assert_array_equal(there.load(index).mask, here.load(index).mask)
    with pytest.raises(ConfigError, match=r"dataset\.task=multiclass, but .*planes are for task=multilabel"):
        dataset({**spec, "task": "multiclass"})
    ours, theirs = (module(one) for one in (spec, OVERLAPPING))
    for found, expected in zip(ours.train_dataloader(), theirs.train_dataloader(), strict=True):
        assert torch.equal(found["mask"], expected["mask"])
        assert torch.equal(found["image"], expected["image"])

"""The digest of a dataset detects changes of its files, for every reader, without opening them."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest
import torch
from range_server import serving
from small_datasets import LAYOUTS, write

from segnet.data import DATASETS, build_dataset
from segnet.data.digest import SplitDigest, changes, split_digest
from segnet.system import storage
from segnet.verb_config import ShardConfig
from segnet.workflows.shard import write_shards


def written(layout, root):
    package = LAYOUTS[layout][1]
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is an optional package, and not installed")
    return write(layout, root)


def digest(spec, split="train"):
    return split_digest(build_dataset(spec, split), [spec["root"]])


def touch(path, seconds=7):
    stamp = path.stat()
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 10**9 * seconds))


def test_every_file_based_reader_is_tested():
    specs = {name.partition("_")[0] if name.startswith("roboflow") else name for name in LAYOUTS}
    assert specs == set(DATASETS) - {"shapes"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_change_of_any_file_of_a_sample_is_detected_by_name(layout, tmp_path):
    spec = written(layout, tmp_path)
    before = digest(spec)
    files = [file for file in build_dataset(spec, "train").files(0) if isinstance(file, Path)]
    assert changes(before, digest(spec)) == ""
    for file in files:
        now = digest(spec)
        touch(file)
        text = changes(now, digest(spec))
        assert " changed" in text
        assert any(other.stem in text for other in files)
    assert changes(before, digest(spec))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_copy_with_equal_times_has_the_same_digest(layout, tmp_path):
    spec = written(layout, tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    there = {**spec, "root": spec["root"].replace(f"{tmp_path / 'here'}", f"{tmp_path / 'there'}")}
    assert changes(digest(spec), digest(there)) == ""


def test_added_removed_and_changed_images_are_counted_and_named(tmp_path):
    spec = write("folder", tmp_path)
    before = digest(spec)
    for kind in ("images", "masks"):
        folder = tmp_path / kind / "train"
        for name in "xyz":
            shutil.copy(folder / "a.png", folder / f"{name}.png")
        (folder / "b.png").unlink()
    touch(tmp_path / "masks/train/c.png")
    assert changes(before, digest(spec)) == (
        "3 images more (images/train/x.png, images/train/y.png, images/train/z.png), 1 fewer, "
        "1 changed (images/train/c.png; modification times only)"
    )
    (tmp_path / "masks/train/c.png").write_bytes(b"longer" * 999)
    assert changes(before, digest(spec)).endswith("1 fewer, 1 changed (images/train/c.png)")


def test_an_added_label_file_changes_its_image(tmp_path):
    spec = write("yolo", tmp_path)
    (tmp_path / "labels/train/a.txt").unlink()
    before = digest(spec)
    write("yolo", tmp_path / "again")
    shutil.copy2(tmp_path / "again/labels/train/a.txt", tmp_path / "labels/train/a.txt")
    assert changes(before, digest(spec)) == "1 image changed (images/train/a.jpg)"


def test_a_changed_shared_annotation_file_is_named(tmp_path):
    spec = written("coco_instances", tmp_path)
    before = digest(spec)
    touch(tmp_path / "annotations/instances_train2017.json")
    assert changes(before, digest(spec)) == "annotations/instances_train2017.json changed"
    assert changes(digest(spec, "val"), digest(spec, "val")) == ""


def test_a_changed_order_of_images_is_detected(tmp_path):
    spec = write("camvid", tmp_path)
    before = digest(spec)
    lines = (tmp_path / "train.txt").read_text().splitlines()
    (tmp_path / "train.txt").write_text("\n".join(reversed(lines)))
    assert changes(before, digest(spec)) == "the images have another order"


def test_several_roots_can_contain_files_of_one_name(tmp_path):
    spec = write("folder", tmp_path / "a")
    write("folder", tmp_path / "b")
    both = {**spec, "root": [str(tmp_path / "a"), str(tmp_path / "b")]}
    before = split_digest(build_dataset(both, "train"), both["root"])
    touch(tmp_path / "b/images/train/a.png")
    now = split_digest(build_dataset(both, "train"), both["root"])
    assert changes(before, now) == "1 image changed (images/train/a.png; modification times only)"


def test_changes_of_remote_shards_are_detected_by_their_index(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "PAUSES", (0.0,))
    spec = written("streaming", tmp_path)
    with serving(tmp_path / "shards") as url:
        remote = {**spec, "root": url}
        before = digest(remote)
        assert changes(before, digest(remote)) == ""
        shutil.rmtree(tmp_path / "shards")
        for kind in ("images", "masks"):
            shutil.copy(tmp_path / "source" / kind / "train/a.png", tmp_path / "source" / kind / "train/z.png")
        source = {"name": "folder", "root": str(tmp_path / "source"), "class_names": ["background", "cat"]}
        write_shards(ShardConfig(dataset=source, output=spec["root"], images_per_shard=2))
        assert changes(before, digest(remote)).startswith("1 image more (train-000001.tar, bytes ")


def test_a_dataset_without_files_has_a_digest_of_its_length():
    before, now = (
        split_digest(build_dataset({"name": "shapes", "num_train": number, "size": [16, 16]}, "train"))
        for number in (3, 5)
    )
    assert changes(before, now).startswith("2 images more")
    assert changes(now, before) == "2 images fewer"


def test_a_stored_digest_contains_no_names_and_compares_equal(tmp_path):
    spec = write("folder", tmp_path)
    before = digest(spec)
    state = before.to_state()
    assert {key: (value.dtype, value.shape) for key, value in state.items()} == {
        "samples": (torch.int64, (3, 3)),
        "shared": (torch.int64, (0, 3)),
    }
    touch(tmp_path / "images/train/a.png")
    assert "a.png" in changes(SplitDigest.from_state(state), digest(spec))


@pytest.mark.parametrize(
    "state", [None, 3, {}, {"samples": 1, "shared": 2}, {"samples": torch.zeros(3, 3), "shared": torch.zeros(0, 3)}]
)
def test_an_invalid_digest_is_refused(state):
    with pytest.raises(ValueError, match="is not a digest"):
        SplitDigest.from_state(state)

"""`segnet shard` writes a dataset atomically as shards."""

import errno
import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
from PIL import Image
from warm_python import WARM_PYTHON

from segnet import cli
from segnet.data.shard_index import Index
from segnet.errors import ConfigError, DataError, MachineError
from segnet.training.run_lock import in_use
from segnet.verb_config import ShardConfig
from segnet.workflows.shard import write_shards

pytest.importorskip("webdataset", reason="webdataset is an optional package, and not installed")

SHAPES = {"name": "shapes", "num_train": 7, "num_val": 3, "num_test": 2, "size": [20, 24]}


def config(output, dataset=SHAPES, **changes):
    return ShardConfig(dataset=dataset, output=str(output), **changes)


@pytest.fixture
def folder_spec(tmp_path):
    """Write four images and masks of classes 0 to 2; return the dataset's spec."""
    for number in range(4):
        for kind, shape, top in (("images", (8, 9, 3), 256), ("masks", (8, 9), 3)):
            path = tmp_path / "data" / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(number).integers(0, top, shape, np.uint8)).save(path)
    return {"name": "folder", "root": str(tmp_path / "data"), "class_names": ["a", "b", "c"]}


def test_the_folder_contains_shards_findings_and_index(tmp_path):
    index = write_shards(config(tmp_path / "out", images_per_shard=3))
    files = ["index.json", "train-000000.tar", "train-000001.tar", "train-000002.tar", "train-findings.json"]
    assert sorted(os.listdir(tmp_path / "out")) == [*files, "val-000000.tar", "val-findings.json"]
    assert Index.from_json((tmp_path / "out" / "index.json").read_bytes(), "") == index
    assert [len(shard.offsets) - 1 for shard in index.splits["train"]] == [3, 3, 1]
    assert os.listdir(tmp_path) == ["out"]


def test_only_the_selected_splits_are_written(tmp_path):
    index = write_shards(config(tmp_path / "out", splits=["test", "test"]))
    assert list(index.splits) == ["test"]
    assert json.loads((tmp_path / "out" / "test-findings.json").read_text())[1][0] == "shapes/test/1"


def test_the_same_dataset_gives_identical_shards(tmp_path):
    for name in ("one", "two"):
        write_shards(config(tmp_path / name))
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_an_existing_output_is_refused_and_kept(tmp_path, kind):
    output = tmp_path / "out"
    if kind == "folder":
        output.mkdir()
    elif kind == "file":
        output.write_text("mine")
    else:
        output.symlink_to("nowhere")
    with pytest.raises(ConfigError, match=r"out exists already: choose a new folder, or remove it"):
        write_shards(config(output))
    assert os.listdir(tmp_path) == ["out"]


def test_an_unreadable_sample_leaves_nothing(tmp_path, folder_spec):
    wrong = tmp_path / "data" / "masks" / "2.png"
    wrong.write_bytes(b"")
    with pytest.raises(DataError, match=r"masks/2\.png: is empty"):
        write_shards(config(tmp_path / "out", folder_spec))
    assert os.listdir(tmp_path) == ["data"]


def test_doubtful_masks_are_refused_before_packing_completes(tmp_path, folder_spec):
    for path in (tmp_path / "data" / "masks").iterdir():
        Image.fromarray(np.full((8, 9), 255, np.uint8)).save(path)
    with pytest.raises(DataError, match=r"the train split has no labeled pixel"):
        write_shards(config(tmp_path / "out", folder_spec))
    assert os.listdir(tmp_path) == ["data"]


def test_a_full_disk_is_a_one_line_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match=r"out: cannot be written \(No space left on device\)"):
        write_shards(config(tmp_path / "out"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": []}, r"splits=\[\] must be some of train, val, test"),
        ({"splits": ["trian"]}, r"splits=\['trian'\] must be some of"),
        ({"images_per_shard": 0}, r"images_per_shard=0 must be 1 or more"),
    ],
)
def test_impossible_shard_options_are_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        write_shards(config(tmp_path / "out", **changes))


def test_the_command_line_shards_inspects_and_shards_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.main([*arguments])
        return caught.value.code

    shapes = ["dataset=shapes", "dataset.num_train=7", "dataset.num_val=3", "dataset.size=[20,24]"]
    assert run("shard", *shapes, "output=out", "images_per_shard=4") == 0
    printed = capsys.readouterr().out
    assert "train: 7 images in 2 shards" in printed
    assert "dataset=streaming dataset.root=out" in printed
    assert run("shard", *shapes, "output=out") == 2
    assert "output=out exists already" in capsys.readouterr().err
    assert run("inspect", "dataset=streaming", "dataset.root=out") == 0
    assert "train: 7 of 7 images usable; 24 x 20 (7)" in capsys.readouterr().out
    assert run("shard", "dataset=streaming", "dataset.root=out", "output=again", "images_per_shard=4") == 0
    assert (tmp_path / "again" / "train-000001.tar").read_bytes() == (
        tmp_path / "out" / "train-000001.tar"
    ).read_bytes()


@pytest.fixture
def packing(tmp_path):
    """Start a process that packs longer than the tests wait; yield it and its temporary folder."""
    options = ["dataset=shapes", "dataset.num_train=100000", "images_per_shard=10", f"output={tmp_path / 'out'}"]
    process = subprocess.Popen(
        [*WARM_PYTHON, "-m", "segnet", "shard", *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not list(tmp_path.glob(".out.*.tmp/*.tar")):
        time.sleep(0.05)
    [folder] = tmp_path.glob(".out.*.tmp")
    yield process, folder
    process.kill()
    process.wait()
    process.stderr.close()


@pytest.mark.parametrize(("signum", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_a_signal_stops_packing_and_leaves_nothing(packing, signum, name, tmp_path):
    process, _ = packing
    process.send_signal(signum)
    _, errors = process.communicate(timeout=600)
    assert (process.returncode, errors) == (128 + signum, f"segnet: {name} while packing\n")
    assert os.listdir(tmp_path) == []


def test_only_leftovers_of_killed_processes_are_removed(packing, tmp_path):
    process, folder = packing
    write_shards(config(tmp_path / "out"))
    assert (folder / "train-000000.tar").exists()
    assert ".lock" not in os.listdir(tmp_path / "out")
    process.kill()
    process.wait()
    while in_use(folder):  # the server of programs ends one a moment after its client
        time.sleep(0.05)
    write_shards(config(tmp_path / "other"))  # another output folder
    assert folder.exists()
    (tmp_path / "out").rename(tmp_path / "before")
    write_shards(config(tmp_path / "out"))
    assert sorted(os.listdir(tmp_path)) == ["before", "other", "out"]

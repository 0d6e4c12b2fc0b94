"""A resumed run logs changes of its dataset; checkpoint=auto skips runs with another dataset or other options."""

import logging
import os
import shutil
from dataclasses import replace

import pytest
import torch
from resumption import configuration
from small_datasets import write

from segnet.config import DataConfig
from segnet.errors import CheckpointError
from segnet.models.checkpoint import read_checkpoint, save_checkpoint
from segnet.training.run_data import STATE_KEY, RunData
from segnet.training.run_folder import checkpoint_to_resume
from segnet.workflows.train import train


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Train one epoch on a folder of files; return the run folder and the dataset's folder."""
    root = tmp_path_factory.mktemp("finished")
    spec = write("folder", root / "data")
    train(config_of(spec, max_epochs=1), root / "runs" / "first")
    return root


def config_of(spec, checkpoint=None, **trainer):
    data = DataConfig(batch_size=1, crop_size=[32, 32], num_workers=0)
    return replace(configuration(trainer=trainer), dataset=spec, data=data, checkpoint=checkpoint, checkpoint_every=1)


@pytest.fixture
def started(finished, tmp_path):
    """Copy the run and its data; return the dataset's spec and last.ckpt."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    spec = {"name": "folder", "root": str(tmp_path / "data"), "class_names": ["background", "cat"]}
    config = tmp_path / "runs/first/config.yaml"
    config.write_text(config.read_text().replace(str(finished), str(tmp_path)))
    return spec, tmp_path / "runs/first/last.ckpt"


def chosen(spec, last, checkpoint, caplog):
    """Return the checkpoint to resume from, and the log lines about the dataset."""
    caplog.set_level(logging.WARNING, "segnet")
    found = checkpoint_to_resume(config_of(spec, str(checkpoint), max_epochs=1), last.parents[1] / "new", RunData(spec))
    return found, [record.getMessage() for record in caplog.records]


def change(last):
    data = last.parents[2] / "data"
    for kind in ("images", "masks"):
        shutil.copy(data / kind / "train/a.png", data / kind / "train/z.png")
    os.utime(data / "masks/val/d.png", (1e9, 1e9))


CHANGED = "train: 1 image more (images/train/z.png); val: 1 image changed (images/val/d.png; modification times only)"


def test_a_named_checkpoint_resumes_and_changes_are_logged_in_one_line(started, caplog):
    spec, last = started
    change(last)
    assert chosen(spec, last, last, caplog) == (last, [f"the run resumes with a changed dataset: {CHANGED}"])


def test_auto_skips_a_run_with_other_files_and_logs_one_line(started, caplog):
    spec, last = started
    change(last)
    found, [line] = chosen(spec, last, "auto", caplog)
    assert found is None
    assert line.startswith("checkpoint=auto: skipped ")
    assert f"the dataset has changed ({CHANGED})" in line


@pytest.mark.parametrize("checkpoint", ["auto", None])
def test_an_unchanged_dataset_is_not_logged(started, checkpoint, caplog):
    spec, last = started
    assert chosen(spec, last, checkpoint or last, caplog) == (last, [])


@pytest.mark.parametrize("checkpoint", ["auto", None])
def test_a_checkpoint_without_a_digest_resumes(started, checkpoint, caplog):
    spec, last = started
    change(last)
    for path in (last.with_name("best.ckpt"), last):
        content = read_checkpoint(path)
        del content[STATE_KEY]
        save_checkpoint(content, path)
    assert chosen(spec, last, checkpoint or last, caplog) == (last, [])


@pytest.mark.parametrize("damage", [3, {}, {"train": {}}, {"train": {"samples": torch.zeros(2)}, "val": []}])
def test_a_damaged_digest_is_refused_and_skipped_by_auto(started, damage, caplog):
    spec, last = started
    save_checkpoint({**read_checkpoint(last), STATE_KEY: damage}, last)
    last.with_name("best.ckpt").unlink()
    with pytest.raises(CheckpointError, match=f"digest of the dataset is damaged.*init_from={last}"):
        chosen(spec, last, last, caplog)
    found, [line] = chosen(spec, last, "auto", caplog)
    assert found is None
    assert "skipped a file" in line


def test_a_moved_dataset_is_logged_only_as_a_changed_option(started, caplog):
    spec, last = started
    shutil.copytree(spec["root"], last.parents[2] / "moved")
    found, [line] = chosen({**spec, "root": str(last.parents[2] / "moved")}, last, last, caplog)
    assert found == last
    assert "changed options: dataset.root=" in line


@pytest.mark.slow
def test_a_run_resumes_within_an_epoch_of_fewer_images_and_keeps_the_new_digest(started, caplog):
    spec, last = started
    folder = last.parents[1] / "cut"
    train(config_of(spec, max_steps=2), folder)
    for kind in ("images", "masks"):
        for name in "bc":
            (last.parents[2] / "data" / kind / "train" / f"{name}.png").unlink()
    path = folder / "last.ckpt"
    train(config_of(spec, str(path), max_steps=4), folder)
    assert "the run resumes with a changed dataset: train: 2 images fewer" in caplog.text
    assert read_checkpoint(path)["global_step"] == 4
    assert RunData(spec).changes_since(read_checkpoint(path), path) == ""

"""Training crops and val splits without a labeled pixel, in real runs of a tiny model."""

import csv
import json
import logging
import math

import numpy as np
import pytest
from PIL import Image
from tiny import CPU, configuration

from segnet.config import DataConfig, EarlyStoppingConfig
from segnet.workflows.train import train

UNCHECKED = DataConfig(batch_size=4, crop_size=[32, 32], num_workers=0, check=False)


@pytest.fixture
def dataset(tmp_path):
    """Return a function that writes a dataset with `num_labeled` labeled masks and returns its spec."""

    def write(num_labeled, *, val_labeled):
        rng = np.random.default_rng(0)
        for split, labeled in (
            ("train", [True] * num_labeled + [False] * (16 - num_labeled)),
            ("val", val_labeled),
        ):
            for kind in ("images", "masks"):
                (tmp_path / "data" / kind / split).mkdir(parents=True)
            for index, has_labels in enumerate(labeled):
                image = rng.integers(0, 256, (48, 40, 3), np.uint8)
                mask = rng.integers(0, 2, (48, 40), np.uint8) if has_labels else np.full((48, 40), 255, np.uint8)
                Image.fromarray(image).save(tmp_path / "data" / "images" / split / f"{index}.png")
                Image.fromarray(mask).save(tmp_path / "data" / "masks" / split / f"{index}.png")
        return {"name": "folder", "root": str(tmp_path / "data"), "class_names": ["a", "b"]}

    return write


def logged(caplog, words):
    return [message for message in caplog.messages if words in message]


@pytest.mark.parametrize(("num_labeled", "warnings"), [(8, 1), (13, 0)])
def test_many_unlabeled_crops_log_one_warning(num_labeled, warnings, dataset, tmp_path, caplog, monkeypatch):
    """Two windows of one epoch each; half of the crops are unlabeled, or 3 of 16, which is below a fifth."""
    monkeypatch.setattr("segnet.training.callbacks.unlabeled.WINDOW_STEPS", 4)
    config = configuration(dataset=dataset(num_labeled, val_labeled=[True]), data=UNCHECKED)
    with caplog.at_level(logging.WARNING, "segnet"):
        train(config, tmp_path / "run")
    found = logged(caplog, "no labeled pixel")
    assert len(found) == warnings
    if found:
        assert found[0].startswith("8 of the 16 training crops of the last 4 steps have no labeled pixel")
        assert "data.crop_size" in found[0]


def test_a_run_shorter_than_a_window_warns_at_its_end(dataset, tmp_path, caplog):
    config = configuration(dataset=dataset(0, val_labeled=[True]), data=UNCHECKED)
    with caplog.at_level(logging.WARNING, "segnet"):
        train(config, tmp_path / "run")
    assert logged(caplog, "32 of the 32 training crops of the last 8 steps")


def test_a_val_split_without_labels_has_no_best_checkpoint_and_the_run_completes(dataset, tmp_path, caplog, capsys):
    config = configuration(
        dataset=dataset(16, val_labeled=[False, False]),
        data=UNCHECKED,
        early_stopping=EarlyStoppingConfig(patience=1),
        trainer={**CPU, "max_epochs": 3},
    )
    with caplog.at_level(logging.WARNING, "segnet"):
        results = train(config, tmp_path / "run")
    assert len(logged(caplog, "no best checkpoint: the val split has no labeled pixel")) == 1
    assert results.checkpoint == tmp_path / "run" / "last.ckpt"
    assert math.isnan(results.scores.miou)
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert "best.ckpt" not in written
    assert {"last.ckpt", "preview.png", "report.html", "results.json"} <= written
    stored = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (stored["miou"], stored["epochs"]) == (None, 3)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert len(lines) == 3
    assert all("val mIoU n/a" in line and "nan" not in line for line in lines)
    # A finished run is only evaluated when it resumes, and still has no best checkpoint.
    again = train(configuration(**{**vars_of(config), "checkpoint": str(results.checkpoint)}), tmp_path / "unused")
    assert again.checkpoint == results.checkpoint
    assert not (tmp_path / "run" / "best.ckpt").exists()


def vars_of(config):
    return {name: getattr(config, name) for name in ("dataset", "data", "early_stopping", "trainer")}


def test_a_validation_without_labels_is_never_the_best(dataset, tmp_path, monkeypatch):
    """Validations of one image; only the first has labels."""
    from segnet.training.task import SegmentationTask

    original = SegmentationTask.validation_step

    def validation_step(self, batch, batch_idx):
        if self.trainer.state.fn == "fit" and self.current_epoch > 0:
            batch["mask"].fill_(255)
        original(self, batch, batch_idx)

    monkeypatch.setattr(SegmentationTask, "validation_step", validation_step)
    config = configuration(dataset=dataset(16, val_labeled=[True]), data=UNCHECKED)
    results = train(config, tmp_path / "run")
    assert results.checkpoint == tmp_path / "run" / "best.ckpt"
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        logged = [float(row["val/miou"]) for row in csv.DictReader(file) if row["val/miou"]]
    assert math.isnan(logged[1])
    assert np.float32(results.scores.miou) == np.float32(logged[0])

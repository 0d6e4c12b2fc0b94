"""Training and evaluation, from a configuration to the files of a run folder, without Hydra."""

import csv
import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from layouts import HEIGHT, WIDTH, write
from PIL import Image
from tiny import CPU, WIDE, components, configuration

from segnet.config import (
    Config,
    ConsistencyConfig,
    DataConfig,
    EarlyStoppingConfig,
    EmaConfig,
    OptimConfig,
    ValidationConfig,
)
from segnet.data.datasets.shapes import Shapes
from segnet.errors import CheckpointError, ConfigError, DataError
from segnet.models.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from segnet.training.specs import complete_specs
from segnet.workflows.train import train


def test_a_run_folder_contains_all_documented_files(run):
    folder, results = run
    assert {path.name for path in folder.iterdir()} == {
        "best.ckpt",
        "last.ckpt",
        "config.yaml",
        "metrics.csv",
        "curves.png",
        "preview.png",
        "results.json",
        "report.html",
    }
    for name in ("curves.png", "preview.png"):
        with Image.open(folder / name) as opened:
            assert np.asarray(opened.convert("L")).std() > 10
    assert results.checkpoint == folder / "best.ckpt"


def test_the_complete_configuration_is_stored(run):
    folder, _ = run
    stored = yaml.safe_load((folder / "config.yaml").read_text())
    sections = {
        "data": DataConfig,
        "optim": OptimConfig,
        "ema": EmaConfig,
        "early_stopping": EarlyStoppingConfig,
        "validation": ValidationConfig,
        "consistency": ConsistencyConfig,
    }
    config = Config(**{**stored, **{name: section(**stored[name]) for name, section in sections.items()}})
    expected = complete_specs(configuration(mean=[0.5] * 3, std=[0.5] * 3))  # the resolved values
    augmentation = {"scale_range": [0.5, 2.0], "flip": 0.5, "color_jitter": 0.4}  # those of a run without a preset
    assert config == replace(expected, data=replace(expected.data, **augmentation))


def test_metrics_csv_contains_loss_learning_rate_and_miou(run):
    folder, _ = run
    with open(folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    rates = [float(row["lr"]) for row in rows if row["lr"]]
    assert len(losses) == 4
    assert np.isfinite(losses).all()
    # after steps 2, 4, 6, 8 of 8: the rates of the 2nd, 4th ... step
    np.testing.assert_allclose(rates, [0.05 * (1 - step / 8) ** 0.9 for step in (1, 3, 5, 7)], rtol=1e-6)
    assert len([row for row in rows if row["val/miou"]]) == 2


def test_results_json_equals_the_returned_results(run):
    folder, results = run
    stored = json.loads((folder / "results.json").read_text())
    assert stored["miou"] == results.scores.miou
    assert stored["num_images"] == 5
    assert stored["steps"] == 8
    assert list(stored["classes"]) == list(results.classes.names)


def test_the_best_validation_miou_equals_that_of_best_ckpt(run):
    folder, results = run
    with open(folder / "metrics.csv", newline="") as file:
        logged = [float(row["val/miou"]) for row in csv.DictReader(file) if row["val/miou"]]
    assert np.float32(results.scores.miou) == np.float32(max(logged))


def test_checkpoints_contain_only_builtins_and_tensors(run):
    folder, _ = run
    for name in ("best.ckpt", "last.ckpt"):
        stored = torch.load(folder / name, weights_only=True)
        assert set(stored["hyper_parameters"]) == {
            *["model", "classes", "loss", "optim", "frozen_stages", "norm_eval", "auxiliary_head"]
        }
        model, classes = load_checkpoint(folder / name)
        assert len(classes.names) == model.decoder.classifier.out_channels


def test_the_same_seed_gives_the_same_weights(tmp_path):
    config = configuration(trainer={**CPU, "max_epochs": 1})
    weights = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        train(config, folder)
        weights.append(read_checkpoint(folder / "last.ckpt")["state_dict"])
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.slow
def test_a_compiled_run_gives_the_same_weights_within_rounding(tmp_path):
    parts = components()
    parts["decoder"]["dropout"] = 0.0  # a compiled model draws other random numbers
    config = configuration(**parts, trainer={**CPU, "max_epochs": 1}, ema=EmaConfig(decay=0.5))
    weights = []
    for folder, compiled in ((tmp_path / "a", False), (tmp_path / "b", True)):
        train(replace(config, compile=compiled), folder)
        weights.append(read_checkpoint(folder / "last.ckpt")["state_dict"])
    assert weights[0].keys() == weights[1].keys()
    for name, expected in weights[0].items():
        torch.testing.assert_close(weights[1][name], expected, rtol=0, atol=3e-3)


def test_a_deterministic_run_gives_the_same_weights_twice(tmp_path):
    config = configuration(trainer={**CPU, "max_epochs": 1}, deterministic=True)
    weights = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        train(config, folder)
        assert torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(False)
        weights.append(read_checkpoint(folder / "last.ckpt")["state_dict"])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_fine_tuning_loads_weights_and_normalization_of_a_checkpoint(run, tmp_path):
    folder, _ = run
    trained = read_checkpoint(folder / "best.ckpt")
    trained["hyper_parameters"]["model"]["mean"] = [0.1, 0.2, 0.3]
    save_checkpoint(trained, tmp_path / "a.ckpt")
    config = configuration(init_from=str(tmp_path / "a.ckpt"), optim=OptimConfig(lr=0.0, weight_decay=0.0))
    train(config, tmp_path / "run")
    tuned = read_checkpoint(tmp_path / "run" / "last.ckpt")
    assert tuned["hyper_parameters"]["model"]["mean"] == [0.1, 0.2, 0.3]
    assert all(
        torch.equal(value, trained["state_dict"][name])
        for name, value in tuned["state_dict"].items()
        if name.endswith("conv.weight")
    )  # a learning rate of 0 keeps the loaded weights
    with pytest.raises(CheckpointError, match="has another architecture"):
        train(replace(config, backbone={**config.backbone, "depths": [1, 1, 1, 2]}), tmp_path / "other")


def test_training_learns(tmp_path):
    """Two colors, two classes: with a broken loss, schedule or label the mIoU would stay near that of one class."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 4)):
        for index in range(count):
            mask = np.zeros((48, 48), np.uint8)
            left, top = rng.integers(4, 20, 2)
            mask[top : top + 24, left : left + 24] = 1
            image = np.where(mask[:, :, None] == 1, (200, 60, 60), (60, 60, 200)) + rng.normal(0, 20, (48, 48, 3))
            for kind, array in (("images", np.clip(image, 0, 255).astype(np.uint8)), ("masks", mask)):
                (tmp_path / kind / split).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(tmp_path / kind / split / f"{index}.png")
    config = configuration(
        dataset={"name": "folder", "root": str(tmp_path), "class_names": ["blue", "red"]},
        data=DataConfig(batch_size=4, crop_size=[48, 48], num_workers=0),
        trainer={**CPU, "max_epochs": 12},
    )
    config.backbone |= WIDE
    assert train(config, tmp_path / "run").scores.miou > 0.85


def test_a_batch_of_one_trains_and_a_run_without_validation_keeps_its_weights(tmp_path):
    config = configuration(data=DataConfig(batch_size=1, crop_size=[32, 32], num_workers=0), calibrate=None)
    config.trainer = {**CPU, "max_steps": 3, "limit_val_batches": 0}
    results = train(config, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["steps"] == 3
    assert np.isfinite(results.scores.pixel_accuracy)
    assert results.checkpoint.read_bytes() == (tmp_path / "last.ckpt").read_bytes()


@pytest.fixture
def pretrained(run, tmp_path):
    """Return a checkpoint to start from, with its own normalization constants."""
    checkpoint = torch.load(run[0] / "best.ckpt", weights_only=True)
    checkpoint["hyper_parameters"]["model"].update(mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6])
    torch.save(checkpoint, tmp_path / "pretrained.ckpt")
    return str(tmp_path / "pretrained.ckpt")


def test_a_run_adopts_the_normalization_of_its_pretrained_weights(pretrained, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    train(configuration(backbone_weights=pretrained, trainer={**CPU, "max_epochs": 1}), folder)
    written = yaml.safe_load((folder / "config.yaml").read_text())
    assert (written["mean"], written["std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    model, _ = load_checkpoint(folder / "best.ckpt")
    torch.testing.assert_close(model.normalize.mean.flatten(), 255 * torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(model.normalize.std.flatten(), 255 * torch.tensor([0.4, 0.5, 0.6]))


def test_a_normalization_that_contradicts_the_weights_is_refused_before_writing(pretrained, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"mean=\[0\.5, 0\.5, 0\.5\], but .*pretrained\.ckpt was trained with mean="):
        train(configuration(backbone_weights=pretrained, mean=[0.5] * 3), folder)
    assert not list(folder.iterdir())


def test_taps_outside_the_crop_are_zero(run):
    folder, _ = run
    model, _ = load_checkpoint(folder / "best.ckpt")
    for branch in list(model.decoder.aspp.branches)[1:4]:
        weight = branch.depthwise.conv.weight  # over the 2x2 features of a 32x32 crop
        assert weight[:, :, 1, 1].all()
        assert weight.count_nonzero() == weight.shape[0]


def test_class_weights_from_the_training_masks_are_stored_in_the_checkpoint(tmp_path):
    loss = {"name": "cross_entropy", "class_weight": "auto"}
    config = configuration(loss=loss, trainer={**CPU, "max_steps": 1})
    train(config, tmp_path)
    counts, labeled = np.zeros((2, 6))
    for sample in map(Shapes("train", num_train=16, size=(48, 40)).load, range(16)):
        present, pixels = np.unique(sample.mask, return_counts=True)
        counts[present] += pixels
        labeled[present] += pixels.sum()
    frequency = counts / labeled
    stored = read_checkpoint(tmp_path / "best.ckpt")["hyper_parameters"]["loss"]
    assert stored["class_weight"] == pytest.approx(np.median(frequency) / frequency, rel=1e-3)
    configured = yaml.safe_load((tmp_path / "config.yaml").read_text())["loss"]
    assert configured["class_weight"] == "auto"  # for checkpoint=auto


@pytest.mark.parametrize("started", [False, True])
def test_an_error_of_the_dataset_is_the_only_line(started, run, tmp_path, caplog):
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    spec = write("supervisely", tmp_path, dict.fromkeys(("a.png", "b.png", "c.png", "d.png"), image))
    damaged = next(path for path in sorted(tmp_path.rglob("d.png")) if path.stat().st_size > 100)
    damaged.write_bytes(damaged.read_bytes()[:100])
    data = DataConfig(batch_size=1, crop_size=[32, 32], num_workers=0)
    config = configuration(dataset=spec, data=data, init_from=str(run[0] / "best.ckpt") if started else None)
    with caplog.at_level(logging.INFO, "segnet"), pytest.raises(DataError, match=r"d\.png: .*cut off"):
        train(config, tmp_path / "run")
    assert not caplog.messages
    assert not (tmp_path / "run").exists()

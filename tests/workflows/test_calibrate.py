"""A temperature is fitted by an evaluation and stored in its checkpoint, whose masks stay the same."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import CPU, SHAPES

from segnet.cli import evaluate as command
from segnet.config import DataConfig
from segnet.data.datasets.shapes import Shapes
from segnet.errors import ConfigError
from segnet.inference.predictor import Predictor
from segnet.inference.tta import Inference
from segnet.models.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint, store_temperature
from segnet.models.temperature import Temperature
from segnet.training.calibration import num_trained_images, scores_of_pixels
from segnet.training.confidence_metrics import ConfidenceCounts
from segnet.workflows.calibrate import store_fitted_temperature
from segnet.workflows.evaluate import evaluate

DATA = DataConfig(num_workers=0)


@pytest.fixture
def folder(run, tmp_path):
    """A folder like that of the run: best.ckpt without a temperature, and config.yaml."""
    content = read_checkpoint(run[0] / "best.ckpt")
    del content["temperature"]
    save_checkpoint(content, tmp_path / "best.ckpt")
    shutil.copy(run[0] / "config.yaml", tmp_path)
    return tmp_path


def scores(checkpoint, **options):
    return evaluate(checkpoint, dataset=SHAPES, split="val", data=DATA, trainer=CPU, **options)


def val_pixels(checkpoint):
    """Logits (pixels, classes) and class ids of the val split, from the model alone."""
    model, _ = load_checkpoint(checkpoint)
    samples = Shapes("val", **{key: SHAPES[key] for key in ("num_val", "size")})
    logits, labels = [], []
    for index in range(len(samples)):
        sample = samples.load(index)
        with torch.inference_mode():
            logits.append(model(torch.tensor(sample.image).permute(2, 0, 1)[None])[0].flatten(1).T)
        labels.append(torch.tensor(sample.mask).long().flatten())
    logits, labels = torch.cat(logits), torch.cat(labels)
    counted = labels != samples.classes.ignore_index
    return logits[counted], labels[counted]


def test_a_training_stores_the_temperature_of_its_val_split(run):
    folder, results = run
    record = read_checkpoint(folder / "best.ckpt")["temperature"]
    assert record == results.fitted_record()
    assert (record["split"], record["num_images"]) == ("val", 5)
    assert results.temperature.is_one
    assert results.fitted.before.pixels == results.confidence.pixels  # of a small split every pixel is sampled
    assert results.fitted.before.ece == pytest.approx(results.confidence.ece, abs=1e-9)
    assert "temperature" not in read_checkpoint(folder / "last.ckpt")
    logits, labels = val_pixels(folder / "best.ckpt")
    loss = torch.nn.functional.cross_entropy
    [value] = record["values"]
    assert value != 1
    losses = [loss(logits.double() / (value * factor), labels).item() for factor in (0.99, 1.0, 1.01, 1 / value)]
    assert losses[1] == min(losses)


def test_an_evaluation_scores_the_calibrated_probabilities(run):
    folder, results = run
    found = scores(folder / "best.ckpt")
    expected = scores_of_pixels(*val_pixels(folder / "best.ckpt"), found.temperature)
    assert found.temperature == results.fitted.temperature
    assert found.confidence.ece == pytest.approx(expected.ece, abs=1e-6)
    assert found.confidence.risks == pytest.approx(expected.risks, abs=1e-6)
    assert found.confidence.ece == pytest.approx(results.fitted.after.ece, abs=1e-6)
    assert found.confusion == results.confusion
    assert found.fitted is None


@pytest.mark.parametrize("options", [{"window": 32}, {"flip": True}])
def test_probabilities_of_an_evaluation_are_those_of_predictions(run, options):
    checkpoint = run[0] / "best.ckpt"
    found = scores(checkpoint, inference=Inference(**options))
    predictor = Predictor(checkpoint, "cpu", runtime="torch", **options)
    samples = Shapes("val", **{key: SHAPES[key] for key in ("num_val", "size")})
    counts = ConfidenceCounts()
    for index in range(len(samples)):
        sample = samples.load(index)
        result = predictor(sample.image, probabilities=True)
        truth = torch.tensor(sample.mask)
        counts.update(torch.tensor(result.confidence), torch.tensor(result.mask) == truth, truth != 255)
    assert found.confidence.mean_confidence == pytest.approx(counts.scores().mean_confidence, abs=1e-3)  # float16
    assert found.confidence.risks[-1] == pytest.approx(counts.scores().risks[-1], abs=1e-3)


@pytest.mark.parametrize("argument", ["--calibrate", "calibrate=class"])
def test_the_command_calibrates_a_checkpoint_in_place(run, folder, argument):
    path, image = folder / "best.ckpt", Shapes("val", num_val=1, size=[48, 40]).load(0).image
    before, mask = read_checkpoint(path), Predictor(path, "cpu", runtime="torch")(image).mask
    assert command.main([str(path), argument, f"hydra.run.dir={folder / 'out'}"]) == 0
    after = read_checkpoint(path)
    values = after.pop("temperature")["values"]
    if argument == "--calibrate":
        assert values == list(run[1].fitted.temperature.values)
    assert len(values) == (1 if argument == "--calibrate" else len(run[1].classes.names))
    assert after.keys() == before.keys()
    assert all(torch.equal(after["state_dict"][name], value) for name, value in before["state_dict"].items())
    record = json.loads((folder / "out" / "results.json").read_text())["confidence"]
    assert (record["temperature"], record["fitted_temperature"]["values"]) == ([1.0], values)
    assert record["fitted_temperature"]["ece_before"] == pytest.approx(record["ece"])
    np.testing.assert_array_equal(Predictor(path, "cpu", runtime="torch")(image).mask, mask)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["split=train", "--calibrate"], "the images that it was trained on: use split=val, or split=test"),
        (["calibrate=vector"], "calibrate=vector must be global, class or null"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(folder, arguments, message):
    before = (folder / "best.ckpt").read_bytes()
    with pytest.raises(ConfigError, match=message):
        command.main([str(folder / "best.ckpt"), *arguments, f"hydra.run.dir={folder / 'out'}"])
    assert (folder / "best.ckpt").read_bytes() == before


def test_an_ensemble_and_a_published_model_are_not_calibrated(folder, monkeypatch):
    path = folder / "best.ckpt"
    with pytest.raises(ConfigError, match="calibrate=global stores a temperature in one checkpoint: name one of the 2"):
        command.main([f"checkpoint=[{path},{path}]", "calibrate=global", f"hydra.run.dir={folder / 'out'}"])
    monkeypatch.setattr(command, "find_model", lambda name: f"cache/{name}.ckpt")
    name = "cityscapes_resnet50_vd"
    with pytest.raises(ConfigError, match=rf"is a published model: calibrate a copy of cache/{name}\.ckpt"):
        command.main([name, "calibrate=global", "dataset=shapes", f"hydra.run.dir={folder / 'out'}"])


class Samples(list):
    """Samples by their files."""

    def files(self, index):
        return self[index]


class Splits:
    """Data whose splits are lists of files."""

    def __init__(self, **splits):
        self.splits = splits

    def split(self, name):
        return Samples(self.splits[name])


def test_images_of_the_train_split_are_not_calibrated_on():
    images = Splits(train=[("a.png", "a_mask.png"), ("b.png",)], val=[("b.png",), ("c.png",)])
    assert num_trained_images(images, "val") == 1
    windows = Splits(train=[("scene.tif", "0")], val=[("scene.tif", "1")])
    assert num_trained_images(windows, "val") == 0
    assert num_trained_images(Splits(train=[()], val=[()]), "val") == 0  # generated images


def test_a_split_without_labels_leaves_the_checkpoint_as_it_is(run, folder, caplog):
    before = (folder / "best.ckpt").read_bytes()
    empty = replace(run[1], checkpoints=(folder / "best.ckpt",), fitted=None)
    store_fitted_temperature(empty, "global")
    assert "is not calibrated: val has too few labeled pixels" in caplog.text
    store_fitted_temperature(replace(empty, fitted=run[1].fitted), None)
    assert (folder / "best.ckpt").read_bytes() == before


def test_an_ensemble_is_scored_with_the_geometric_mean(run, folder):
    other = folder / "other.ckpt"
    shutil.copy(folder / "best.ckpt", other)
    store_temperature(folder / "best.ckpt", {"values": [1.5]})
    store_temperature(other, {"values": [6.0]})
    found = scores([folder / "best.ckpt", other])
    assert found.temperature.values == pytest.approx((3.0,))
    assert Predictor([folder / "best.ckpt", other], "cpu").temperature.values == pytest.approx((3.0,))
    expected = scores_of_pixels(*val_pixels(other), Temperature((3.0,)))
    assert found.confidence.ece == pytest.approx(expected.ece, abs=1e-5)
    assert found.confusion == run[1].confusion
    assert math.isclose(found.confidence.aurc, expected.aurc, abs_tol=1e-5)

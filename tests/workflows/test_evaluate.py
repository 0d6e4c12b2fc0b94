"""Evaluation gives the scores of the training's validation and of the checkpoint's predictions."""

import json

import mmseg_reference as mmseg
import numpy as np
import pytest
import torch
from PIL import Image
from predicting import untrained
from tiny import CPU, SHAPES, classes_of

from segnet.classes import Classes
from segnet.cli.evaluate import _evaluate
from segnet.config import DataConfig
from segnet.data.datasets.shapes import CLASSES, Shapes
from segnet.errors import CheckpointError, ConfigError, DataError
from segnet.inference.predictor import Predictor
from segnet.inference.tta import Inference
from segnet.models.checkpoint import load_checkpoint
from segnet.published.convert import convert, published_settings
from segnet.training.boundary_metrics import BoundaryCounts
from segnet.verb_config import EvaluateConfig
from segnet.weights.load import read_weights
from segnet.workflows.evaluate import evaluate


def test_evaluation_repeats_the_validation_s_scores_exactly(run):
    folder, results = run
    data = DataConfig(batch_size=3, num_workers=1)
    again = evaluate(folder / "best.ckpt", dataset=SHAPES, split="val", data=data, trainer=CPU)
    assert again.scores.to_dict(again.classes) == results.scores.to_dict(results.classes)


def test_an_evaluation_on_two_devices_is_refused(run):
    """Lightning would pad the processes' samples by repeating images: it would count six images instead of five."""
    folder, _ = run
    with pytest.raises(ConfigError, match="counts each image once, so it runs in one process, not in 2"):
        evaluate(
            folder / "best.ckpt",
            dataset=SHAPES,
            split="val",
            data=DataConfig(num_workers=0),
            trainer={**CPU, "devices": 2},
        )


def test_an_evaluation_started_by_a_launcher_in_two_processes_is_refused(run, monkeypatch, tmp_path):
    folder, _ = run
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = EvaluateConfig(checkpoint=str(folder / "best.ckpt"), dataset=SHAPES, trainer=CPU)
    with pytest.raises(ConfigError, match="torchrun started 2 processes, but evaluate runs in one"):
        _evaluate(config, tmp_path)


def test_the_scores_match_an_independent_count_of_predictions(run):
    """Independent reference: run each image through the checkpoint's model and count with numpy."""
    folder, results = run
    model, _ = load_checkpoint(folder / "best.ckpt")
    samples = Shapes("val", **{key: SHAPES[key] for key in ("num_val", "size")})
    truth, predicted = [], []
    for index in range(len(samples)):
        sample = samples.load(index)
        truth.append(sample.mask.ravel())
        predicted.append(classes_of(model, sample.image).ravel())
    truth, predicted = np.concatenate(truth), np.concatenate(predicted)
    ious = []
    for label in range(len(samples.classes.names)):
        union = np.sum((truth == label) | (predicted == label))
        if union:
            ious.append(np.sum((truth == label) & (predicted == label)) / union)
    assert results.scores.miou == pytest.approx(np.mean(ious), abs=1e-12)


@pytest.mark.parametrize("options", [{"flip": True, "scales": [0.5, 1.0, 1.5]}, {"window": 32, "overlap": 0.5}])
def test_tta_and_sliding_windows_match_those_of_predictions(run, tmp_path, options):
    folder, plain = run
    inference = Inference(**options)
    data = DataConfig(num_workers=0)
    results = evaluate(folder / "best.ckpt", dataset=SHAPES, split="val", data=data, trainer=CPU, inference=inference)
    predictor = Predictor(folder / "best.ckpt", "cpu", **options)
    samples = Shapes("val", **{key: SHAPES[key] for key in ("num_val", "size")})
    counts = np.zeros((len(samples.classes.names),) * 2, int)
    for index in range(len(samples)):
        sample = samples.load(index)
        np.add.at(counts, (sample.mask.ravel(), predictor(sample.image).mask.ravel()), 1)
    differing = np.abs(np.array(results.confusion) - counts).sum() / 2
    assert differing <= 0.002 * counts.sum()  # rounding may change the class of a few pixels
    assert results.confusion != plain.confusion

    results.write(tmp_path / "results.json")
    record = json.loads((tmp_path / "results.json").read_text())
    expected = {"flip": False, "scales": [1.0], "window": None, "overlap": None} | options
    assert {key: record[key] for key in expected} == expected


@pytest.mark.parametrize("options", [{}, {"flip": True, "window": 32}])
def test_an_ensemble_counts_the_masks_of_its_predictions(run, tmp_path, options):
    names = [*CLASSES.names[1:], CLASSES.names[0]]
    other = untrained(tmp_path / "other.ckpt", Classes.create(names), seed=3, output_stride=8)
    checkpoints = [run[0] / "best.ckpt", other]
    found = evaluated_on_shapes(checkpoints, **options)
    predictor = Predictor(checkpoints, "cpu", **options)
    assert found.confusion != run[1].confusion
    samples = Shapes("val", **{key: SHAPES[key] for key in ("num_val", "size")})
    counts = np.zeros((len(samples.classes.names),) * 2, int)
    for index in range(len(samples)):
        sample = samples.load(index)
        np.add.at(counts, (sample.mask.ravel(), predictor(sample.image).mask.ravel()), 1)
    assert np.abs(np.array(found.confusion) - counts).sum() / 2 <= 0.002 * counts.sum()
    found.write(tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text())["checkpoint"] == [str(path) for path in checkpoints]


def test_an_ensemble_of_one_has_the_scores_of_its_model(run):
    assert evaluated_on_shapes([run[0] / "best.ckpt"]).confusion == run[1].confusion


def test_an_ensemble_of_other_classes_is_refused(run, tmp_path):
    other = untrained(tmp_path / "other.ckpt", Classes.create(["road"]))
    with pytest.raises(CheckpointError, match=r"other\.ckpt: lacks the class 'background', "):
        evaluated_on_shapes([run[0] / "best.ckpt", other])


def evaluated_on_shapes(checkpoints, **options):
    inference = Inference(**options)
    return evaluate(
        checkpoints, dataset=SHAPES, split="val", data=DataConfig(num_workers=0), trainer=CPU, inference=inference
    )


@pytest.mark.parametrize("options", [{}, {"window": 32}])
def test_boundary_scores_are_those_of_whole_predicted_masks(run, tmp_path, options):
    """With windows too: the borders of the tiles are no boundaries."""
    folder, plain = run
    inference = Inference(**options)
    results = evaluate(
        folder / "best.ckpt",
        dataset=SHAPES,
        split="val",
        data=DataConfig(num_workers=0),
        trainer=CPU,
        inference=inference,
        boundary=0.05,
    )
    predictor = Predictor(folder / "best.ckpt", "cpu", **options)
    samples = Shapes("val", **{key: SHAPES[key] for key in ("num_val", "size")})
    counts = BoundaryCounts(len(samples.classes.names), 255, 0.05)
    for index in range(len(samples)):
        sample = samples.load(index)
        counts.update(torch.tensor(predictor(sample.image).mask), torch.tensor(sample.mask))
    expected = counts.scores()
    np.testing.assert_allclose(results.boundary.boundary_iou, expected.boundary_iou, atol=2e-3)  # a pixel of rounding
    np.testing.assert_allclose(results.boundary.trimap_iou, expected.trimap_iou, atol=2e-3)
    if not options:
        assert results.scores.to_dict(results.classes) == plain.scores.to_dict(plain.classes)

    results.write(tmp_path / "results.json")
    record = json.loads((tmp_path / "results.json").read_text())["boundary"]
    assert record["ratio"] == 0.05
    assert record["boundary_miou"] == results.boundary.boundary_miou
    assert record["trimap_miou"] == results.boundary.trimap_miou
    assert list(record["classes"]) == list(CLASSES.names)
    assert plain.boundary is None


def test_a_dataset_of_other_classes_is_refused(run, tmp_path):
    folder, _ = run
    for kind in ("images", "masks"):
        (tmp_path / kind / "val").mkdir(parents=True)
        (tmp_path / kind / "train").mkdir(parents=True)
        for split in ("train", "val"):
            Image.new("L", (32, 32)).save(tmp_path / kind / split / "a.png")
    spec = {"name": "folder", "root": str(tmp_path)}
    names = ["background", "disk", "ring", "square", "triangle", "plus"]
    with pytest.raises(DataError, match="class 5 of the dataset is 'plus'"):
        evaluate(
            folder / "best.ckpt", dataset={**spec, "class_names": names}, split="val", data=DataConfig(), trainer=CPU
        )
    with pytest.raises(DataError, match="2 classes"):
        evaluate(
            folder / "best.ckpt",
            dataset={**spec, "class_names": names[:2]},
            split="val",
            data=DataConfig(),
            trainer=CPU,
        )


def test_a_converted_model_is_evaluated(tmp_path):
    model = mmseg.EncoderDecoder(block=mmseg.Bottleneck, depths=[1, 1, 1, 1], num_classes=len(CLASSES.names))
    torch.save({"state_dict": model.state_dict()}, tmp_path / "a.pth")
    weights = read_weights(tmp_path / "a.pth")
    convert(weights, Classes.create(CLASSES.names), published_settings(weights), tmp_path / "a.ckpt")
    results = evaluate(tmp_path / "a.ckpt", dataset=SHAPES, split="val", data=DataConfig(num_workers=0), trainer=CPU)
    assert results.num_images == SHAPES["num_val"]
    assert 0 <= results.scores.miou < 0.5  # of random weights

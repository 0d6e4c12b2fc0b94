"""Several classes per pixel, from a training to its results: one tiny run, and what is made of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import CPU, configuration

from segnet.classes import Classes
from segnet.cli.info import info_lines
from segnet.cli.predict import main as predict
from segnet.cli.serve import main as serve
from segnet.config import EmaConfig, LoaderConfig
from segnet.data.datasets.planes import PlaneLabels
from segnet.data.datasets.shapes import Shapes
from segnet.errors import CheckpointError, ConfigError, DataError
from segnet.exporters.graph import exportable, metadata_of
from segnet.inference.ensemble import Ensemble
from segnet.inference.predictor import Predictor
from segnet.inference.runtimes.exported import to_logits
from segnet.inference.tta import Inference
from segnet.models.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from segnet.verb_config import CrossvalConfig, DoubtConfig, ShardConfig
from segnet.workflows.crossval import crossval
from segnet.workflows.doubt import doubt
from segnet.workflows.evaluate import Results, evaluate
from segnet.workflows.info import model_info
from segnet.workflows.shard import write_shards
from segnet.workflows.train import train

SPEC = {"name": "shapes", "num_train": 8, "num_val": 3, "size": [40, 48], "task": "multilabel"}


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> tuple[Path, Results]:
    """A finished run with EMA and CutMix."""
    folder = tmp_path_factory.mktemp("several")
    config = configuration(dataset=SPEC, loss={"name": "bce_dice"}, ema=EmaConfig(decay=0.9), worst_images=1)
    return folder, train(replace(config, data=replace(config.data, cutmix=1.0)), folder)


def scored(checkpoint: Path, **options) -> Results:
    arguments = {"dataset": SPEC, "split": "val", "data": LoaderConfig(num_workers=0), "trainer": CPU}
    return evaluate(checkpoint, **{**arguments, **options})


def test_a_run_stores_thresholds_and_reports_both_scores(several):
    folder, results = several
    stored = read_checkpoint(folder / "best.ckpt")["hyper_parameters"]["classes"]
    assert stored["task"] == "multilabel"
    assert tuple(stored["thresholds"]) == results.classes.thresholds
    record = json.loads((folder / "results.json").read_text())
    assert record["thresholds"] == dict(zip(("disk", "ring"), results.classes.thresholds, strict=True))
    assert record["thresholds_chosen_on"] == "val"
    assert record["miou"] == results.scores.miou >= record["with_threshold_0.5"]["miou"] == results.at_half.miou
    assert float(read_checkpoint(folder / "best.ckpt")["callbacks"].popitem()[1].get("best_model_score", 0)) >= 0
    page = (folder / "report.html").read_text()
    assert "Confusion matrix" not in page
    assert "chosen on the val split" in page
    with Image.open(folder / "preview.png") as opened:
        assert np.asarray(opened.convert("L")).std() > 10


def test_an_evaluation_counts_the_masks_of_a_prediction(several):
    folder, results = several
    again = scored(folder / "best.ckpt")
    assert again.scores == results.scores
    samples, predictor = (
        Shapes("val", **{key: SPEC[key] for key in SPEC.keys() - {"name"}}),
        Predictor(folder / "best.ckpt"),
    )
    for index, (correct, true, predicted) in enumerate(again.images.counts):
        sample = samples.load(index)
        found = predictor.segment(sample.image, probabilities=True)
        assert found.mask.shape == sample.mask.shape
        np.testing.assert_allclose([*found.pixels.values()], predicted, atol=2)  # the runtime folds norms
        np.testing.assert_array_equal(true, sample.mask.sum(axis=(1, 2)))
        assert np.all(correct <= np.minimum(true, predicted))
        expected = np.where(found.mask == 1, found.probabilities, 1 - found.probabilities).min(axis=0)
        np.testing.assert_allclose(found.confidence, expected, atol=1e-3)
    windows = scored(folder / "best.ckpt", inference=Inference(window=32, flip=True))
    assert windows.scores.pixels == again.scores.pixels


def test_predict_writes_every_kind(several, tmp_path, monkeypatch, capsys):
    folder, _ = several
    monkeypatch.chdir(tmp_path)
    Image.fromarray(Shapes("val", task="multilabel").load(0).image).save("a.png")
    kinds = "mask,overlay,colors,confidence,probabilities,geojson,coco,labelme,csv"
    arguments = ["a.png", "--checkpoint", str(folder / "best.ckpt"), "--save", kinds, "--runtime", "torch"]
    assert predict(arguments) == 0
    found = Predictor(folder / "best.ckpt", runtime="torch")("a.png")
    output = tmp_path / "predictions"
    assert not (output / "a_mask.png").exists()
    classes = Classes.create(["disk", "ring"], task="multilabel")
    np.testing.assert_array_equal(PlaneLabels(classes).read(output / "a_mask.tif"), found.mask)
    header, row = (output / "shares.csv").read_text().splitlines()
    shares = dict(zip(header.split(","), row.split(","), strict=True))
    assert float(shares["disk"]) == pytest.approx(found.shares["disk"], abs=1e-6)
    counted = {
        annotation["category_id"]: annotation["area"]
        for annotation in json.loads((output / "a_coco.json").read_text())["annotations"]
    }
    assert counted == {index + 1: n for index, n in enumerate(found.pixels.values()) if n}
    areas = sum(f["properties"]["area"] for f in json.loads((output / "a.geojson").read_text())["features"])
    assert areas == sum(found.pixels.values())
    capsys.readouterr()
    assert predict(arguments) == 0
    assert "done already" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--scene needs one class per pixel"):
        predict(["a.png", "--checkpoint", str(folder / "best.ckpt"), "--scene"])


def test_an_export_of_masks_has_the_thresholds_built_in(several):
    folder, results = several
    model, classes = load_checkpoint(folder / "best.ckpt")
    images = torch.from_numpy(np.moveaxis(Shapes("val", task="multilabel").load(1).image, 2, 0).copy())[None]
    metadata = metadata_of(model, classes, "uint8", "classes", "")
    with torch.no_grad():
        planes = exportable(model, metadata)(images)
        expected = model(images).sigmoid().numpy() >= np.array(results.classes.thresholds)[:, None, None]
    np.testing.assert_array_equal(planes.numpy(), expected)
    logits = to_logits(planes, metadata)
    assert ((logits.sigmoid() >= 0.3) == (planes == 1)).all()
    restored = type(metadata).read(metadata.to_json(), "a.onnx")
    assert restored.classes == classes


def test_info_names_task_and_thresholds(several):
    folder, results = several
    text = "\n".join(info_lines("best.ckpt", model_info(folder / "best.ckpt")))
    assert "2, which may overlap (task=multilabel)" in text
    assert f"ring  (from probability {results.classes.thresholds[1]:.3f})" in text


def with_thresholds(checkpoint: Path, path: Path, names: list[str], thresholds: list[float]) -> Path:
    stored = read_checkpoint(checkpoint)
    stored["hyper_parameters"]["classes"] |= {"names": names, "thresholds": thresholds}
    save_checkpoint(stored, path)
    return path


def test_an_ensemble_averages_thresholds_by_name_and_has_one_task(several, run, tmp_path):
    best = several[0] / "best.ckpt"
    one = with_thresholds(best, tmp_path / "one.ckpt", ["disk", "ring"], [0.25, 0.5])
    other = with_thresholds(best, tmp_path / "other.ckpt", ["ring", "disk"], [0.75, 0.5])
    assert Ensemble([one, other], "cpu", "torch").classes.thresholds == (0.375, 0.625)
    with pytest.raises(CheckpointError, match=r"is a multiclass model, but .* is a multilabel one"):
        Ensemble([one, run[0] / "best.ckpt"], "cpu", "torch")


def test_a_dataset_of_the_other_task_is_refused(several, run):
    plain = {key: value for key, value in SPEC.items() if key != "task"}
    with pytest.raises(DataError, match=r"the dataset's task is multiclass, but .* set dataset\.task=multilabel"):
        scored(several[0] / "best.ckpt", dataset=plain)
    with pytest.raises(DataError, match=r"the dataset's task is multilabel, but .* set dataset\.task=multiclass"):
        scored(run[0] / "best.ckpt")


def test_verbs_of_one_class_per_pixel_refuse_in_one_line(several, tmp_path):
    best = several[0] / "best.ckpt"
    config = configuration(dataset=SPEC, loss={"name": "bce_dice"})
    options = {name: getattr(config, name) for name in type(config).__dataclass_fields__}
    with pytest.raises(ConfigError, match="segnet crossval needs one class per pixel"):
        crossval(CrossvalConfig(**options), tmp_path / "crossval")
    with pytest.raises(ConfigError, match="segnet doubt needs one class per pixel"):
        doubt(DoubtConfig(checkpoint=str(best), dataset=SPEC), tmp_path)
    with pytest.raises(ConfigError, match=r"boundary=0\.02 needs one class per pixel"):
        scored(best, boundary=0.02)
    pytest.importorskip("webdataset")
    with pytest.raises(ConfigError, match="segnet shard needs one class per pixel"):
        write_shards(ShardConfig(dataset=SPEC, output=str(tmp_path / "shards")))
    pytest.importorskip("uvicorn")
    with pytest.raises(ConfigError, match="segnet serve needs one class per pixel"):
        serve([str(best), "--port", "0"])

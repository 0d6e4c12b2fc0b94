"""Several classes per pixel, from a training to its results: one tiny run, and what is made of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exports import NEEDS
from PIL import Image
from resumption import assert_equal
from tiny import CPU, OVERLAPPING, configuration

from segnet.classes import Classes
from segnet.cli.info import info_lines
from segnet.cli.predict import main as predict
from segnet.cli.serve import main as serve
from segnet.config import LoaderConfig
from segnet.data.datasets.planes import PlaneLabels
from segnet.data.datasets.shapes import Shapes
from segnet.errors import CheckpointError, ConfigError, DataError
from segnet.exporters.graph import exportable, metadata_of
from segnet.images.video import Frames, VideoWriter
from segnet.inference.ensemble import Ensemble
from segnet.inference.predictor import Predictor
from segnet.inference.runtimes.exported import to_logits
from segnet.inference.tta import Inference
from segnet.models.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from segnet.training.task import SegmentationTask
from segnet.verb_config import DoubtConfig
from segnet.workflows.doubt import doubt
from segnet.workflows.evaluate import Results, evaluate
from segnet.workflows.export import export
from segnet.workflows.info import model_info
from segnet.workflows.train import train


def scored(checkpoint: Path, **options) -> Results:
    arguments = {"dataset": OVERLAPPING, "split": "val", "data": LoaderConfig(num_workers=0), "trainer": CPU}
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
        Shapes("val", **{key: OVERLAPPING[key] for key in OVERLAPPING.keys() - {"name"}}),
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
        for annotation in json.loads((output / "coco.json").read_text())["annotations"]
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
    plain = {key: value for key, value in OVERLAPPING.items() if key != "task"}
    with pytest.raises(DataError, match=r"the dataset's task is multiclass, but .* set dataset\.task=multilabel"):
        scored(several[0] / "best.ckpt", dataset=plain)
    with pytest.raises(DataError, match=r"the dataset's task is multilabel, but .* set dataset\.task=multiclass"):
        scored(run[0] / "best.ckpt")


def test_verbs_of_one_class_per_pixel_refuse_in_one_line(several, tmp_path):
    best = several[0] / "best.ckpt"
    with pytest.raises(ConfigError, match="segnet doubt needs one class per pixel"):
        doubt(DoubtConfig(checkpoint=str(best), dataset=OVERLAPPING), tmp_path)
    with pytest.raises(ConfigError, match=r"boundary=0\.02 needs one class per pixel"):
        scored(best, boundary=0.02)
    pytest.importorskip("uvicorn")
    with pytest.raises(ConfigError, match="segnet serve --collect needs one class per pixel"):
        serve([str(best), "--port", "0", "--collect", str(tmp_path / "collected")])
    assert not (tmp_path / "collected").exists()


@pytest.mark.parametrize(("file_format", "kind"), [("onnx", "classes"), ("openvino", "logits")])
def test_an_exported_file_predicts_the_planes_of_its_checkpoint(several, tmp_path, file_format, kind):
    for package in NEEDS[file_format]:
        pytest.importorskip(package)
    folder, _ = several
    path = tmp_path / {"onnx": "a.onnx", "openvino": "a.xml"}[file_format]
    export(folder / "best.ckpt", file_format, path, kind, lambda _: None)
    exported, own = Predictor(path), Predictor(folder / "best.ckpt", runtime="torch")
    assert exported.classes == own.classes
    for index in range(2):
        image = Shapes("val", task="multilabel", size=(40 + index, 51)).load(index).image
        found, expected = exported(image), own(image)
        assert found.mask.shape == expected.mask.shape == (2, 40 + index, 51)
        assert np.sum(found.mask != expected.mask) <= 2  # rounding at a threshold


class Killed(BaseException):
    """Simulates SIGKILL: no code of segnet catches it."""


def test_a_killed_run_resumes_to_the_bit(tmp_path, monkeypatch):
    """The chosen thresholds and the histogram are part of the state; it stops before and after a validation."""
    config = configuration(dataset=OVERLAPPING, loss={"name": "bce_dice"}, checkpoint_every=1, calibrate=None)
    whole = train(config, tmp_path / "whole")
    original = SegmentationTask.training_step
    for stop in (2, 3):  # an epoch has two steps
        steps = []

        def killing(self, *arguments, steps=steps, stop=stop):
            steps.append(1)
            if len(steps) == stop:
                raise Killed
            return original(self, *arguments)

        folder = tmp_path / str(stop)
        with monkeypatch.context() as patch:
            patch.setattr(SegmentationTask, "training_step", killing)
            with pytest.raises(Killed):
                train(config, folder)
        results = train(replace(config, checkpoint=str(folder / "last.ckpt")), folder)
        assert (results.scores, results.at_half) == (whole.scores, whole.at_half)
        assert results.classes.thresholds == whole.classes.thresholds
        found, expected = (read_checkpoint(top / "last.ckpt") for top in (folder, tmp_path / "whole"))
        assert_equal(found["state_dict"], expected["state_dict"])
        assert_equal(found["hyper_parameters"], expected["hyper_parameters"])
        assert_equal(found["optimizer_states"], expected["optimizer_states"])


def test_a_video_has_an_overlay_and_the_planes_of_each_frame(several, tmp_path, monkeypatch):
    folder, _ = several
    monkeypatch.chdir(tmp_path)
    frames = [Shapes("val", task="multilabel").load(index).image for index in range(3)]
    writer = VideoWriter(Path("a.mp4"), 5.0, "a.mp4")
    for frame in frames:
        writer.write(frame)
    writer.close()
    arguments = ["a.mp4", "--checkpoint", str(folder / "best.ckpt"), "--save-frames", "mask,geojson"]
    assert predict([*arguments, "--save", "overlay,csv", "--runtime", "torch"]) == 0
    output, labels = tmp_path / "predictions", PlaneLabels(Classes.create(["disk", "ring"], task="multilabel"))
    predictor, totals = Predictor(folder / "best.ckpt", runtime="torch"), np.zeros(2)
    for number, frame in enumerate(Frames(Path("a.mp4")), start=1):
        planes = labels.read(output / "a" / f"{number:06d}_mask.tif")
        np.testing.assert_array_equal(planes, predictor(frame).mask)
        totals += planes.sum(axis=(1, 2))
    assert number == 3
    shares = dict(zip(*(line.split(",") for line in (output / "shares.csv").read_text().splitlines()), strict=True))
    assert shares["frames"] == "3"
    np.testing.assert_allclose([float(shares["disk"]), float(shares["ring"])], totals / 3 / planes[0].size, atol=1e-5)
    assert len(list(Frames(output / "a_overlay.mp4"))) == 3

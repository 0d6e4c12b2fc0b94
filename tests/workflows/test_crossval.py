"""Cross-validation: held-out scores and masks, exact resumption, and refusals."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image
from resumption import assert_equal, configuration
from tiny import OVERLAPPING

from segnet.classes import Classes
from segnet.data import build_dataset
from segnet.data.datasets.planes import PlaneLabels
from segnet.errors import ConfigError, DataError
from segnet.inference.predictor import Predictor
from segnet.inference.refinement import Refinement
from segnet.models.checkpoint import read_checkpoint
from segnet.training.metrics import Scores
from segnet.training.task import SegmentationTask
from segnet.verb_config import CrossvalConfig
from segnet.workflows.crossval import crossval
from segnet.workflows.crossval_report import CrossvalScores, write_crossval_report
from segnet.workflows.out_of_fold import read_probabilities


class Killed(BaseException):
    """Simulates SIGKILL: no code of segnet catches it."""


def options(**changes):
    trainer = {"max_epochs": 2}
    base = configuration(trainer, worst_images=0)
    sections = {name: getattr(base, name) for name in asdict(base)}
    return CrossvalConfig(**{**sections, "folds": 3, "save_probabilities": True, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A cross-validation of 11 images in 3 folds: (folder, folds)."""
    return crossval(options(), tmp_path_factory.mktemp("runs") / "whole")


def test_each_image_is_predicted_by_the_model_that_did_not_see_it(finished):
    folder, folds = finished
    plan = json.loads((folder / "folds.json").read_text())
    assert sorted(index for held in plan["held_out"] for index in held) == list(range(11))
    assert len(list((folder / "masks").glob("*.png"))) == 11
    whole = build_dataset(options().dataset, "train")
    for number, (held, fold) in enumerate(zip(plan["held_out"], folds, strict=True), 1):
        predictor = Predictor(folder / f"fold{number}" / "best.ckpt", "cpu")
        counts = np.zeros((6, 6), int)
        for index in held:
            sample, name = whole.load(index), plan["images"][index]
            expected = predictor.segment(sample.image, probabilities=True)
            mask = np.array(Image.open(folder / "masks" / f"{name}.png"))
            np.testing.assert_array_equal(mask, predictor.segment(sample.image).mask)
            found = read_probabilities(folder / "probabilities" / f"{name}.npz")
            np.testing.assert_allclose(found, expected.probabilities, atol=0.003)
            np.add.at(counts, (sample.mask.ravel(), mask.ravel()), 1)
        assert np.abs(np.array(fold.confusion) - counts).sum() <= 4  # rounding at ties
        assert list(fold.image_miou) == [plan["images"][index] for index in held]


def test_a_killed_one_resumes_exactly_and_skips_finished_folds(finished, monkeypatch, tmp_path, caplog):
    steps, original = [], SegmentationTask.training_step

    def killing(self, *arguments):
        steps.append(1)
        if len(steps) == 11:  # in the second epoch of the second fold: a fold has 3 or 4 steps an epoch
            raise Killed
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationTask, "training_step", killing)
        with pytest.raises(Killed):
            crossval(options(), tmp_path / "a")
    assert (tmp_path / "a" / "fold1" / "fold.json").exists()
    assert not (tmp_path / "a" / "fold2" / "fold.json").exists()
    written = (tmp_path / "a" / "fold1" / "last.ckpt").stat().st_mtime_ns
    with caplog.at_level("INFO"):
        folder, folds = crossval(options(checkpoint="auto"), tmp_path / "b")
    assert folder == tmp_path / "a"
    assert not (tmp_path / "b").exists()
    assert "fold 1 of 3: done already" in caplog.text
    assert f"resuming from {tmp_path}/a/fold2/last.ckpt" in caplog.text
    assert (folder / "fold1" / "last.ckpt").stat().st_mtime_ns == written
    assert [fold.confusion for fold in folds] == [fold.confusion for fold in finished[1]]
    for number in (1, 2, 3):
        whole, resumed = (read_checkpoint(top / f"fold{number}" / "last.ckpt") for top in (finished[0], folder))
        assert_equal(resumed["state_dict"], whole["state_dict"])
    for path in (finished[0] / "masks").iterdir():
        assert (folder / "masks" / path.name).read_bytes() == path.read_bytes()


def test_other_options_start_a_new_one(finished, caplog):
    with caplog.at_level("INFO"), pytest.raises(ConfigError, match="the dataset has only 11 images: lower folds"):
        crossval(options(folds=12, checkpoint="auto"), finished[0].parent / "new")
    assert "no cross-validation of this configuration: starting a new one" in caplog.text


def test_a_changed_dataset_is_refused(finished, tmp_path):
    plan = json.loads((finished[0] / "folds.json").read_text())
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "folds.json").write_text(json.dumps({**plan, "images": plan["images"][:9]}))
    with pytest.raises(DataError, match=r"its folds are of 9 images, and the dataset has others now \(11\)"):
        crossval(options(checkpoint="auto"), tmp_path / "new")


def test_an_existing_one_is_not_overwritten(finished):
    with pytest.raises(ConfigError, match="whole: holds a cross-validation: checkpoint=auto resumes it"):
        crossval(options(), finished[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": "30min"}, "budget=30min is for one run"),
        ({"checkpoint": "a.ckpt"}, "checkpoint=a.ckpt: checkpoint=auto resumes a cross-validation"),
        ({"trainer": {"devices": 2}}, "trainer.devices=2, trainer.num_nodes=1: crossval trains in one process"),
        ({"splits": ["train", "test"]}, r"splits=\['train', 'test'\] must be \[train\], \[val\] or \[train,val\]"),
        ({"folds": 1}, "folds=1: a cross-validation needs 2 or more folds"),
        ({"group": "("}, r"group=\( is not a regular expression"),
        ({"dataset": {"name": "fold"}}, "dataset=fold is a fold already"),
    ],
)
def test_impossible_options_are_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=f"^{message}") as error:
        crossval(options(**changes), tmp_path / "new")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()


def test_groups_are_found_in_the_names(tmp_path, monkeypatch):
    """The samples are named 000000 to 000010: their tens are the groups."""
    monkeypatch.setattr("segnet.workflows.crossval._run_fold", lambda *_: None)
    folder, _ = crossval(options(group=r"(\d)\d$", folds=2), tmp_path / "grouped")
    plan = json.loads((folder / "folds.json").read_text())
    assert plan["held_out"] == [list(range(10)), [10]]
    with pytest.raises(DataError, match="000000: group=x is not found in its path"):
        crossval(options(group="x"), tmp_path / "wrong")


HALVES = Refinement(threshold={"disk": 0.5, "ring": 0.5})


def test_several_classes_per_pixel_are_scored_at_one_half(tmp_path):
    """Masks and scores agree, and the thresholds that a fold chose on its held-out images are only reported."""
    changes = {"dataset": OVERLAPPING, "loss": {"name": "bce_dice"}, "folds": 2}
    folder, folds = crossval(options(**changes, save_probabilities=False), tmp_path / "several")
    plan = json.loads((folder / "folds.json").read_text())
    classes = Classes.create(["disk", "ring"], task="multilabel")
    labels, whole = PlaneLabels(classes), build_dataset(OVERLAPPING, "train")
    counts = np.zeros((3, 2), int)
    for number, (held, fold) in enumerate(zip(plan["held_out"], folds, strict=True), 1):
        predictor = Predictor(folder / f"fold{number}" / "best.ckpt", "cpu")
        for index in held:
            sample, name = whole.load(index), plan["images"][index]
            planes = labels.read(folder / "masks" / f"{name}.tif")
            np.testing.assert_array_equal(planes, predictor.segment(sample.image, refinement=HALVES).mask)
            parts = ((planes == 1) & (sample.mask == 1), sample.mask == 1, planes == 1)
            one = np.stack([part.sum(axis=(1, 2)) for part in parts])
            counts += one
            expected = Scores.from_counts(*map(torch.from_numpy, one), 0).miou
            assert fold.image_miou[name] == pytest.approx(expected, nan_ok=True)
        assert predictor.classes.thresholds != (0.5, 0.5)
        assert fold.thresholds == dict(zip(classes.names, predictor.classes.thresholds, strict=True))
    scores = CrossvalScores.of(folds, classes)
    np.testing.assert_allclose(scores.pooled.iou, counts[0] / (counts[1] + counts[2] - counts[0]))
    write_crossval_report(folder, scores)
    record = json.loads((folder / "crossval.json").read_text())
    assert (record["task"], record["threshold"]) == ("multilabel", 0.5)
    assert record["folds"][0]["thresholds"] == folds[0].thresholds
    page = (folder / "report.html").read_text()
    assert "scores with them would be optimistic" in page
    assert f"masks/{plan['images'][0]}.tif" in page
    _, again = crossval(options(**changes, save_probabilities=False, checkpoint="auto"), tmp_path / "again")
    assert again == folds

"""`segnet doubt`: ranking, JSON and page, of a cross-validation and of a checkpoint."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from predicting import untrained
from tiny import CPU, SHAPES, configuration

from segnet.cli.doubt import main
from segnet.data import build_dataset
from segnet.data.datasets.shapes import CLASSES
from segnet.errors import ConfigError, DataError
from segnet.inference.predictor import Predictor
from segnet.verb_config import CrossvalConfig, DoubtConfig
from segnet.workflows.crossval import crossval
from segnet.workflows.doubt import doubt
from segnet.workflows.doubt_scores import doubts, evidence_of


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    """The folder of a cross-validation of two folds without stored probabilities."""
    base = configuration(worst_images=0, trainer={**CPU, "max_epochs": 1}, dataset={**SHAPES, "num_train": 9})
    sections = {name: getattr(base, name) for name in base.__dataclass_fields__}
    return crossval(CrossvalConfig(**{**sections, "folds": 2}), tmp_path_factory.mktemp("runs") / "folds")[0]


def test_each_image_is_judged_by_the_model_that_did_not_see_it(folds, tmp_path):
    ranked, _ = doubt(DoubtConfig(crossval=str(folds), device="cpu", num_images=4), tmp_path)
    plan = json.loads((folds / "folds.json").read_text())
    whole, evidence = build_dataset({**SHAPES, "num_train": 9}, "train"), {}
    for number, held in enumerate(plan["held_out"], 1):
        predictor = Predictor(folds / f"fold{number}" / "best.ckpt", "cpu")
        for index in held:
            sample = whole.load(index)
            found = predictor.segment(sample.image, probabilities=True).probabilities
            evidence[sample.name] = evidence_of(found, sample.mask, whole.classes)
    expected = dict(zip(evidence, doubts(list(evidence.values())), strict=True))
    assert {suspect.name: suspect.doubt.score for suspect in ranked} == pytest.approx(
        {name: one.score for name, one in expected.items()}, rel=1e-6
    )
    scores = [suspect.doubt.score for suspect in ranked]
    assert scores == sorted(scores, reverse=True)
    record = json.loads((tmp_path / "doubt.json").read_text())["images"]
    assert [image["name"] for image in record] == [suspect.name for suspect in ranked]
    assert record[0]["regions"][0]["label"] in CLASSES.names
    page = (tmp_path / "doubt.html").read_text()
    assert page.count("<figure>") == 4
    assert page.count("data:image/") == 16
    assert page.index(ranked[0].name) < page.index(ranked[1].name)


def test_stored_probabilities_are_used(folds, tmp_path):
    copy = shutil.copytree(folds, tmp_path / "copy")
    plan = json.loads((copy / "folds.json").read_text())
    (copy / "probabilities").mkdir()
    for name in plan["images"]:
        levels = np.zeros((6, *SHAPES["size"]), np.uint8)
        levels[0] = 255  # all background
        np.savez(copy / "probabilities" / f"{name}.npz", probabilities=levels)
    ranked, _ = doubt(DoubtConfig(crossval=str(copy), num_images=0), tmp_path)
    assert all(region.predicted == 0 for suspect in ranked for region in suspect.doubt.regions)


def test_a_planted_error_is_found_on_the_command_line(tmp_path, monkeypatch, capsys):
    """A model that knows bright from dark, by its weights: one mask of eight has the two swapped."""
    monkeypatch.setattr(Predictor, "segment", lambda self, image, probabilities: _Brightness(image))
    for split in ("train", "val"):
        for index in range(8):
            pixels = np.zeros((20, 30, 3), np.uint8)
            pixels[:, 2 * index + 4 : 2 * index + 14] = 255
            mask = (pixels[:, :, 0] > 0).astype(np.uint8)
            mask = 1 - mask if (split, index) == ("val", 5) else mask
            for kind, values in (("images", pixels), ("masks", mask)):
                path = tmp_path / kind / split / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(path)
    names = type(CLASSES).create(["dark", "bright"])
    checkpoint = untrained(tmp_path / "a.ckpt", names)
    options = ["dataset=folder", f"dataset.root={tmp_path}", "dataset.class_names=[dark,bright]", "device=cpu"]
    assert main([str(checkpoint), *options, f"hydra.run.dir={tmp_path / 'out'}"]) == 0
    images = json.loads((tmp_path / "out" / "doubt.json").read_text())["images"]
    assert images[0]["name"].endswith("val/5.png")
    assert images[0]["files"][1].endswith("masks/val/5.png")
    assert images[0]["score"] > 10 * images[1]["score"]
    assert "8 of 8 images, most doubt first" in " ".join(capsys.readouterr().out.split())


class _Brightness:
    """Stands in for a segmentation: bright pixels are class 1 with 0.9."""

    def __init__(self, image):
        bright = np.where(image[:, :, 0] > 127, 0.9, 0.1)
        self.probabilities = np.stack([1 - bright, bright])


def test_the_dataset_of_the_run_is_the_default(run, tmp_path, capsys):
    folder = tmp_path / "out"
    assert main([str(run[0] / "best.ckpt"), "device=cpu", "num_images=1", f"hydra.run.dir={folder}"]) == 0
    assert len(json.loads((folder / "doubt.json").read_text())["images"]) == SHAPES["num_val"]
    assert f"page: {folder / 'doubt.html'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "doubt: set crossval=FOLDER of a segnet crossval, or checkpoint=best.ckpt and a split"),
        ({"crossval": "x", "checkpoint": "y"}, "doubt: set crossval=FOLDER"),
        ({"crossval": "x"}, "crossval=x: is not the folder of a segnet crossval"),
        (
            {"checkpoint": "y", "split": "train"},
            "split=train: the checkpoint must not have seen the images",
        ),
        ({"checkpoint": "y", "num_images": -1}, "num_images=-1 must be 0 or more"),
    ],
)
def test_impossible_options_are_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        doubt(DoubtConfig(**options), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_cross_validation_is_refused(folds, tmp_path):
    copy = shutil.copytree(folds, tmp_path / "copy")
    (copy / "fold2" / "fold.json").unlink()
    with pytest.raises(ConfigError, match="1 of 2 folds are finished: resume it with checkpoint=auto"):
        doubt(DoubtConfig(crossval=str(copy)), tmp_path)


def test_a_model_of_other_classes_is_refused(tmp_path):
    other = untrained(tmp_path / "a.ckpt", type(CLASSES).create(["road", "tree"]))
    with pytest.raises(DataError, match="the dataset has 6 classes"):
        doubt(DoubtConfig(checkpoint=str(other), dataset=SHAPES, device="cpu"), tmp_path)

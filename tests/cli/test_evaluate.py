"""`segnet evaluate`: a positional checkpoint, and the dataset of its run."""

import json
import shutil

import numpy as np
import pytest
from tiny import SHAPES

from segnet.cli import evaluate
from segnet.data.datasets.shapes import Shapes
from segnet.errors import CheckpointError, ConfigError
from segnet.inference.predictor import Predictor
from segnet.inference.refinement import Refinement
from segnet.workflows.per_image import ImageCounts


def evaluated(folder, *arguments):
    assert evaluate.main([*map(str, arguments), f"hydra.run.dir={folder}"]) == 0
    return json.loads((folder / "results.json").read_text())


def test_the_dataset_of_the_run_is_the_default(run, tmp_path, capsys):
    folder, results = run
    found = evaluated(tmp_path / "evaluation", folder / "best.ckpt")
    assert found["miou"] == results.scores.miou
    assert "dataset of the run: name=shapes" in capsys.readouterr().out


def test_the_counts_of_each_image_are_written_on_request(run, tmp_path):
    folder, results = run
    evaluated(tmp_path / "evaluation", folder / "best.ckpt", "per_image=true", "boundary=0.05")
    counts = ImageCounts.read(tmp_path / "evaluation" / "per_image.json")
    matrix = np.array(results.confusion)
    assert counts.counts.sum(axis=0).tolist() == [
        matrix.diagonal().tolist(),
        matrix.sum(1).tolist(),
        matrix.sum(0).tolist(),
    ]
    assert (len(counts.names), counts.split, list(counts.classes)) == (5, "val", list(results.classes.names))
    record = json.loads((tmp_path / "evaluation" / "per_image.json").read_text())
    np.testing.assert_allclose([image["miou"] for image in record["images"]], results.image_miou)
    assert "boundary" in json.loads((tmp_path / "evaluation" / "results.json").read_text())


def test_an_impossible_boundary_is_refused_before_the_evaluation(run, tmp_path):
    with pytest.raises(ConfigError, match=r"boundary=5\.0 .* write boundary=0\.02"):
        evaluated(tmp_path / "evaluation", run[0] / "best.ckpt", "boundary=5")
    assert not (tmp_path / "evaluation").exists()


def test_dataset_options_override_those_of_the_run(run, tmp_path):
    found = evaluated(tmp_path / "evaluation", run[0] / "best.ckpt", "--dataset.num-val", 2)
    assert found["num_images"] == 2


def test_a_checkpoint_without_its_run_needs_a_dataset(run, tmp_path):
    shutil.copy(run[0] / "best.ckpt", tmp_path / "alone.ckpt")
    with pytest.raises(ConfigError, match=r"no config\.yaml in the folder of .*alone\.ckpt.*: add dataset="):
        evaluated(tmp_path / "evaluation", tmp_path / "alone.ckpt")


def test_several_checkpoints_are_averaged(run, tmp_path, capsys):
    shutil.copy(run[0] / "best.ckpt", tmp_path / "again.ckpt")
    found = evaluated(tmp_path / "evaluation", run[0] / "best.ckpt", tmp_path / "again.ckpt")
    assert found["miou"] == pytest.approx(run[1].scores.miou, abs=1e-3)
    assert found["checkpoint"] == [str(run[0] / "best.ckpt"), str(tmp_path / "again.ckpt")]
    assert "5 images, best.ckpt, again.ckpt" in " ".join(capsys.readouterr().out.split())


def test_something_else_than_files_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"checkpoint=3: name a file, or several as checkpoint=\[a.ckpt,b.ckpt\]"):
        evaluated(tmp_path / "evaluation", "checkpoint=3")


def test_thresholds_refusal_and_smallest_regions_are_measured(run, tmp_path, capsys):
    folder, results = run
    options = {"threshold": "disk=0.2,ring=0.9", "refuse": 0.3, "min_area": "6,disk=3"}
    found = evaluated(
        tmp_path / "a", folder / "best.ckpt", "threshold=disk=0.2,ring=0.9", "--refuse", 0.3, "--min-area", "6,disk=3"
    )
    assert (found["threshold"], found["min_area"]) == ({"disk": 0.2, "ring": 0.9}, {"": 6, "disk": 3})
    predictor = Predictor(folder / "best.ckpt", "cpu", refinement=Refinement.read(**options))
    matrix, refused = np.zeros((6, 6), int), 0
    samples = Shapes("val", **{key: SHAPES[key] for key in ("num_val", "size")})
    for sample in map(samples.load, range(len(samples))):
        mask = predictor.segment(sample.image).mask
        given = mask != predictor.classes.ignore_index
        np.add.at(matrix, (sample.mask[given], mask[given]), 1)
        refused += int((~given).sum())
    assert found["refused"] == pytest.approx(refused / (matrix.sum() + refused), abs=1e-3)
    assert [one["pixels"] for one in found["classes"].values()] == pytest.approx(matrix.sum(axis=1), abs=3)
    assert found["pixel_accuracy"] == pytest.approx(matrix.diagonal().sum() / matrix.sum(), abs=1e-3)
    assert "of the labeled pixels: all scores are those of the others" in capsys.readouterr().out
    assert found["miou"] != results.scores.miou


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["per_image=true"], "per_image and refuse cannot be combined"),
        (["boundary=0.02"], "boundary and refuse cannot be combined"),
        (["threshold=dsk=0.5"], "threshold: 'dsk' is no class of this model. Did you mean 'disk'"),
    ],
)
def test_options_that_exclude_each_other_are_refused(run, tmp_path, options, message):
    with pytest.raises(ConfigError) as error:
        evaluated(tmp_path / "evaluation", run[0] / "best.ckpt", "refuse=0.5", *options)
    assert str(error.value).startswith(message)


def test_a_missing_checkpoint_is_reported_first(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.ckpt: no such checkpoint"):
        evaluated(tmp_path / "evaluation", tmp_path / "none.ckpt")

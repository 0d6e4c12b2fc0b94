"""`segnet evaluate`: a positional checkpoint, and the dataset of its run."""

import json
import shutil

import numpy as np
import pytest

from segnet.cli import evaluate
from segnet.errors import CheckpointError, ConfigError
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


def test_a_missing_checkpoint_is_reported_first(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.ckpt: no such checkpoint"):
        evaluated(tmp_path / "evaluation", tmp_path / "none.ckpt")

"""segnet.evaluate, compare, average and doubt match the command line."""

import json
from pathlib import Path

import pytest
import torch
from calling import command_line
from tiny import configuration

import segnet
from segnet.cli import average, compare, doubt
from segnet.models.checkpoint import read_checkpoint
from segnet.verb_config import CompareConfig, DoubtConfig, EvaluateConfig

DATASET = ["dataset=shapes", "dataset.num_val=5", "dataset.size=[48,40]", "data.num_workers=0"]


def test_evaluate_matches_the_command_line(trained, tmp_path):
    command_line(
        "evaluate", f"checkpoint={trained.checkpoint}", *DATASET, "flip=true", f"hydra.run.dir={tmp_path / 'a'}"
    )
    keywords = {"checkpoint": trained.checkpoint, "flip": True, "output_dir": tmp_path / "b"}
    by_options = segnet.evaluate(*DATASET, **keywords)
    expected = (tmp_path / "a" / "results.json").read_text()
    assert (by_options.folder / "results.json").read_text() == expected
    assert by_options.miou == json.loads(expected)["miou"]
    assert segnet.evaluate(**keywords).results.confusion == by_options.results.confusion  # on the run's own dataset
    by_training = segnet.evaluate(configuration(), **keywords)
    assert by_training.results.confusion == by_options.results.confusion
    dataset = {"name": "shapes", "num_val": 5, "size": [48, 40]}
    by_config = segnet.evaluate(
        EvaluateConfig(checkpoint=str(trained.checkpoint), dataset=dataset, flip=True), output_dir=tmp_path / "c"
    )
    assert by_config.results.confusion == by_options.results.confusion


@pytest.fixture(scope="module")
def evaluations(trained, tmp_path_factory):
    """The folders of two evaluations with the counts of each image: of best.ckpt, and with mirrored images."""
    folders = [tmp_path_factory.mktemp(name) for name in ("plain", "flip")]
    for folder, flip in zip(folders, (False, True), strict=True):
        segnet.evaluate(checkpoint=trained.checkpoint, flip=flip, per_image=True, output_dir=folder)
    return folders


def test_compare_matches_the_command_line(trained, evaluations, tmp_path, capsys):
    plain, flip = map(str, evaluations)
    compare.main([plain, flip, "draws=1000", f"hydra.run.dir={tmp_path / 'a'}"])
    expected = (tmp_path / "a" / "comparison.json").read_text()
    capsys.readouterr()
    calls = [
        lambda folder: segnet.compare(plain, flip, draws=1000, output_dir=folder),
        lambda folder: segnet.compare(first=evaluations[0], second=[flip], draws=1000, output_dir=folder),
        lambda folder: segnet.compare(configuration(), first=plain, second=flip, draws=1000, output_dir=folder),
        lambda folder: segnet.compare(CompareConfig(first=[plain], second=[flip], draws=1000), output_dir=folder),
    ]
    for number, call in enumerate(calls):
        found = call(tmp_path / str(number))
        assert (found.folder / "comparison.json").read_text() == expected
    record = json.loads(expected)
    assert (found.difference, found.verdict) == (record["miou"]["difference"], record["miou"]["verdict"])
    assert f"{100 * found.difference:+.1f} points: {found.verdict}" in repr(found)
    assert "verdict" in found._repr_mimebundle_()["text/html"]
    assert not capsys.readouterr().out

    of_file = segnet.compare(first=trained.checkpoint, second=flip, draws=1000, output_dir=tmp_path / "file")
    assert of_file.comparison.differences.first.tolist() == found.comparison.differences.first.tolist()
    assert (of_file.folder / "per_image_1.json").is_file()


def test_average_matches_the_command_line(trained, tmp_path):
    checkpoints = [str(trained.checkpoint), str(trained.folder / "last.ckpt")]
    values = {"num_images": 4, "data__num_workers": 0}
    average.main([*checkpoints, "num_images=4", "data.num_workers=0", f"hydra.run.dir={tmp_path / 'a'}"])
    found = segnet.average(checkpoint=checkpoints, output_dir=tmp_path / "b", **values)
    expected = read_checkpoint(tmp_path / "a" / "average.ckpt")["state_dict"]
    assert all(torch.equal(value, expected[name]) for name, value in read_checkpoint(found.path)["state_dict"].items())
    assert [result.checkpoint for result in (*found.inputs, found.results)] == [*map(Path, checkpoints), found.path]


def test_doubt_matches_the_command_line(trained, tmp_path):
    words = [f"checkpoint={trained.checkpoint}", "device=cpu", "num_images=1"]
    doubt.main([*words, f"hydra.run.dir={tmp_path / 'a'}"])
    expected = json.loads((tmp_path / "a" / "doubt.json").read_text())
    dataset = {"name": "shapes", "num_val": 5, "size": [48, 40]}
    calls = [
        lambda folder: segnet.doubt(*words, output_dir=folder),
        lambda folder: segnet.doubt(
            configuration(), checkpoint=str(trained.checkpoint), device="cpu", num_images=1, output_dir=folder
        ),
        lambda folder: segnet.doubt(
            DoubtConfig(checkpoint=str(trained.checkpoint), dataset=dataset, device="cpu", num_images=1),
            output_dir=folder,
        ),
    ]
    for number, call in enumerate(calls):
        found = call(tmp_path / str(number))
        assert json.loads((found.folder / "doubt.json").read_text()) == expected
    assert [suspect.doubt.score for suspect in found.suspects] == [image["score"] for image in expected["images"]]
    assert repr(found).endswith("5 images)")
    assert "looks like" in found._repr_mimebundle_()["text/html"]

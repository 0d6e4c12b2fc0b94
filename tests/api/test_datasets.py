"""segnet.inspect matches the command line."""

import json

import pytest
from calling import command_line
from tiny import configuration

import segnet
from segnet.errors import DataError


def test_inspect_matches_the_command_line(tmp_path):
    options = ["dataset=shapes", "dataset.num_train=6", "dataset.num_val=3", "num_images=2"]
    command_line("inspect", *options, f"hydra.run.dir={tmp_path / 'a'}")
    expected = json.loads((tmp_path / "a" / "inspection.json").read_text())
    inspected = segnet.inspect(*options, output_dir=tmp_path / "b")
    assert json.loads((inspected.folder / "inspection.json").read_text()) == expected
    assert inspected.report.errors == []
    assert (inspected.folder / "contact_sheet.png").exists()
    of_config = segnet.inspect(configuration(), splits=["val"], num_images=0, output_dir=tmp_path / "c")
    assert [split.split for split in of_config.report.splits] == ["val"]
    assert not (of_config.folder / "contact_sheet.png").exists()


def test_inspect_returns_the_errors_of_a_dataset(tmp_path):
    for folder in ("images", "masks"):
        for split in ("train", "val"):
            (tmp_path / folder / split).mkdir(parents=True)
            (tmp_path / folder / split / "a.png").write_bytes(b"no image")
    inspected = segnet.inspect(
        dataset="folder", dataset__root=tmp_path, dataset__class_names=["a", "b"], output_dir=tmp_path / "out"
    )
    assert len(inspected.report.errors) >= 2
    with pytest.raises(DataError):
        inspected.report.require_sound()

"""segnet.json: the options that a folder of images and masks brings along."""

import json

import pytest

from segnet.choices import FOLDER_OPTIONS
from segnet.cli.composition import composed
from segnet.config import Config
from segnet.errors import ConfigError

NAMES = ["<b>a</b>", "b, 'c'", 'd "e"', "f\\", "g=${h}", "[i]"]
OPTIONS = {"class_names": NAMES, "palette": [[1, 2, 3]] * 6, "ignore_index": 254, "channels": 4, "value_range": None}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "my data"
    folder.mkdir()
    (folder / FOLDER_OPTIONS).write_text(json.dumps(OPTIONS), encoding="utf-8")
    return folder


def dataset(*arguments):
    return composed("train", Config, [str(argument) for argument in arguments]).dataset


@pytest.mark.parametrize("form", ["positional", "root", "quoted"])
def test_a_folder_names_its_classes(folder, form):
    quoted = ["dataset=folder", f"dataset.root='{folder}'"]
    arguments = {"positional": [folder], "root": ["dataset=folder", f"dataset.root={folder}"], "quoted": quoted}[form]
    found = dataset(*arguments)
    assert found["class_names"] == NAMES
    assert (found["palette"], found["ignore_index"], found["channels"]) == ([[1, 2, 3]] * 6, 254, 4)
    assert "value_range" not in found


def test_options_of_the_command_line_take_precedence(folder):
    found = dataset(folder, "dataset.class_names=[x,y]", "dataset.ignore_index=9")
    assert (found["class_names"], found["ignore_index"], found["channels"]) == (["x", "y"], 9, 4)
    assert "palette" not in found


def test_without_the_file_names_are_asked_for(folder):
    (folder / FOLDER_OPTIONS).unlink()
    with pytest.raises(ConfigError, match=r"dataset\.class_names is not set"):
        dataset(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "must be an object"),
        ('{"root": "/"}', "'root' is not one of class_names, palette"),
    ],
)
def test_a_wrong_file_is_named(folder, content, message):
    (folder / FOLDER_OPTIONS).write_text(content)
    with pytest.raises(ConfigError, match=rf"my data.segnet\.json: {message}"):
        dataset(folder)


def test_other_readers_and_several_roots_do_not_read_it(folder):
    assert "class_names" not in dataset("dataset=shapes")
    with pytest.raises(ConfigError, match=r"dataset\.class_names is not set"):
        dataset("dataset=folder", f"dataset.root=['{folder}']")

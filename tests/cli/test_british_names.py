"""Option names of 0.1.0 in British spelling: refused in one line with the current name."""

import pytest

from segnet.cli import main

FOLDER = ["dataset=folder", "dataset.root=x", "dataset.class_names=[a,b]"]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["train", "data.colour_jitter=0"], "'data.color_jitter'"),
        (["train", "dataset.colour_map=palette"], "'color_map'"),
        (["train", *FOLDER, "dataset.colour_map=palette"], "'color_map'"),
        (["train", "dataset=labelme", *FOLDER[1:], "dataset.unlabelled=a"], "'unlabeled'"),
        (["train", "dataset.unlabelled=a"], "'unlabeled'"),
        (["inspect", *FOLDER, "num_pictures=4"], "'num_images'"),
        (["predict", "a.png", "--save", "mask,colours"], "'colors'"),
        (["predict", "a.mp4", "--save-frames", "colours"], "'colors'"),
    ],
)
def test_the_error_names_the_new_spelling(arguments, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert name in error
    assert error.count("\n") == 1

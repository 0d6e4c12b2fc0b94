"""Inputs that annotation tools cannot name fail in one line; others go on."""

import os
from pathlib import Path

import pytest
from difficult_masks import CLASSES

from segnet.prediction import OutputSettings, Task
from segnet.prediction.folder_files import FolderSettings
from segnet.prediction.inputs import Collector, result_names
from segnet.prediction.records import Records
from segnet.prediction.tool_names import with_tool_names


def problems(*paths: str, kinds=("cvat", "yolo"), frame_kinds=(), root: Path | None = None) -> dict[str, str]:
    """The problem of each input, by the input."""
    collector = Collector()
    for path in paths:
        collector.add(path)
    tasks = [Task(item, name) for item, name in zip(collector.inputs, result_names(collector.inputs), strict=True)]
    settings = OutputSettings(kinds, frame_kinds)
    named = with_tool_names(tasks, settings, FolderSettings(CLASSES, root or Path.cwd(), ""), Records(Path("out")))
    assert [task.name for task in named] == [task.name for task in tasks]
    return {task.input.text: task.input.problem for task in named}


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x/a.png", "x/b.png", "x/b.jpg", "y/a.png", "clip.mp4"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()


def test_equal_names_without_extension_are_refused():
    found = problems("x")
    assert found.pop("x/a.png") == ""
    assert set(found) == {"x/b.png", "x/b.jpg"}
    message = "--save yolo,cvat names images without extension, and 'b' is not unique: rename the file"
    assert all(problem.endswith(message) for problem in found.values())
    assert not any(problems("x", kinds=("mask", "label-studio")).values())


def test_equal_names_in_two_folders_are_refused():
    found = problems("x/a.png", "y/a.png", kinds=("cvat",))
    assert all(
        problem.endswith("'a' is not unique: rename the file, or predict its folder alone")
        for problem in found.values()
    )
    assert not any(problems("x/a.png", "y/a.png", kinds=("labelme",)).values())
    assert not problems(".", kinds=("cvat",))["y/a.png"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("#a.png", "# at its start"),
        (" a.png", "a space at an end"),
        ("a\nb.png", "control characters"),
        (os.fsdecode(b"caf\xe9.png"), "another encoding than UTF-8"),
    ],
)
def test_names_that_a_list_cannot_hold_are_refused(name, reason):
    Path(name).touch()
    assert reason in problems(name)[name]
    assert problems(name, kinds=("label-studio",))[name] == ""


def test_stdin_has_no_name():
    assert problems("-", kinds=("label-studio",))["-"].startswith("-: --save label-studio needs an image with a name")
    assert problems("-", kinds=("mask",))["-"] == ""
    assert problems("-", kinds=("coco",))["-"] == ""
    assert problems("-", kinds=("coco", "yolo"))["-"].startswith("-: --save yolo needs an image with a name")


def test_label_studio_must_serve_the_images(tmp_path):
    assert problems("x/a.png", kinds=("label-studio",), root=tmp_path / "x")["x/a.png"] == ""
    assert (
        "is outside of --label-studio-root"
        in problems("y/a.png", kinds=("label-studio",), root=tmp_path / "x")["y/a.png"]
    )
    assert problems("https://host/a.png", kinds=("label-studio",), root=tmp_path / "x")["https://host/a.png"] == ""


def test_frames_of_a_video_are_named_by_their_results(tmp_path):
    assert problems("clip.mp4", kinds=("cvat",), frame_kinds=("yolo", "label-studio"))["clip.mp4"] == ""
    found = problems("clip.mp4", kinds=("cvat",), frame_kinds=("label-studio",), root=tmp_path / "x")
    assert "clip.png: is outside of --label-studio-root" in found["clip.mp4"]


def test_an_earlier_problem_stays():
    assert problems("gone.png", "x/b.png", "x/b.jpg")["gone.png"] == ""  # reported when it is read

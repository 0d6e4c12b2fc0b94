"""A warning about results of other options in a file for all images."""

from pathlib import Path

import pytest

from segnet.prediction.mixed import mixed_options
from segnet.prediction.records import Origin, Records

JOB = {"checkpoint": "12", "--flip": None, "--scales": (0.5, 1.0)}
FLIPPED = {**JOB, "--flip": True}


def write(folder: Path, name: str, kinds: list[str], job: dict) -> Records:
    """Write the results of an image and their record."""
    records = Records(folder)
    with records.taken(name, kinds, Origin(f"/in/{name}.png", [10, 20], job), {}):
        for kind in kinds:
            path = records.target(name, kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("whole")
    return records


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("coco", "coco.json"),
        ("yolo", "yolo/data.yaml"),
        ("cvat", "cvat.zip"),
        ("label-studio", "label_studio.json"),
        ("csv", "shares.csv"),
    ],
)
def test_the_file_the_options_and_a_result_are_named(tmp_path, kind, file):
    records = write(tmp_path, "sub/a", ["mask", kind], JOB)
    assert mixed_options(records, [kind], FLIPPED, {"b"}) == (
        f"segnet: warning: {tmp_path / file}: also holds results with other options (--flip), such as 'sub/a': use "
        "another --output FOLDER to keep them apart"
    )


def test_all_changed_options_are_named_in_order(tmp_path):
    records = write(tmp_path, "a", ["cvat"], JOB)
    warning = mixed_options(records, ["cvat"], {"checkpoint": "13", "--scales": [1.0], "--window": 512}, ())
    assert "(--scales, --window, checkpoint)" in warning


@pytest.mark.parametrize(
    ("kinds", "job", "names"),
    [
        (["cvat"], JOB, ()),  # the same options: a tuple is a list in a record
        (["cvat"], FLIPPED, {"a", "b"}),  # this run writes that result again
        (["coco"], FLIPPED, ()),  # another file
        ([], FLIPPED, ()),  # no file for all images
    ],
)
def test_results_that_are_not_mixed_give_no_warning(tmp_path, kinds, job, names):
    records = write(tmp_path, "a", ["mask", "cvat"], JOB)
    assert mixed_options(records, kinds, job, names) == ""


def test_a_new_folder_gives_no_warning(tmp_path):
    assert mixed_options(Records(tmp_path / "new"), ["cvat"], JOB, {"a"}) == ""

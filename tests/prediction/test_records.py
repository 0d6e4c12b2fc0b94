"""Records of a prediction folder: results of another origin are never reused."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from warm_python import WARM_PYTHON

from segnet.errors import DataError
from segnet.prediction import records as module
from segnet.prediction.records import FOLDER, Origin, Records, is_result, remove_stale_files

ORIGIN = Origin("/in/a.png", [10, 20], {"checkpoint": "12", "--classes": None})
KINDS = ["mask", "overlay"]


def make(folder: Path, name="a", kinds=KINDS, origin=ORIGIN, overwrite=False, **facts) -> None:
    records = Records(folder, overwrite)
    with records.taken(name, kinds, origin, facts):
        for kind in kinds:
            path = records.target(name, kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("whole")


def test_results_of_the_same_origin_are_not_repeated(tmp_path):
    records = Records(tmp_path)
    assert records.pending("sub/a", KINDS, ORIGIN) == KINDS
    make(tmp_path, "sub/a", pixels={"road": 3})
    assert records.pending("sub/a", KINDS, ORIGIN) == []
    assert records.pending("sub/a", [*KINDS, "geojson"], ORIGIN) == ["geojson"]
    (tmp_path / "sub/a_mask.png").unlink()
    assert records.pending("sub/a", KINDS, ORIGIN) == ["mask"]
    make(tmp_path, "sub/a", ["geojson"])
    assert [(name, record["pixels"], record["saved"]) for name, record in records.done()] == [
        ("sub/a", {"road": 3}, ["geojson", "mask", "overlay"])
    ]
    assert Records(tmp_path, overwrite=True).pending("sub/a", KINDS, ORIGIN) == KINDS


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Origin("/in/b.png", [10, 20], ORIGIN.job), "made of /in/a.png"),
        (Origin("/in/a.png", [10, 21], ORIGIN.job), "made of an earlier state of this input"),
        (Origin("/in/a.png", None, ORIGIN.job), "made of /in/a.png before"),
        (Origin("/in/a.png", [10, 20], {"checkpoint": "13", "--classes": None}), r"other options \(checkpoint\)"),
        (Origin("/in/a.png", [10, 20], {"checkpoint": "12", "--flip": True}), r"other options \(--flip\)"),
    ],
)
def test_results_of_another_origin_are_refused(tmp_path, other, message):
    make(tmp_path)
    with pytest.raises(DataError, match=message):
        Records(tmp_path).pending("a", KINDS, other)
    with pytest.raises(DataError, match=message):  # also for other kinds: a name has one origin
        Records(tmp_path).pending("a", ["geojson"], other)
    with pytest.raises(DataError, match=message):
        make(tmp_path, origin=other)
    assert Records(tmp_path).read("a")["source"] == ORIGIN.source
    make(tmp_path, origin=other, overwrite=True)
    assert Records(tmp_path).read("a")["stamp"] == other.stamp


def test_files_without_a_record_are_refused(tmp_path):
    (tmp_path / "a_mask.png").write_text("precious")
    with pytest.raises(DataError, match=r"a_mask\.png: exists already, made by something else; --overwrite"):
        Records(tmp_path).pending("a", KINDS, ORIGIN)
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "a.json").write_text('{"torn')
    with pytest.raises(DataError, match="made by something else"):
        Records(tmp_path).pending("a", KINDS, ORIGIN)


def test_deleted_results_do_not_block_a_name(tmp_path):
    make(tmp_path)
    for path in tmp_path.glob("*.png"):
        path.unlink()
    other = Origin("/in/b.png", [1, 2], {})
    assert Records(tmp_path).pending("a", KINDS, other) == KINDS
    make(tmp_path, origin=other)
    assert Records(tmp_path).read("a")["source"] == "/in/b.png"


def test_a_killed_overwrite_does_not_count_as_done(tmp_path):
    make(tmp_path)
    other = Origin("/in/a.png", [10, 20], {"checkpoint": "13"})
    with pytest.raises(KeyboardInterrupt), Records(tmp_path, overwrite=True).taken("a", KINDS, other):
        raise KeyboardInterrupt  # before a file was replaced
    with pytest.raises(DataError, match="exists already"):
        Records(tmp_path).pending("a", KINDS, other)


def test_a_killed_prediction_resumes(tmp_path):
    with Records(tmp_path).taken("a", KINDS, ORIGIN):  # after the last file, only facts are missing
        (tmp_path / "a_mask.png").write_text("whole")
    assert Records(tmp_path).pending("a", KINDS, ORIGIN) == ["overlay"]


OTHER_PROCESS = """
import sys
from pathlib import Path
from segnet.prediction.records import Origin, Records

records = Records(Path(sys.argv[1]))
with records.taken("a", ["mask"], Origin("/in/b.png", [1, 2], {})):
    print("taken", flush=True)
    sys.stdin.readline()
    records.target("a", "mask").write_text("theirs")
"""


@pytest.mark.skipif(module.fcntl is None, reason="needs POSIX file locks")
@pytest.mark.parametrize("killed", [False, True])
def test_a_second_process_waits_for_the_results_of_a_name(tmp_path, killed):
    command = [*WARM_PYTHON, "-c", OTHER_PROCESS, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as other, ThreadPoolExecutor(1) as thread:
        assert other.stdout.readline() == "taken\n"
        ours = thread.submit(make, tmp_path)
        make(tmp_path, "unrelated")  # other names are not locked
        assert not ours.done()
        assert not (tmp_path / "a_mask.png").exists()
        if killed:
            other.kill()
        else:
            other.stdin.write("\n")
            other.stdin.flush()
        error = ours.exception(60)
    if killed:  # a record without results does not block the name
        assert error is None
        assert Records(tmp_path).read("a")["source"] == ORIGIN.source
    else:
        assert isinstance(error, DataError)
        assert "made of /in/b.png" in str(error)
        assert (tmp_path / "a_mask.png").read_text() == "theirs"


def test_results_are_recognized(tmp_path):
    make(tmp_path, "sub/a")
    make(tmp_path, "clip", ["video"])
    (tmp_path / "clip").mkdir()
    for name in ("clip/000001_mask.png", "sub/b_mask.png", "sub/a.png", "a_mask.png"):
        (tmp_path / name).touch()
    results = [path for path in tmp_path.rglob("*") if path.is_file() and FOLDER not in path.parts and is_result(path)]
    assert sorted(str(path.relative_to(tmp_path)) for path in results) == [
        "clip/000001_mask.png",
        "clip_overlay.mp4",
        "sub/a_mask.png",
        "sub/a_overlay.png",
    ]


def test_images_copied_beside_yolo_labels_are_results(tmp_path):
    top = tmp_path / "out"
    make(top, "sub/a", ["yolo"])
    make(top, "b", ["mask"])
    make(top, "clip", ["yolo"], frames=2)
    copies = ["yolo/images/train/sub/a.png", "yolo/images/val/sub/a.jpg", "yolo/images/train/clip/000001.png"]
    others = ["yolo/images/train/b.png", "yolo/images/train/a.png", "yolo/images/sub/a.png", "images/train/sub/a.png"]
    assert [is_result(top / name) for name in copies] == [True] * 3
    assert [is_result(top / name) for name in others] == [False] * 4
    assert not is_result(tmp_path / copies[0])


def test_temporary_files_of_killed_predictions_are_removed_after_an_hour(tmp_path):
    old = [".a_mask.png.abcd1234.tmp", "sub/.b.json.abcd1234.tmp", ".shares.csv.abcd1234.tmp"]
    kept = [".mine.tmp", "a_mask.png", ".c_mask.png.abcd1234.tmp"]
    for name in [*old, *kept]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        if not name.startswith(".c"):  # a file in progress
            os.utime(path, (1, 1))
    remove_stale_files(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(kept)

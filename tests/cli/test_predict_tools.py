"""`segnet predict --save cvat,label-studio,yolo`: what the readers make of it is the predicted mask."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from difficult_masks import read_back
from predicting import CLASSES, untrained, write_noise, written

from segnet.classes import Classes
from segnet.cli.predict import main
from segnet.data.datasets.coco_instances import COCOInstances
from segnet.data.datasets.cvat import cvat
from segnet.data.datasets.labelme import LabelMe
from segnet.data.datasets.yolo import YOLO
from segnet.errors import DataError
from segnet.images.masks import read_mask
from segnet.images.video import VideoWriter

SIZES = {"a.png": (33, 47), "sub/b c.png": (20, 30), "sub/d.png": (1, 1), "e.png": (48, 16)}
NAMES = [name.removesuffix(".png") for name in SIZES]


def archived() -> list[str]:
    with zipfile.ZipFile("predictions/cvat.zip") as file:
        return file.read("ImageSets/Segmentation/default.txt").decode().splitlines()


def test_sharded_and_failing_runs_give_whole_files_that_are_read_back(folder, capsys):
    checkpoint = str(untrained(folder / "best.ckpt", CLASSES))
    for name, size in SIZES.items():
        write_noise(f"photos/{name}", size)
    Path("photos/sub/d.png").rename("late.png")
    Path("photos/sub/d.png").write_bytes(b"")
    command = ["photos", "--checkpoint", checkpoint, "--save", "mask,labelme,cvat,label-studio,yolo"]
    assert main([*command, "--shard", "1/2"]) == 0
    assert archived() == ["a", "sub/b c"]
    assert main([*command, "--shard", "2/2"]) == 6  # of two inputs, one fails
    assert archived() == ["a", "e", "sub/b c"]
    Path("late.png").replace("photos/sub/d.png")
    assert main(command) == 0
    assert "predictions/cvat.zip: 4 images" in capsys.readouterr().out
    before = Path("predictions/cvat.zip").read_bytes()
    assert main(command) == 0
    assert Path("predictions/cvat.zip").read_bytes() == before
    assert archived() == sorted(NAMES)

    truth = {name: read_mask(f"predictions/{name}_mask.png") for name in NAMES}
    assert len(np.unique(np.concatenate([mask.ravel() for mask in truth.values()]))) > 1
    zipfile.ZipFile("predictions/cvat.zip").extractall("corrected")
    shutil.copytree("photos", "corrected/JPEGImages")
    shutil.copytree("photos", "predictions/yolo/images/train")
    shutil.copytree("photos", "polygons")
    for name in NAMES:
        shutil.copy(f"predictions/{name}.json", f"polygons/{name}.json")
    names = list(CLASSES.names)
    for splits, place in (
        ([cvat(split, "corrected") for split in ("train", "val")], "corrected/JPEGImages"),
        ([YOLO(split, "predictions/yolo") for split in ("train", "val")], "predictions/yolo/images/train"),
        ([LabelMe(split, "polygons", names) for split in ("train", "val")], "polygons"),
    ):
        found = read_back(splits, CLASSES, place)
        assert sorted(found) == sorted(NAMES)
        for name, mask in found.items():
            np.testing.assert_array_equal(mask, truth[name])
    with pytest.raises(DataError, match="results of earlier predictions skipped: 8;"):  # four masks, four copies
        main(["predictions", *command[1:]])
    tasks = json.loads(Path("predictions/label_studio.json").read_text())
    assert [task["data"]["image"] for task in tasks] == [
        "/data/local-files/?d=photos/" + name.replace(" ", "%20") + ".png" for name in sorted(NAMES)
    ]
    assert all(0 < task["predictions"][0]["score"] <= 1 for task in tasks)


def test_one_coco_file_holds_all_images(folder):
    pytest.importorskip("pycocotools", reason="pycocotools is an optional package, and not installed")
    checkpoint = str(untrained(folder / "best.ckpt", CLASSES))
    for name, size in SIZES.items():
        write_noise(f"photos/{name}", size)
    for shard in ("1/2", "2/2"):
        assert main(["photos", "--checkpoint", checkpoint, "--save", "mask,coco", "--shard", shard]) == 0
    splits = [COCOInstances(split, ".", "photos", "predictions/coco.json") for split in ("train", "val")]
    found = read_back(splits, CLASSES, "photos")
    assert sorted(found) == sorted(NAMES)
    for name, mask in found.items():
        np.testing.assert_array_equal(mask, read_mask(f"predictions/{name}_mask.png"))


def test_other_classes_are_refused_before_any_work(folder):
    write_noise("a.png")
    write_noise("b.png")
    first = str(untrained(folder / "best.ckpt", CLASSES))
    other = str(untrained(folder / "other.ckpt", Classes.create(["x", "y"])))
    assert main(["a.png", "--checkpoint", first, "--save", "yolo", "--classes", "tree"]) == 0
    command = ["b.png", "--checkpoint", other, "--save"]
    with pytest.raises(DataError, match=r"predictions/yolo/data\.yaml: holds 'a' with other classes or colors"):
        main([*command, "yolo"])
    assert main([*command, "mask"]) == 0
    assert {line[0] for line in Path("predictions/yolo/labels/train/a.txt").read_text().splitlines()} <= {"1"}


def test_a_video_has_its_own_archive(folder, capsys):
    checkpoint = str(untrained(folder / "best.ckpt", CLASSES))
    Path("clip.mp4").touch()
    writer = VideoWriter(Path("clip.mp4"), 10, "clip.mp4")
    for number in range(3):
        writer.write(np.full((32, 48, 3), 40 * number, np.uint8))
    writer.close()
    command = ["clip.mp4", "--checkpoint", checkpoint, "--save", "cvat", "--save-frames", "mask,labelme,yolo"]
    assert main(command) == 0
    assert "clip.mp4 -> predictions/clip_cvat.zip: 3 frames" in capsys.readouterr().out
    with zipfile.ZipFile("predictions/clip_cvat.zip") as file:
        names = file.read("ImageSets/Segmentation/default.txt").decode().splitlines()
    assert names == ["frame_000000", "frame_000001", "frame_000002"]
    assert not Path("predictions/cvat.zip").exists()
    assert json.loads(Path("predictions/clip/000002.json").read_text())["imagePath"] == "000002.png"
    assert Path("predictions/yolo/train.txt").read_text().splitlines()[0] == "./images/train/clip/000001.png"
    assert "yolo/labels/train/clip/000003.txt" in written()
    assert main(command) == 0
    assert "done already" in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "file"), [("cvat", "cvat.zip"), ("csv", "shares.csv")])
def test_results_of_other_options_in_one_file_are_reported(folder, capsys, kind, file):
    write_noise("a.png")
    write_noise("b.png")
    command = ["--checkpoint", str(untrained(folder / "best.ckpt", CLASSES)), "--save", f"mask,{kind}"]
    assert main(["a.png", *command]) == 0
    assert main(["b.png", *command]) == 0
    assert "warning" not in capsys.readouterr().err
    assert main(["b.png", "--overwrite", "--flip", *command]) == 0
    warning = f"predictions/{file}: also holds results with other options (--flip), such as 'a': use another --output"
    assert warning in capsys.readouterr().err


def test_a_conflict_names_the_file_of_all_images(folder, capsys):
    write_noise("a.png")
    command = ["a.png", "--checkpoint", str(untrained(folder / "best.ckpt", CLASSES)), "--save", "cvat"]
    assert main(command) == 0
    assert main([*command, "--flip"]) == 3
    assert "predictions/cvat.zip: 'a': exists already, made with other options (--flip)" in capsys.readouterr().err

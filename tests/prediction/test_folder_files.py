"""Files of annotation tools for all images of a folder: complete, and only of results that are complete."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from difficult_masks import CLASSES, NO_BACKGROUND

from segnet.choices import FOLDER_KINDS
from segnet.classes import Classes
from segnet.errors import ConfigError, DataError
from segnet.inference.segmentation import Segmentation
from segnet.prediction.folder_files import (
    LABELS,
    FolderSettings,
    check_folder_files,
    image_address,
    labels_of,
    write_folder_files,
)
from segnet.prediction.outputs import WRITERS, Style
from segnet.prediction.records import FOLDER_FILES, Origin, Records

SETTINGS = FolderSettings(CLASSES, Path("/in"), "/data/local-files/?d=")


def predict(folder, name, classes=CLASSES, kinds=FOLDER_KINDS, overwrite=False, value=1, parts=True, source=None):
    """Write the results of an image, as `segnet predict` does."""
    records = Records(folder, overwrite)
    mask = np.array([[0, value, 2]], np.uint8)
    result = Segmentation(np.zeros((1, 3, 3), np.uint8), mask, classes)
    origin = Origin(source or f"/in/{name}.jpg", [1, 2], {"checkpoint": "12ab"})
    with records.taken(name, kinds, origin, {LABELS: labels_of(classes), "checkpoint": "best.ckpt", "frames": 1}):
        for kind in kinds if parts else ():
            WRITERS[kind](records.target(name, kind), result, Style(), origin.source)


def written(folder, kinds=FOLDER_KINDS, settings=SETTINGS):
    return {
        str(path.relative_to(folder)): number for path, number in write_folder_files(Records(folder), kinds, settings)
    }


def archived(folder) -> list[str]:
    with zipfile.ZipFile(folder / "cvat.zip") as file:
        return file.read("ImageSets/Segmentation/default.txt").decode().splitlines()


def test_all_complete_results_of_a_folder_are_in_its_files(tmp_path):
    predict(tmp_path, "sub/a")
    assert written(tmp_path) == {"coco.json": 1, "yolo/data.yaml": 1, "cvat.zip": 1, "label_studio.json": 1}
    predict(tmp_path, "b")  # a later or concurrent run
    predict(tmp_path, "killed", parts=False)
    predict(tmp_path, "other", kinds=["mask"], parts=False)
    assert written(tmp_path) == {"coco.json": 2, "yolo/data.yaml": 2, "cvat.zip": 2, "label_studio.json": 2}
    assert archived(tmp_path) == ["b", "sub/a"]
    assert (tmp_path / "yolo/train.txt").read_text() == "./images/train/b.jpg\n./images/train/sub/a.jpg\n"
    assert (tmp_path / "yolo/labels/train/sub/a.txt").read_text().startswith("0 ")
    tasks = json.loads((tmp_path / "label_studio.json").read_text())
    assert [task["data"]["image"] for task in tasks] == [
        "/data/local-files/?d=b.jpg",
        "/data/local-files/?d=sub/a.jpg",
    ]
    assert [prediction["model_version"] for prediction in tasks[0]["predictions"]] == ["best.ckpt 12ab"]
    assert [label["name"] for label in json.loads((tmp_path / "cvat_labels.json").read_text())] == ["a", "b b", "ç"]


def test_a_repeated_run_gives_the_same_files(tmp_path):
    predict(tmp_path, "a")
    written(tmp_path)
    files = [tmp_path / name for names in FOLDER_FILES.values() for name in names]
    before = [path.read_bytes() for path in files]
    predict(tmp_path, "a")
    written(tmp_path)
    assert [path.read_bytes() for path in files] == before
    predict(tmp_path, "a", overwrite=True, value=3)
    written(tmp_path)
    changed = [path.name for path, old in zip(files, before, strict=True) if path.read_bytes() != old]
    assert changed == ["coco.json", "cvat.zip", "label_studio.json"]


def test_images_and_annotations_of_coco_have_ids_of_their_own(tmp_path):
    for name in ("b", "sub/a"):
        predict(tmp_path, name)
    predict(tmp_path, "c", kinds=["coco"], source="https://host/x/c%20d.jpg?size=1")
    predict(tmp_path, "stdin", kinds=["coco"], source="-")
    written(tmp_path)
    content = json.loads((tmp_path / "coco.json").read_text())
    files = {image["id"]: image["file_name"] for image in content["images"]}
    assert files == {1: "b.jpg", 2: "c d.jpg", 3: "stdin", 4: "sub/a.jpg"}
    assert [one["id"] for one in content["annotations"]] == list(range(1, 13))  # three classes in each image
    assert [one["image_id"] for one in content["annotations"]] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert [one["name"] for one in content["categories"]] == list(CLASSES.names)
    predict(tmp_path, "b_2", kinds=["coco"], source="/elsewhere/b.jpg")
    with pytest.raises(DataError, match=r"coco\.json: two images would be called 'b\.jpg', one of them is /elsewhere"):
        written(tmp_path)


def test_without_results_nothing_is_written(tmp_path):
    predict(tmp_path, "a", kinds=["mask"], parts=False)
    assert written(tmp_path) == {}
    assert not (tmp_path / "cvat.zip").exists()


def test_frames_of_a_video_are_images(tmp_path):
    records = Records(tmp_path)
    facts = {LABELS: labels_of(CLASSES), "frames": 3, "checkpoint": ""}
    result = Segmentation(np.zeros((1, 3, 3), np.uint8), np.array([[0, 1, 2]], np.uint8), CLASSES)
    kinds = ["yolo", "label-studio", "coco"]
    with records.taken("clip", kinds, Origin("/in/clip.mp4", [1, 2], {}), facts):
        for number in (1, 2, 3):
            for kind in kinds:
                WRITERS[kind](records.target(f"clip/{number:06d}", kind), result, Style(), "")
    settings = FolderSettings(CLASSES, tmp_path, "s3://bucket/")
    assert written(tmp_path, settings=settings) == {"coco.json": 3, "yolo/data.yaml": 3, "label_studio.json": 3}
    images = json.loads((tmp_path / "coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == [f"clip/{number:06d}.png" for number in (1, 2, 3)]
    assert (tmp_path / "yolo/train.txt").read_text().splitlines()[2] == "./images/train/clip/000003.png"
    tasks = json.loads((tmp_path / "label_studio.json").read_text())
    assert tasks[0]["data"]["image"] == "s3://bucket/clip/000001.png"


def test_results_of_other_classes_are_refused(tmp_path):
    predict(tmp_path, "a", NO_BACKGROUND)
    with pytest.raises(DataError, match=r"cvat\.zip: holds 'a' with other classes or colors .* another --output"):
        check_folder_files(Records(tmp_path), ["cvat"], CLASSES, {"a"})
    with pytest.raises(DataError, match="holds 'a' with other classes"):
        written(tmp_path)
    check_folder_files(Records(tmp_path, overwrite=True), ["cvat"], CLASSES, {"a"})
    with pytest.raises(DataError, match="holds 'a' with other classes"):
        check_folder_files(Records(tmp_path, overwrite=True), ["cvat"], CLASSES, {"b"})


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in FOLDER_FILES.items() for name in names])
def test_files_of_something_else_are_refused(tmp_path, kind, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("precious")
    with pytest.raises(DataError, match=f"{name}: exists already, made by something else; --overwrite"):
        check_folder_files(Records(tmp_path), [kind], CLASSES, {"a"})
    check_folder_files(Records(tmp_path, overwrite=True), [kind], CLASSES, {"a"})
    predict(tmp_path, "a")
    check_folder_files(Records(tmp_path), [kind], CLASSES, {"a"})


def test_class_names_that_cvat_cannot_read_are_refused_first(tmp_path):
    classes = Classes.create(["background", "a:b"])
    with pytest.raises(ConfigError, match="'a:b' cannot stand in CVAT's label map"):
        check_folder_files(Records(tmp_path), ["cvat"], classes, {"a"})
    check_folder_files(Records(tmp_path), ["yolo", "label-studio"], classes, {"a"})


def test_damaged_parts_are_named(tmp_path):
    predict(tmp_path, "a")
    for kind, suffix in (("coco", "coco"), ("cvat", "cvat"), ("label-studio", "label-studio")):
        (tmp_path / f".segnet/a.{suffix}").write_bytes(b"{torn")
        with pytest.raises(DataError, match=rf"a\.{suffix}: is damaged .*: delete it, and predict its image again"):
            written(tmp_path, [kind])


def test_an_address_is_relative_to_the_served_folder():
    assert image_address("/in/a b/ç#?+.jpg", SETTINGS) == "/data/local-files/?d=a%20b/%C3%A7%23%3F%2B.jpg"
    bucket = FolderSettings(CLASSES, Path("/in"), "gs://bucket/")
    assert image_address("/in/a b/ç.jpg", bucket) == "gs://bucket/a b/ç.jpg"
    assert image_address("https://host/a%20b.jpg?x=1", SETTINGS) == "https://host/a%20b.jpg?x=1"
    with pytest.raises(DataError, match=r"/other/a\.jpg: is outside of --label-studio-root /in: .*DOCUMENT_ROOT"):
        image_address("/other/a.jpg", SETTINGS)

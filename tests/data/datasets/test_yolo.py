"""Polygons of YOLO, in the layouts of Ultralytics, CVAT and Roboflow."""

import numpy as np
import pytest
import yaml
from PIL import Image

from segnet.data.datasets.yolo import YOLO
from segnet.errors import ConfigError, DataError

HEIGHT, WIDTH = 20, 40
BOX = "0.25 0.2 0.5 0.2 0.5 0.6 0.25 0.6"  # columns 10-19, rows 4-11


def write_image(path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)


def write_label(path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def write(root, *lines: str, **data) -> None:
    """Ultralytics' layout: an image of a split in images/, its polygons in labels/."""
    for split in ("train", "val"):
        write_image(root / "images" / split / f"{split}.jpg")
        write_label(root / "labels" / split / f"{split}.txt", *lines)
    values = {"train": "images/train", "val": "images/val", "names": {0: "cat", 1: "dog"}} | data
    values = {key: value for key, value in values.items() if value is not None}
    (root / "data.yaml").write_text(yaml.safe_dump(values))


def mask_of(root, *lines: str, **data) -> np.ndarray:
    write(root, *lines, **data)
    return YOLO("train", str(root)).load(0).mask


def test_polygons_are_fractions_of_width_and_height(tmp_path):
    mask = mask_of(tmp_path, f"1 {BOX}")
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[4:12, 10:20] = 2
    np.testing.assert_array_equal(mask, expected)
    assert YOLO("val", str(tmp_path)).classes.names == ("background", "cat", "dog")


def test_the_smaller_instance_is_in_front(tmp_path):
    whole = "0 0 0 1 0 1 1 0 1"
    first, second = mask_of(tmp_path, f"1 {BOX}", whole), mask_of(tmp_path, whole, f"1 {BOX}")
    np.testing.assert_array_equal(first, second)
    assert (first == 2).sum() == 80
    assert (first == 1).sum() == HEIGHT * WIDTH - 80


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2 0.2", "is a box, not a polygon: export segmentations"),
        ("0", "has 0 coordinates"),
        ("0 0.1 0.1 0.2 0.2 0.3", "has 5 coordinates: a polygon has three or more corners x y"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "has 7 coordinates"),
        ("2 0.1 0.1 0.2 0.1 0.2 0.2", "class 2 is not in the names of .*data.yaml"),
        ("-1 0.1 0.1 0.2 0.1 0.2 0.2", "class -1 is not in the names"),
        ("0.5 0.1 0.1 0.2 0.1 0.2 0.2", "class 0.5 is not in the names"),
        ("cat 0.1 0.1 0.2 0.1 0.2 0.2", "'cat' is not a finite number"),
        ("0 nan 0.1 0.2 0.1 0.2 0.2", "'nan' is not a finite number"),
        ("0 inf 0.1 0.2 0.1 0.2 0.2", "'inf' is not a finite number"),
        ("0 0,1 0,1 0,2 0,1 0,2 0,2", "'0,1' is not a finite number"),
        ("0 10 4 20 4 20 12", "coordinates are 4 to 20: they must be fractions"),
        ("0 -0.5 0.1 0.2 0.1 0.2 0.2", "coordinates are -0.5 to 0.2"),
        ("0 1e400 0.1 0.2 0.1 0.2 0.2", "is not a finite number"),
    ],
)
def test_invalid_polygon_lines_are_named(tmp_path, line, message):
    with pytest.raises(DataError, match=message) as caught:
        mask_of(tmp_path, f"1 {BOX}", line)
    assert str(caught.value).startswith(f"{tmp_path / 'labels' / 'train' / 'train.txt'}, line 2: ")


def test_coordinates_slightly_outside_are_clipped(tmp_path):
    assert (mask_of(tmp_path, "0.0 -0.005 0 1.005 0 1 1 0 1.01") == 1).all()


def test_an_image_without_labels_is_background_and_counted(tmp_path):
    write(tmp_path, f"1 {BOX}")
    write_image(tmp_path / "images" / "train" / "b.JPG")
    write_image(tmp_path / "images" / "train" / "c.png")
    write_label(tmp_path / "labels" / "train" / "c.txt")
    write_label(tmp_path / "labels" / "train" / "gone.txt", f"1 {BOX}")
    write_label(tmp_path / "labels" / "train" / "classes.txt", "cat", "dog")
    dataset = YOLO("train", str(tmp_path))
    assert [int(dataset.load(index).mask.max()) for index in range(3)] == [0, 0, 2]
    assert dataset.notes.lines() == [
        f"{tmp_path}/images/train: 1 image without label file, taken as background: b.JPG",
        f"{tmp_path}/labels/train: 1 label file left out, it has no image: gone.txt",
    ]
    assert dataset.files(0)[1:] == (tmp_path / "data.yaml", "without b.txt")
    assert dataset.files(2)[1:] == (tmp_path / "labels/train/train.txt", tmp_path / "data.yaml")


def test_a_dataset_without_any_label_is_refused(tmp_path):
    write(tmp_path)
    for path in (tmp_path / "labels" / "train").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"labels/train/train\.txt: no such file, nor labels of other images"):
        YOLO("train", str(tmp_path))


def test_images_that_share_a_label_file_are_refused(tmp_path):
    write(tmp_path, f"1 {BOX}")
    write_image(tmp_path / "images" / "train" / "train.png")
    with pytest.raises(DataError, match=r"train\.png: has the same label file as train\.jpg"):
        YOLO("train", str(tmp_path))


@pytest.mark.parametrize("names", [["cat", "dog"], {0: "cat", 1: "dog"}, {"0": "cat", "1": "dog"}])
def test_names_are_a_list_or_numbered(tmp_path, names):
    write(tmp_path, f"1 {BOX}", names=names)
    assert YOLO("train", str(tmp_path)).classes.names == ("background", "cat", "dog")


def test_names_are_matched_by_their_numbers_and_twins_are_one_class(tmp_path):
    mask = mask_of(tmp_path, f"7 {BOX}", names={7: "dog", 3: "cat", 9: "Background", 1: " dog"})
    dataset = YOLO("train", str(tmp_path))
    assert dataset.classes.names == ("background", "dog", "cat")
    assert (mask == 1).sum() == 80
    assert "1 class merged with another one of the same name: dog" in dataset.notes.lines()[0].replace("  ", " ")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"names": None}, "'names' of the file is missing"),
        ({"names": "cat"}, "'names' of the file must be a list"),
        ({"names": []}, "'names' of the file must be a list"),
        ({"names": [["cat"]]}, "'names' of the file must be a list"),
        ({"names": [None]}, "'names' of the file must be a list"),
        ({"names": {"a": "cat"}}, "'names' of the file must be a list"),
        ({"nc": 3}, "nc is 3, but it has 2 names"),
        ({"nc": "many"}, "'nc' of the file must be a whole number"),
        ({"train": 5}, "'train' of the file must be a folder"),
        ({"train": [5]}, "'train' of the file must be a folder"),
        ({"train": "gone"}, "train: 'gone' is no folder and no list below"),
        ({"train": "../secret"}, r"train: '\.\./secret' is no folder and no list below"),
        ({"kpt_shape": [17, 3]}, "kpt_shape: its labels are keypoints"),
        ({"path": 5}, "'path' of the file must be a text"),
    ],
)
def test_an_invalid_data_file_is_refused(tmp_path, data, message):
    root = tmp_path / "root"
    root.mkdir()
    write_image(tmp_path / "secret" / "a.jpg")
    write(root, f"1 {BOX}", **data)
    with pytest.raises(DataError, match=message) as caught:
        YOLO("train", str(root))
    assert str(caught.value).startswith(f"{root / 'data.yaml'}: ")


@pytest.mark.parametrize(
    ("path", "train"),
    [
        (None, "./images/train"),
        (None, "images\\train\\"),
        (".", "images/train"),
        ("./", ["images/train"]),
        ("images", "train"),
        ("../datasets/elsewhere", "images/train"),
        ("/content/datasets/x", "../images/train"),
        ("{root}", "{root}/images/train"),
    ],
)
def test_paths_of_tools_are_resolved(tmp_path, path, train):
    fill = lambda text: text.replace("{root}", str(tmp_path)) if isinstance(text, str) else text  # noqa: E731
    assert (mask_of(tmp_path, f"1 {BOX}", path=fill(path), train=fill(train)) == 2).any()


@pytest.mark.parametrize("line", ["./images/train/train.jpg", "images/train/train.jpg", "images\\train\\train.jpg"])
def test_lists_of_images(tmp_path, line):
    (tmp_path / "train.txt").write_text(f"{line}\r\n", encoding="utf-16")
    assert (mask_of(tmp_path, f"1 {BOX}", train="train.txt") == 2).any()
    (tmp_path / "train.txt").write_text("images/train/gone.jpg\n")
    with pytest.raises(DataError, match=r"train\.txt: names 'images/train/gone\.jpg', but there is no such image"):
        YOLO("train", str(tmp_path))
    (tmp_path / "train.txt").write_text("../gone.jpg\n")
    with pytest.raises(DataError, match="there is no such image below"):
        YOLO("train", str(tmp_path))


def test_labels_are_next_to_images_without_a_folder_named_images(tmp_path):
    for split in ("train", "valid"):
        write_image(tmp_path / split / "a.jpg")
        write_label(tmp_path / split / "a.txt", f"0 {BOX}")
    (tmp_path / "set.yaml").write_text("train: train\nval: valid\nnames: [cat]\n")
    for split in ("train", "val"):
        assert (YOLO(split, str(tmp_path)).load(0).mask == 1).sum() == 80


def test_an_unnamed_val_split_is_divided_from_train_and_test_is_excluded(tmp_path):
    write(tmp_path, f"1 {BOX}", val=None, test="images/val")
    for number in range(4):
        write_image(tmp_path / "images" / "train" / f"{number}.jpg")
    splits = {split: YOLO(split, str(tmp_path)) for split in ("train", "val", "test")}
    names = {
        split: [dataset.files(index)[0].stem for index in range(len(dataset))] for split, dataset in splits.items()
    }
    assert len(names["train"]) == 4
    assert sorted(names["train"] + names["val"]) == ["0", "1", "2", "3", "train"]
    assert names["test"] == ["val"]
    write(tmp_path, f"1 {BOX}")
    with pytest.raises(ConfigError, match=r"split=test is not in .*data\.yaml"):
        YOLO("test", str(tmp_path))


def test_a_missing_data_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"data\.yaml: no such file, and 0 other YAML files beside it"):
        YOLO("train", str(tmp_path))


def test_folders_of_another_computer_are_found_by_the_end_of_their_path(tmp_path):
    there = "/content/datasets/cats"
    write(tmp_path, f"0 {BOX}", path=there, train=f"{there}/images/train", val="C:\\cats\\images\\val")
    for split in ("train", "val"):
        assert YOLO(split, str(tmp_path)).load(0).name.endswith(f"{split}.jpg")
    (tmp_path / "images" / "val").rename(tmp_path / "images" / "other")
    with pytest.raises(DataError, match=r"val: 'C:\\cats\\images\\val' is no folder and no list below"):
        YOLO("val", str(tmp_path))


@pytest.mark.parametrize("more", [{"test": "images/test"}, {"test": "images/gone"}, {}])
def test_held_out_images_are_not_in_train(tmp_path, more):
    """A folder above all splits is named for train; the folder test may be named, or missing."""
    write(tmp_path, f"0 {BOX}", train="images", **more)
    write_image(tmp_path / "images" / "test" / "test.jpg")
    write_image(tmp_path / "images" / "other.jpg")
    dataset = YOLO("train", str(tmp_path))
    assert sorted(dataset.load(index).name.rpartition("/")[2] for index in range(len(dataset))) == [
        "other.jpg",
        "train.jpg",
    ]
    assert any(
        "1 image left out of train, it belongs to the test split: test.jpg" in line for line in dataset.notes.lines()
    )


def test_train_and_val_may_be_the_same_in_an_example(tmp_path):
    write(tmp_path, f"0 {BOX}", val="images/train")
    assert len(YOLO("train", str(tmp_path))) == len(YOLO("val", str(tmp_path))) == 1

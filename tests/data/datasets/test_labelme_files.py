"""Which files of a labelme dataset belong together, and which are skipped."""

import pytest
from labelme_records import HEIGHT, WIDTH, shape, square, write
from PIL import Image

from segnet.data.datasets.labelme import LabelMe
from segnet.errors import DataError


def test_files_are_divided_without_split_folders(tmp_path):
    for number in range(10):
        write(tmp_path / f"site{number % 5}", f"{number}", shape("cat", square(0, 0, 5, 5)))
    splits = {}
    for split in ("train", "val"):
        dataset = LabelMe(split, str(tmp_path), ["cat"], group=r"^(site\d)/", val_fraction=0.4)
        splits[split] = {dataset.load(index).name.split("/")[-2] for index in range(len(dataset))}
    assert len(splits["train"]) == 3
    assert len(splits["val"]) == 2
    assert not splits["train"] & splits["val"]


def test_the_image_is_next_to_its_json_file_or_below_the_root(tmp_path):
    write(tmp_path / "train", "a", imagePath="C:\\Users\\me\\a.jpg")
    assert LabelMe("train", str(tmp_path), ["cat"]).load(0).image.shape == (HEIGHT, WIDTH, 3)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "train" / "a.jpg").rename(tmp_path / "pictures" / "a.jpg")
    write(tmp_path / "train", "a", imagePath="..\\pictures\\a.jpg")
    (tmp_path / "train" / "a.jpg").unlink()
    assert LabelMe("train", str(tmp_path), ["cat"]).load(0).name.endswith("a.jpg")
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path.parent / "outside.jpg")
    write(tmp_path / "train", "a", imagePath="../../outside.jpg")
    with pytest.raises(DataError, match=r"train/outside\.jpg: no such file"):
        LabelMe("train", str(tmp_path), ["cat"]).load(0)


def test_other_sizes_and_empty_folders_are_refused(tmp_path):
    write(tmp_path / "train", "a", imageWidth=31)
    with pytest.raises(DataError, match=r"30 x 20 pixels, but .*a\.json was drawn on 31 x 20"):
        LabelMe("train", str(tmp_path), ["cat"]).load(0)
    with pytest.raises(DataError, match=r"the val files of dataset\.root"):
        LabelMe("val", str(tmp_path), ["cat"])
    (tmp_path / "val").mkdir()
    with pytest.raises(DataError, match="has no JSON file"):
        LabelMe("val", str(tmp_path), ["cat"])


def test_the_cache_key_is_the_image_and_its_json(tmp_path):
    write(tmp_path / "train", "a")
    dataset = LabelMe("train", str(tmp_path), ["cat"])
    assert list(dataset.files(0)) == [tmp_path / "train" / "a.jpg", tmp_path / "train" / "a.json"]
    (tmp_path / "train" / "a.json").write_text("{")
    assert list(LabelMe("train", str(tmp_path), ["cat"]).files(0)) == [tmp_path / "train" / "a.json"]


@pytest.mark.parametrize("folder", [".Trash-1000/files", ".ipynb_checkpoints", "__MACOSX", "@eaDir", "$RECYCLE.BIN"])
def test_hidden_and_trash_folders_are_skipped_and_counted(tmp_path, folder):
    for name in "abcd":
        write(tmp_path, name)
    write(tmp_path / folder, "z", shape("unknown", [[0, 0]], "point"))
    (tmp_path / "._a.json").write_bytes(b"\0")
    dataset = LabelMe("train", str(tmp_path), ["cat"])
    assert len(dataset) == 3
    assert f"2 files left out, hidden or in the trash: ._a.json, {folder}/z.json" in dataset.notes.lines()[0]


def test_images_without_json_and_other_files_are_counted(tmp_path):
    write(tmp_path / "train", "a")
    Image.new("RGB", (3, 3)).save(tmp_path / "train" / "b.JPG")
    (tmp_path / "train" / "c.heic").write_bytes(b"")
    (tmp_path / "train" / "a.json").rename(tmp_path / "train" / "a.JSON")
    dataset = LabelMe("train", str(tmp_path), ["cat"])
    assert dataset.load(0).name.endswith("a.jpg")
    assert dataset.notes.lines() == [
        f"{tmp_path / 'train'}: 1 image left out, it has no JSON file: b.JPG",
        f"{tmp_path / 'train'}: 1 file left out, neither image nor JSON: c.heic",
    ]


def test_a_test_folder_is_not_used_for_training(tmp_path):
    for name in "abcde":
        write(tmp_path, name)
    write(tmp_path / "test", "t")
    names = {split: [LabelMe(split, str(tmp_path), ["cat"]).files(0)[0].stem] for split in ("train", "val", "test")}
    assert names["test"] == ["t"]
    assert len(LabelMe("train", str(tmp_path), ["cat"])) == 4


def test_two_files_of_one_image_are_refused(tmp_path):
    write(tmp_path / "train", "a")
    write(tmp_path / "train", "b", imagePath="a.jpg")
    with pytest.raises(DataError, match=r"b\.json: annotates .*a\.jpg, and so does .*a\.json"):
        LabelMe("train", str(tmp_path), ["cat"])


def test_the_path_takes_precedence_over_the_name(tmp_path):
    write(tmp_path / "train", "a", imagePath="../cam1/a.jpg")
    (tmp_path / "cam1").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "cam1" / "a.jpg")
    assert LabelMe("train", str(tmp_path), ["cat"]).load(0).name.endswith("cam1/a.jpg")


@pytest.mark.parametrize(
    "name", ["caf\u00e9 1.jpg", "cafe\u0301 1.jpg", "caf%C3%A9%201.jpg", ".\\CAF\u00c9 1.JPG", "./x/../caf\u00e9 1.jpg"]
)
def test_names_of_other_systems(tmp_path, name):
    write(tmp_path / "train", "a", imagePath=name)
    (tmp_path / "train" / "a.jpg").rename(tmp_path / "train" / "caf\u00e9 1.jpg")
    assert LabelMe("train", str(tmp_path), ["cat"]).load(0).name.endswith("caf\u00e9 1.jpg")

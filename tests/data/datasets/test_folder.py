"""The folder dataset, in each of its layouts."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.classes import voc_palette
from segnet.data.datasets.folder import Folder
from segnet.errors import ConfigError, DataError

NAMES = ["road", "tree", "sky"]
LAYOUTS = {"images/train": ("images/{}", "masks/{}"), "train/images": ("{}/images", "{}/masks")}


def stems(dataset: Folder) -> list[str]:
    return [image.stem for image, _ in dataset.pairs]


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_split_folders_are_the_splits(tmp_path, write_pairs, layout):
    images, masks = LAYOUTS[layout]
    for split, names in (("train", "abc"), ("val", "de"), ("test", "f")):
        write_pairs(tmp_path / images.format(split), tmp_path / masks.format(split), names, suffix="jpg")
    for split, names in (("train", "abc"), ("val", "de"), ("test", "f")):
        dataset = Folder(split, str(tmp_path), NAMES)
        assert stems(dataset) == list(names)
        assert len(dataset) == len(names)
        for image, mask in dataset.pairs:
            assert image == tmp_path / images.format(split) / f"{image.stem}.jpg"
            assert mask == tmp_path / masks.format(split) / f"{image.stem}.png"
        assert dataset.load(0).mask.shape == (6, 8)


@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("split", ["val", "test"])
def test_a_missing_split_folder_is_named(tmp_path, write_pairs, layout, split):
    images, masks = (tmp_path / part.format("train") for part in LAYOUTS[layout])
    write_pairs(images, masks, "abc")
    with pytest.raises(DataError, match=rf"no such folder \(the {split} images of dataset\.root\)") as caught:
        Folder(split, str(tmp_path), NAMES)
    assert str(tmp_path / LAYOUTS[layout][0].format(split)) in str(caught.value)


@pytest.mark.parametrize(
    ("num_pairs", "val_fraction", "num_val"), [(2, 0.2, 1), (2, 0.9, 1), (10, 0.2, 2), (10, 0.01, 1), (7, 0.99, 6)]
)
def test_one_folder_is_divided_into_train_and_val(tmp_path, write_pairs, num_pairs, val_fraction, num_val):
    names = write_pairs(tmp_path / "images", tmp_path / "masks", [f"{number:02}" for number in range(num_pairs)])
    train, val = (stems(Folder(s, str(tmp_path), NAMES, val_fraction=val_fraction)) for s in ("train", "val"))
    assert len(val) == num_val
    assert sorted(train + val) == names
    assert (train, val) == (sorted(train), sorted(val))


def test_the_division_depends_only_on_its_seed(tmp_path, write_pairs):
    write_pairs(tmp_path / "images", tmp_path / "masks", [f"{number:02}" for number in range(20)])
    chosen = [stems(Folder("val", str(tmp_path), NAMES, split_seed=seed)) for seed in (0, 0, 1, 2)]
    assert chosen[0] == chosen[1]
    assert chosen[0] != chosen[2]
    assert chosen[1:] != [chosen[0]] * 3


def test_one_folder_has_no_test_split(tmp_path, write_pairs):
    write_pairs(tmp_path / "images", tmp_path / "masks", "abc")
    with pytest.raises(ConfigError, match="split=test needs a folder of its own"):
        Folder("test", str(tmp_path), NAMES)


def test_one_image_cannot_be_divided(tmp_path, write_pairs):
    write_pairs(tmp_path / "images", tmp_path / "masks", "a")
    with pytest.raises(DataError, match="add images") as caught:
        Folder("train", str(tmp_path), NAMES)
    assert str(tmp_path / "images") in str(caught.value)


def test_wrong_files_are_refused(tmp_path, write_pairs):
    images, masks = tmp_path / "images", tmp_path / "masks"
    write_pairs(images, masks, "abc")
    cases = [
        (images / "d.png", "image without mask"),
        (masks / "d.png", "mask without image"),
        (images / "a.jpg", "has the same name as"),
    ]
    for extra, message in cases:
        Image.new("RGB", (8, 6)).save(extra)
        with pytest.raises(DataError, match=message):
            Folder("train", str(tmp_path), NAMES)
        extra.unlink()
    assert len(Folder("train", str(tmp_path), NAMES)) == 2


def test_folders_that_are_missing_or_empty_are_named(tmp_path):
    def message(root: Path) -> str:
        with pytest.raises(DataError) as caught:
            Folder("train", str(root), NAMES)
        return str(caught.value)

    assert message(tmp_path / "nowhere") == f"{tmp_path / 'nowhere'}: no such folder (dataset.root)"
    (tmp_path / "file").write_text("")
    assert message(tmp_path / "file") == f"{tmp_path / 'file'}: is a file, not a folder (dataset.root)"
    assert message(tmp_path).startswith(f"{tmp_path / 'images'}: no such folder")
    (tmp_path / "images").mkdir()
    assert message(tmp_path).startswith(f"{tmp_path / 'masks'}: no such folder")
    (tmp_path / "masks").mkdir()
    assert message(tmp_path).startswith(f"{tmp_path / 'images'}: has no image")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "trian"}, "split=trian is unknown: choose from train, val, test"),
        ({"class_names": "road"}, r"write dataset.class_names=\[sky,road\]"),
        ({"class_names": []}, "class names are missing"),
        ({"class_names": ["road", "road"]}, "'road' is duplicate"),
        ({"val_fraction": 0.0}, "val_fraction=0.0"),
        ({"val_fraction": 1.0}, "val_fraction=1.0"),
        ({"palette": [[0, 0, 0]]}, "1 colors for 3 classes"),
        ({"palette": [[0, 0, 0], [0, 0, 256], [1, 1, 1]]}, "color"),
        ({"ignore_index": 2}, "ignore_index=2 is the id of class 'sky'"),
        ({"ignore_index": 70000}, "ignore_index=70000"),
    ],
)
def test_impossible_options_are_refused(tmp_path, write_pairs, options, message):
    write_pairs(tmp_path / "images", tmp_path / "masks", "abc")
    with pytest.raises(ConfigError, match=message):
        Folder(**{"split": "train", "root": str(tmp_path), "class_names": NAMES, **options})


def test_classes_come_from_the_options(tmp_path, write_pairs):
    write_pairs(tmp_path / "images", tmp_path / "masks", "abc")
    chosen = Folder("train", str(tmp_path), NAMES).classes
    assert (chosen.names, chosen.palette, chosen.ignore_index) == (tuple(NAMES), voc_palette(3), 255)
    palette = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    given = Folder("train", str(tmp_path), NAMES, palette=palette, ignore_index=99).classes
    assert (given.palette, given.ignore_index) == (((1, 2, 3), (4, 5, 6), (7, 8, 9)), 99)


def test_ignore_index_is_allowed_in_the_masks(tmp_path, write_pairs):
    write_pairs(tmp_path / "images", tmp_path / "masks", "ab")
    for name in "ab":
        Image.fromarray(np.full((6, 8), 99, np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    assert (Folder("train", str(tmp_path), NAMES, ignore_index=99).load(0).mask == 99).all()
    with pytest.raises(DataError, match=r"label 99 \(48 pixels\)"):
        Folder("train", str(tmp_path), NAMES).load(0)


def test_home_is_expanded(tmp_path, write_pairs, monkeypatch):
    write_pairs(tmp_path / "mine" / "images", tmp_path / "mine" / "masks", "abc")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(Folder("train", "~/mine", NAMES)) == 2


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_split_folders_may_be_named_valid_and_training(tmp_path, write_pairs, layout):
    images, masks = LAYOUTS[layout]
    for folder, names in (("training", "abc"), ("valid", "de")):
        write_pairs(tmp_path / images.format(folder), tmp_path / masks.format(folder), names)
    assert [stems(Folder(split, str(tmp_path), NAMES)) for split in ("train", "val")] == [list("abc"), list("de")]


def test_a_test_folder_is_never_trained_on(tmp_path, write_pairs):
    write_pairs(tmp_path / "images", tmp_path / "masks", "abcde")
    write_pairs(tmp_path / "images" / "test", tmp_path / "masks" / "test", "tu")
    splits = {split: Folder(split, str(tmp_path), NAMES) for split in ("train", "val", "test")}
    assert stems(splits["test"]) == ["t", "u"]
    assert sorted(stems(splits["train"]) + stems(splits["val"])) == list("abcde")
    assert "2 images kept for the test split" in splits["train"].notes.lines()[0]


def test_images_outside_of_the_split_folders_are_counted(tmp_path, write_pairs):
    for folder in ("train", "val", "night"):
        write_pairs(tmp_path / "images" / folder, tmp_path / "masks" / folder, "ab")
    line = f"{tmp_path}/images: 1 entry left out, outside the folders of the splits: night"
    assert Folder("train", str(tmp_path), NAMES).notes.lines() == [line]


# Suffixes, roots, lists, fractions and groups


def test_names_of_folders_and_suffixes_are_options(tmp_path, write_pairs):
    write_pairs(tmp_path / "photos" / "train" / "x", tmp_path / "labels" / "train" / "x", "ab", suffix="webp")
    write_pairs(tmp_path / "photos" / "val", tmp_path / "labels" / "val", "c", suffix="bmp")
    for path in sorted((tmp_path / "labels").rglob("*.png")):
        path.rename(path.with_stem(f"{path.stem}_mask"))
    options = {"images": "photos", "masks": "labels", "mask_suffix": "_mask"}
    train, val = (Folder(split, str(tmp_path), NAMES, **options) for split in ("train", "val"))
    assert (stems(train), stems(val)) == (["a", "b"], ["c"])
    assert train.load(0).mask.shape == (6, 8)
    assert train.pairs[0][1] == tmp_path / "labels" / "train" / "x" / "a_mask.png"


def test_images_and_masks_side_by_side(tmp_path, write_pairs):
    write_pairs(tmp_path / "train", tmp_path / "other", "ab", suffix="jpg")
    for path in (tmp_path / "other").iterdir():
        path.rename(tmp_path / "train" / f"{path.stem}_seg.png")
    dataset = Folder("train", str(tmp_path), NAMES, images="train", masks="train", mask_suffix="_seg")
    assert len(dataset) == 1  # one of the two is set aside
    assert dataset.pairs[0][0].suffix == ".jpg"


def test_several_roots_are_one_dataset(tmp_path, write_pairs):
    for root, names in (("one", "ab"), ("two", "bc")):  # names may repeat between roots
        write_pairs(tmp_path / root / "images" / "train", tmp_path / root / "masks" / "train", names)
        write_pairs(tmp_path / root / "images" / "val", tmp_path / root / "masks" / "val", "v")
    roots = [str(tmp_path / "one"), str(tmp_path / "two")]
    assert stems(Folder("train", roots, NAMES)) == ["a", "b", "b", "c"]
    assert stems(Folder("val", roots, NAMES)) == ["v", "v"]


def test_several_roots_are_divided_as_one(tmp_path, write_pairs):
    roots = [str(tmp_path / root) for root in ("one", "two")]
    for root in roots:
        write_pairs(Path(root) / "images", Path(root) / "masks", [f"{number:02}" for number in range(10)])
    train, val = (Folder(split, roots, NAMES, val_fraction=0.3) for split in ("train", "val"))
    assert (len(train), len(val)) == (14, 6)
    assert not {image for image, _ in train.pairs} & {image for image, _ in val.pairs}


def test_lists_are_the_splits(tmp_path, write_pairs):
    write_pairs(tmp_path / "images" / "x", tmp_path / "masks" / "x", "abcd")
    (tmp_path / "train.txt").write_text("x/c\nimages/x/a.png\n")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "val.txt").write_text("images/x/d.png masks/x/b.png\n")
    lists = {"train_list": "train.txt", "val_list": "lists/val.txt"}
    assert stems(Folder("train", str(tmp_path), NAMES, **lists)) == ["c", "a"]
    val = Folder("val", str(tmp_path), NAMES, **lists)
    assert [(image.name, mask.name) for image, mask in val.pairs] == [("d.png", "b.png")]
    with pytest.raises(
        ConfigError, match=r"dataset\.test_list is not set, but dataset\.train_list, dataset\.val_list is"
    ):
        Folder("test", str(tmp_path), NAMES, **lists)
    with pytest.raises(DataError, match=r"gone\.txt: cannot be read as a list"):
        Folder("train", str(tmp_path), NAMES, train_list="gone.txt")


def test_missing_listed_pairs_are_named(tmp_path, write_pairs):
    write_pairs(tmp_path / "images", tmp_path / "masks", "a")
    (tmp_path / "train.txt").write_text("images/a.png\tmasks/gone.png\n")
    with pytest.raises(DataError, match=r"gone\.png: no such file, but .*train\.txt names it"):
        Folder("train", str(tmp_path), NAMES, train_list="train.txt")


def test_groups_stay_together_and_test_fraction_makes_a_test_split(tmp_path, write_pairs):
    for patient in range(6):
        write_pairs(tmp_path / "images" / f"p{patient}", tmp_path / "masks" / f"p{patient}", "abc")
    options = {"group": r"(p\d)/", "val_fraction": 0.2, "test_fraction": 0.3}
    patients = {}
    for split in ("train", "val", "test"):
        dataset = Folder(split, str(tmp_path), NAMES, **options)
        patients[split] = {image.parent.name for image, _ in dataset.pairs}
        assert len(dataset) == 3 * len(patients[split])
    assert [len(patients[split]) for split in ("train", "val", "test")] == [2, 2, 2]
    assert len(set().union(*patients.values())) == 6

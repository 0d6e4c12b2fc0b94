"""CVAT's export "Segmentation mask 1.1", in its layout."""

import numpy as np
import pytest
from PIL import Image

from segnet.data.datasets.cvat import CVATMasks, cvat
from segnet.errors import ConfigError, DataError

LABEL_MAP = """# label:color_rgb:parts:actions
background:0,0,0::
crack:250,50,83::
road sign:50,183,250:post,plate:
"""
COLORS = [(0, 0, 0), (250, 50, 83), (50, 183, 250)]


def write(root, subsets: dict[str, list[str]]) -> None:
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "labelmap.txt").write_text(LABEL_MAP)
    for subset, names in subsets.items():
        (root / "ImageSets" / "Segmentation" / f"{subset}.txt").write_text("".join(f"{name}\n" for name in names))
        for number, name in enumerate(names):
            for folder in ("JPEGImages", "SegmentationClass"):
                (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (3, 1)).save(root / "JPEGImages" / f"{name}.{'png' if number % 2 else 'jpg'}")
            Image.fromarray(np.array([COLORS], np.uint8)).save(root / "SegmentationClass" / f"{name}.png")


def names(dataset: CVATMasks) -> list[str]:
    return [image.stem for image, _ in dataset.pairs]


def test_classes_and_colors_come_from_the_export(tmp_path):
    write(tmp_path, {"default": ["a", "b", "sub/c", "d", "e"]})
    train, val = cvat("train", str(tmp_path)), cvat("val", str(tmp_path))
    assert train.classes.names == ("background", "crack", "road sign")
    assert train.classes.palette == tuple(COLORS)
    assert sorted(names(train) + names(val)) == ["a", "b", "c", "d", "e"]
    assert len(val) == 1
    assert train.load(0).mask.tolist() == [[0, 1, 2]]


def test_labels_may_be_ignored(tmp_path):
    write(tmp_path, {"default": ["a", "b"]})
    dataset = cvat("train", str(tmp_path), ignore=["background"])
    assert dataset.classes.names == ("crack", "road sign")
    assert dataset.load(0).mask.tolist() == [[255, 0, 1]]
    with pytest.raises(ConfigError, match=r"'backgruond' is not a label of the export\. Did you mean 'background'"):
        cvat("train", str(tmp_path), ignore=["backgruond"])


def test_subsets_are_the_splits(tmp_path):
    write(tmp_path, {"Train": ["b", "a"], "Validation": ["c"]})
    assert names(cvat("train", str(tmp_path))) == ["b", "a"]
    assert names(cvat("val", str(tmp_path))) == ["c"]
    with pytest.raises(ConfigError, match="split=test needs a folder of its own"):
        cvat("test", str(tmp_path))


def test_a_held_out_subset_is_not_used_for_training(tmp_path):
    write(tmp_path, {"default": list("abcdef"), "test": list("gh")})
    splits = {split: names(cvat(split, str(tmp_path))) for split in ("train", "val", "test")}
    assert sorted(splits["train"] + splits["val"]) == list("abcdef")
    assert splits["test"] == ["g", "h"]
    write(tmp_path, {"validation": ["v"]})
    assert names(cvat("val", str(tmp_path))) == ["v"]
    assert names(cvat("train", str(tmp_path))) == list("abcdef")


def test_a_subset_of_another_name_needs_an_option(tmp_path):
    write(tmp_path, {"default": list("abc"), "night": list("de")})
    with pytest.raises(
        DataError, match=r"night\.txt: the subset's name 'night' is not a split's: set .*train:\[default,night\]"
    ):
        cvat("train", str(tmp_path))
    subsets = {"train": ["default"], "val": ["Night"]}
    assert names(cvat("train", str(tmp_path), subsets=subsets)) == list("abc")
    assert names(cvat("val", str(tmp_path), subsets=subsets)) == list("de")
    left = cvat("train", str(tmp_path), subsets={"train": ["default"]})
    assert len(left) == 2
    assert "1 subset left out, dataset.subsets does not name it: night" in left.notes.lines()[0]
    for wrong, message in (
        ({"trian": ["default"]}, "'trian' is not a split"),
        ({"train": ["nigth"]}, "'nigth' is not a subset"),
    ):
        with pytest.raises(ConfigError, match=message):
            cvat("train", str(tmp_path), subsets=wrong)


def test_a_single_subset_is_divided_regardless_of_its_name(tmp_path):
    write(tmp_path, {"street": list("abcde")})
    assert len(cvat("train", str(tmp_path))) == 4


def test_an_image_in_two_subsets_or_in_none(tmp_path):
    write(tmp_path, {"default": list("abc"), "test": list("de")})
    (tmp_path / "ImageSets" / "Segmentation" / "test.txt").write_text("d\n")
    assert "1 image left out, no subset names it: e" in cvat("train", str(tmp_path)).notes.lines()[0]
    (tmp_path / "ImageSets" / "Segmentation" / "test.txt").write_text("d\na\n")
    with pytest.raises(DataError, match=r"test\.txt: names 'a', and so does default\.txt: keep it in one"):
        cvat("train", str(tmp_path))


def test_lists_and_label_map_of_other_systems(tmp_path):
    write(tmp_path, {"default": ["sub/a", "b c"]})
    lists = tmp_path / "ImageSets" / "Segmentation"
    (lists / "default.txt").write_text('sub\\a\r\n"b c"\r\n', encoding="utf-16")
    (lists / ".default.txt").write_text("nothing")
    (tmp_path / "labelmap.txt").write_text(LABEL_MAP, encoding="utf-8-sig")
    (tmp_path / "SegmentationClass" / "b c.png").rename(tmp_path / "SegmentationClass" / "b c.PNG")
    splits = [names(cvat(split, str(tmp_path))) for split in ("train", "val")]
    assert sorted(splits) == [["a"], ["b c"]]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a:0,0,0::\na:1,1,1::", "has the name of another label"),
        ("a:0,0,0::\nb:0,0,0::", r"'b' and 'a' share the color \(0, 0, 0\)"),
        ("a:0,0,256::", "is not name:red,green,blue"),
        ("a:0,0,-1::", "is not name:red,green,blue"),
        (":0,0,0::", "has no name"),
        ("# nothing", "names no label"),
        ("", "is empty"),
    ],
)
def test_an_invalid_label_map_is_refused(tmp_path, lines, message):
    write(tmp_path, {"default": ["a", "b"]})
    (tmp_path / "labelmap.txt").write_text(lines)
    with pytest.raises(DataError, match=message) as caught:
        cvat("train", str(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path / 'labelmap.txt'}: ")


def test_faults_are_named(tmp_path):
    write(tmp_path, {"default": ["a", "b"]})
    Image.new("RGB", (3, 1), (1, 1, 1)).save(tmp_path / "SegmentationClass" / "a.png")
    Image.new("RGB", (3, 1), (1, 1, 1)).save(tmp_path / "SegmentationClass" / "b.png")
    with pytest.raises(DataError, match=r"color \(1, 1, 1\) \(3 pixels\)"):
        cvat("train", str(tmp_path)).load(0)
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"names 'a', but .*JPEGImages has no such image"):
        cvat("train", str(tmp_path))
    (tmp_path / "labelmap.txt").write_text("background:0,0::\n")
    with pytest.raises(DataError, match=r"'background:0,0::' is not name:red,green,blue"):
        cvat("train", str(tmp_path))


def test_the_cache_key_is_image_mask_and_label_map(tmp_path):
    write(tmp_path, {"Train": ["a"], "Val": ["b"]})
    files = cvat("train", str(tmp_path)).files(0)
    assert [file.name for file in files] == ["a.jpg", "a.png", "labelmap.txt"]

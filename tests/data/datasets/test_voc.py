"""PASCAL VOC in the layout of its development kit, with palette masks."""

import numpy as np
import pytest
from PIL import Image

from segnet.class_sets import VOC_CLASSES
from segnet.data.datasets.voc import PascalVOC
from segnet.errors import ConfigError, DataError


def write(top, name: str, ids: np.ndarray, folder: str = "SegmentationClass") -> None:
    for part in ("JPEGImages", folder, "ImageSets/Segmentation"):
        (top / part).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", ids.shape[::-1], (90, 120, 30)).save(top / "JPEGImages" / f"{name}.jpg")
    mask = Image.fromarray(ids)
    if folder == "SegmentationClass":  # the augmented masks are gray
        colors = [value for color in VOC_CLASSES.palette for value in color]
        mask.putpalette(colors + [0, 0, 0] * (255 - 21) + [224, 224, 192])
    mask.save(top / folder / f"{name}.png")


def write_list(top, name: str, *stems: str) -> None:
    (top / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("".join(f"{stem}\n" for stem in stems))


@pytest.fixture
def top(tmp_path):
    top = tmp_path / "VOCdevkit" / "VOC2012"
    write(top, "2007_000032", np.array([[0, 1, 255], [15, 20, 0]], np.uint8))
    write(top, "2007_000033", np.array([[0, 2]], np.uint8))
    write(top, "2007_000039", np.array([[20, 20]], np.uint8))
    write(top, "2007_000032", np.full((2, 3), 7, np.uint8), "SegmentationClassAug")
    write(top, "2008_000001", np.array([[3, 4]], np.uint8), "SegmentationClassAug")
    write_list(top, "train", "2007_000032")
    write_list(top, "val", "2007_000039", "2007_000033")
    write_list(top, "trainval", "2007_000032", "2007_000039", "2007_000033")
    return top


def masks(dataset: PascalVOC) -> list[list[list[int]]]:
    return [dataset.load(index).mask.tolist() for index in range(len(dataset))]


def test_lists_are_the_splits_and_palette_indices_the_classes(top):
    assert masks(PascalVOC("train", str(top))) == [[[0, 1, 255], [15, 20, 0]]]
    assert masks(PascalVOC("val", str(top))) == [[[20, 20]], [[0, 2]]]
    assert len(PascalVOC("trainval", str(top))) == 3
    assert PascalVOC("val", str(top)).classes == VOC_CLASSES


def test_root_may_be_a_folder_above(top):
    for root in (top, top.parent, top.parent.parent):
        assert len(PascalVOC("train", str(root))) == 1


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("trainaug", ["2007_000032", "2008_000001"]),
        ("train_aug", [f"/JPEGImages/{n}.jpg /SegmentationClassAug/{n}.png" for n in ("2007_000032", "2008_000001")]),
        ("aug", ["2008_000001"]),
    ],
)
def test_augmented_list_adds_images_and_voc_s_own_masks_come_first(top, name, lines):
    write_list(top, name, *lines)
    assert masks(PascalVOC("train", str(top), augmented=True)) == [[[0, 1, 255], [15, 20, 0]], [[3, 4]]]
    assert len(PascalVOC("val", str(top), augmented=True)) == 2


def test_missing_files_are_named(top):
    with pytest.raises(DataError, match=r"trainaug\.txt: no such file, nor train_aug\.txt"):
        PascalVOC("train", str(top), augmented=True)
    write_list(top, "train", "2007_000032", "2007_999999", "2007_999998")
    with pytest.raises(
        DataError, match=r"train\.txt: names '2007_999999', but .*JPEGImages has no such image \(and 1 more\)"
    ):
        PascalVOC("train", str(top))
    with pytest.raises(DataError, match=r"JPEGImages: no such folder"):
        PascalVOC("train", str(top / "ImageSets"))


def test_there_is_no_test_split(top):
    with pytest.raises(ConfigError, match="choose from train, val, trainval"):
        PascalVOC("test", str(top))


@pytest.mark.parametrize("line", ["2007_000039", "2007_000039.jpg", ".\\2007_000039.JPG", '"2007_000039"'])
def test_lists_of_other_systems(top, line):
    (top / "ImageSets" / "Segmentation" / "val.txt").write_text(f"{line}\r\n", encoding="utf-16")
    (top / "JPEGImages" / "2007_000039.jpg").rename(top / "JPEGImages" / "2007_000039.JPG")
    (top / "SegmentationClass" / "2007_000039.png").rename(top / "SegmentationClass" / "2007_000039.PNG")
    assert masks(PascalVOC("val", str(top))) == [[[20, 20]]]


def test_hidden_copies_are_left_out(top):
    for folder, name in (("JPEGImages", "2007_000039-checkpoint.jpg"), ("SegmentationClass", "2007_000039.png")):
        (top / folder / ".ipynb_checkpoints").mkdir()
        (top / folder / ".ipynb_checkpoints" / name).write_bytes(b"")
    dataset = PascalVOC("val", str(top))
    assert len(dataset) == 2
    assert len(dataset.notes.lines()) == 2


@pytest.mark.parametrize("line", ["../../secret", "/etc/passwd", "2007_000039\0"])
def test_names_outside_of_the_folder_are_refused(top, line):
    write_list(top, "val", line)
    with pytest.raises(DataError, match=r"val\.txt: names"):
        PascalVOC("val", str(top))

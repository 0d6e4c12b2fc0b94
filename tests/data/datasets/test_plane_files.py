"""The layouts of multilabel masks: a channel per class, a suffix per class, a folder per class."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.data.datasets.notes import Notes
from segnet.data.datasets.plane_files import pair_planes
from segnet.errors import ConfigError, DataError

NAMES = ("disk", "soft_ring")


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / name)
    return folder


def paired(tmp_path: Path, images: list[str], masks: list[str], **options: str) -> dict[str, list[str | None]]:
    """Name of an image -> its mask files."""
    pictures, masks_folder = made(tmp_path / "images", *images), made(tmp_path / "masks", *masks)
    pairs, files_of = pair_planes(pictures, masks_folder, NAMES, Notes(), **options)
    return {
        image.relative_to(pictures).as_posix(): [
            None if file is None else file.relative_to(masks_folder).as_posix() for file in files_of.get(mask, [mask])
        ]
        for image, mask in pairs
    }


def test_a_file_with_a_channel_per_class(tmp_path):
    assert paired(tmp_path, ["a.png", "b/c.png"], ["a.png", "b/c.tif"]) == {"a.png": ["a.png"], "b/c.png": ["b/c.tif"]}


def test_a_suffix_per_class_and_a_missing_file_is_no_pixel(tmp_path):
    found = paired(tmp_path, ["a.png", "a_1.png"], ["a_disk.png", "a_1_disk.png", "a_1_Soft-Ring.png"])
    assert found == {"a.png": ["a_disk.png", None], "a_1.png": ["a_1_disk.png", "a_1_Soft-Ring.png"]}


def test_text_between_image_and_class_as_in_isic(tmp_path):
    found = paired(tmp_path, ["ISIC_1.jpg"], ["ISIC_1_attribute_disk.png", "ISIC_1_attribute_soft_ring.png"])
    assert found == {"ISIC_1.jpg": ["ISIC_1_attribute_disk.png", "ISIC_1_attribute_soft_ring.png"]}


def test_a_folder_per_class_with_numbers_and_suffixes_as_in_idrid(tmp_path):
    masks = [
        "1. Disk/IDRiD_01_MA.tif",
        "1. Disk/IDRiD_02_MA.tif",
        "2. Soft Ring/IDRiD_02_SE.tif",
        "3. Other/IDRiD_01_X.tif",
    ]
    found = paired(tmp_path, ["IDRiD_01.jpg", "IDRiD_02.jpg"], masks)
    assert found == {
        "IDRiD_01.jpg": ["1. Disk/IDRiD_01_MA.tif", None],
        "IDRiD_02.jpg": ["1. Disk/IDRiD_02_MA.tif", "2. Soft Ring/IDRiD_02_SE.tif"],
    }


def test_a_folder_per_class_with_the_names_of_the_images(tmp_path):
    found = paired(tmp_path, ["x/a.png"], ["disk/x/a.png", "soft_ring/x/a_m.png"], mask_suffix="")
    assert found == {"x/a.png": ["disk/x/a.png", "soft_ring/x/a_m.png"]}


def test_the_longest_class_name_counts(tmp_path):
    pictures, masks = made(tmp_path / "i", "a.png"), made(tmp_path / "m", "a_ring.png", "a_soft_ring.png")
    _, files_of = pair_planes(pictures, masks, ("ring", "soft_ring"), Notes())
    assert [file.name for file in next(iter(files_of.values()))] == ["a_ring.png", "a_soft_ring.png"]


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (["a.png", "b.png"], ["a_disk.png"], r"b\.png: image without a mask of any class .* add an empty one"),
        (["a.png"], ["a_disk.png", "b_disk.png"], r"b_disk\.png: mask without image: .* NAME_CLASS\.png"),
        (["a.png"], ["disk/a.png", "disk/b.png"], r"b\.png: mask without image"),
        (["a.png"], ["a.png", "b.png"], r"b\.png: mask without image"),
        (["a.png"], ["a_disk.png", "a_disk.tif"], r"a second mask of class 'disk' of a\.png"),
        (
            ["a.png"],
            ["a_disk.png", "a_7_disk.png"],
            r"'7' follows the name of its image, but '' in|'' follows .* but '7' in",
        ),
    ],
)
def test_files_that_do_not_fit_are_refused_in_one_line(tmp_path, images, masks, message):
    with pytest.raises(DataError, match=message) as error:
        paired(tmp_path, images, masks)
    assert "\n" not in str(error.value)


def test_one_folder_and_equal_class_names_are_refused(tmp_path):
    folder = made(tmp_path / "images", "a.png")
    with pytest.raises(ConfigError, match="multilabel masks need a folder of their own"):
        pair_planes(folder, folder, NAMES, Notes())
    with pytest.raises(ConfigError, match="two names differ only in case"):
        pair_planes(folder, made(tmp_path / "masks", "a.png"), ("Ring", "ring"), Notes())


def test_other_files_are_noted(tmp_path):
    notes = Notes()
    masks = made(tmp_path / "masks", "a_disk.png", "a_superpixels.png")
    (masks / "readme.txt").write_text("")
    pair_planes(made(tmp_path / "images", "a.png"), masks, NAMES, notes)
    text = " ".join(notes.lines())
    assert "superpixels" in text
    assert "readme.txt" in text

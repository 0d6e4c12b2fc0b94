"""What all datasets share: masks are checked when they are read, files are paired by name."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.classes import Classes
from segnet.data.dataset import FileDataset, check_dataset, checked_mask, pair_up, pictures
from segnet.errors import DataError

THREE = Classes.create(["road", "tree", "sky"], ignore_index=255)
MANY = Classes.create([f"class {number}" for number in range(300)], ignore_index=65535)
PATH = Path("folder/mask.png")


def dataset(folder: Path, masks: list[np.ndarray], classes: Classes = THREE) -> FileDataset:
    """A dataset of a black image for each mask, in its size."""
    pairs = []
    for number, mask in enumerate(masks):
        pair = folder / f"{number}_image.png", folder / f"{number}_mask.png"
        Image.new("RGB", (mask.shape[1], mask.shape[0])).save(pair[0])
        Image.fromarray(mask).save(pair[1])
        pairs.append(pair)
    return FileDataset(pairs, classes)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_ids_and_ignore_index_pass_as_uint8(dtype):
    mask = checked_mask(np.array([[0, 1], [2, 255]], dtype), THREE, PATH)
    assert mask.dtype == np.uint8
    assert mask.tolist() == [[0, 1], [2, 255]]


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_ids_above_255_pass_as_int32(dtype):
    mask = checked_mask(np.array([[0, 299, 65535]], dtype), MANY, PATH)
    assert mask.dtype == np.int32
    assert mask.tolist() == [[0, 299, 65535]]


@pytest.mark.parametrize(("num_classes", "ignore_index", "dtype"), [(3, 256, np.int32), (255, 255, np.uint8)])
def test_the_type_holds_ignore_index_too(num_classes, ignore_index, dtype):
    classes = Classes.create([str(number) for number in range(num_classes)], ignore_index=ignore_index)
    mask = checked_mask(np.array([[0, ignore_index]], np.uint16), classes, PATH)
    assert mask.dtype == dtype
    assert mask.tolist() == [[0, ignore_index]]


@pytest.mark.parametrize(
    ("mask", "classes", "listed"),
    [
        (np.array([[3, 0, 3]], np.uint8), THREE, "label 3 (2 pixels) is"),
        (np.array([[254, 3, 255]], np.uint8), THREE, "label 3 (1 pixels), 254 (1 pixels) is"),
        (np.array([[-1, 0, 255]], np.int32), THREE, "label -1 (1 pixels) is"),
        (np.array([[258, 256]], np.uint16), THREE, "label 256 (1 pixels), 258 (1 pixels) is"),  # 2 and 0 in 8 bits
        (np.array([[255, 300]], np.uint16), MANY, "label 300 (1 pixels) is"),
        (np.arange(3, 10, dtype=np.uint8)[None], THREE, "7 (1 pixels) and 2 more values is"),
    ],
)
def test_wrong_labels_are_listed_with_their_pixels(mask, classes, listed):
    with pytest.raises(DataError) as caught:
        checked_mask(mask, classes, PATH)
    message = str(caught.value)
    assert message.startswith(f"{PATH}: label ")
    assert listed in message
    assert f"ignore_index={classes.ignore_index}" in message


def test_load_gives_image_mask_and_name(tmp_path):
    mask = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)
    sample = dataset(tmp_path, [mask]).load(0)
    assert (sample.image.dtype, sample.image.shape) == (np.uint8, (2, 3, 3))
    np.testing.assert_array_equal(sample.mask, mask)
    assert sample.name == str(tmp_path / "0_image.png")


def test_300_classes_come_from_a_16_bit_mask(tmp_path):
    mask = np.array([[0, 255, 256, 299, 65535]], np.uint16)
    loaded = dataset(tmp_path, [mask], MANY).load(0).mask
    assert loaded.dtype == np.int32
    np.testing.assert_array_equal(loaded, mask)


def test_other_size_than_the_image_is_reported_with_both(tmp_path):
    Image.new("RGB", (12, 10)).save(tmp_path / "image.png")
    Image.new("L", (10, 12)).save(tmp_path / "mask.png")
    with pytest.raises(DataError) as caught:
        FileDataset([(tmp_path / "image.png", tmp_path / "mask.png")], THREE).load(0)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'mask.png'}: 10 x 12 pixels")
    assert f"{tmp_path / 'image.png'} has 12 x 10" in message


def test_mask_is_compared_with_the_upright_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (12, 10)).save(tmp_path / "image.jpg", exif=exif)
    Image.new("L", (10, 12)).save(tmp_path / "mask.png")
    sample = FileDataset([(tmp_path / "image.jpg", tmp_path / "mask.png")], THREE).load(0)
    assert sample.image.shape == (12, 10, 3)


def test_check_passes_sound_files(tmp_path):
    masks = [np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8)]  # one wholly ignored mask is no fault
    check_dataset(dataset(tmp_path, masks), "train")


def test_check_names_the_first_problem_and_counts_the_others(tmp_path):
    masks = [np.full((2, 2), value, np.uint8) for value in (0, 7, 1, 9)]
    data = dataset(tmp_path, masks)
    data.pairs[2][0].write_bytes(data.pairs[2][0].read_bytes()[:40])
    with pytest.raises(DataError) as caught:
        check_dataset(data, "train")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / '1_mask.png'}: label 7 (4 pixels)")
    assert message.endswith("(and 2 more files with problems)")


def test_check_does_not_count_a_single_problem(tmp_path):
    with pytest.raises(DataError, match="label 7") as caught:
        check_dataset(dataset(tmp_path, [np.full((2, 2), 7, np.uint8)]), "train")
    assert "more files" not in str(caught.value)


def test_check_refuses_a_split_without_any_label(tmp_path):
    masks = [np.full((2, 2), 255, np.uint8)] * 3
    with pytest.raises(DataError, match="the val split has no labelled pixel: all of its 3 masks"):
        check_dataset(dataset(tmp_path, masks), "val")


def test_files_are_paired_by_name_without_ending():
    images = [Path("i/a.jpg"), Path("i/b.c.png")]
    masks = [Path("m/b.c.tif"), Path("m/a.png")]
    assert pair_up(images, masks) == [(images[0], masks[1]), (images[1], masks[0])]


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (["a.jpg", "b.jpg", "c.jpg"], ["a.png"], r"i/b.jpg: image without mask \(and 1 more such\): m has no 'b\.\*'"),
        (["a.jpg"], ["a.png", "b.png"], r"m/b.png: mask without image: i has no 'b\.\*'"),
        (["a.jpg", "a.png"], ["a.png"], r"i/a.png: has the same name as a.jpg"),
        (["a.jpg"], ["a.bmp", "a.png"], r"m/a.png: has the same name as a.bmp"),
    ],
)
def test_files_that_do_not_pair_are_refused(images, masks, message):
    with pytest.raises(DataError, match=message):
        pair_up([Path("i") / name for name in images], [Path("m") / name for name in masks])


def test_pictures_are_sorted_and_hidden_and_other_files_left_out(tmp_path):
    for name in ("b.PNG", "a.jpg", ".hidden.png", "notes.txt", "c.tiff"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in pictures(tmp_path)] == ["a.jpg", "b.PNG", "c.tiff"]


def test_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"holds no picture \(\.bmp, "):
        pictures(tmp_path)

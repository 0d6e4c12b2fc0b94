"""The contract of datasets: samples are checked when they are read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.classes import Classes
from segnet.data.dataset import FileDataset
from segnet.data.datasets.labels import Labels
from segnet.errors import DataError

THREE = Classes.create(["road", "tree", "sky"], ignore_index=255)
MANY = Classes.create([f"class {number}" for number in range(300)], ignore_index=65535)


def dataset(folder: Path, masks: list[np.ndarray], classes: Classes = THREE) -> FileDataset:
    """Return a dataset with a black image of equal size for each mask."""
    pairs = []
    for number, mask in enumerate(masks):
        pair = folder / f"{number}_image.png", folder / f"{number}_mask.png"
        Image.new("RGB", (mask.shape[1], mask.shape[0])).save(pair[0])
        Image.fromarray(mask).save(pair[1])
        pairs.append(pair)
    return FileDataset(pairs, classes)


def test_load_returns_image_mask_and_name(tmp_path):
    mask = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)
    sample = dataset(tmp_path, [mask]).load(0)
    assert (sample.image.dtype, sample.image.shape) == (np.uint8, (2, 3, 3))
    np.testing.assert_array_equal(sample.mask, mask)
    assert sample.name == str(tmp_path / "0_image.png")


def test_a_16_bit_mask_can_have_300_classes(tmp_path):
    mask = np.array([[0, 255, 256, 299, 65535]], np.uint16)
    loaded = dataset(tmp_path, [mask], MANY).load(0).mask
    assert loaded.dtype == np.int32
    np.testing.assert_array_equal(loaded, mask)


def test_a_mask_of_another_size_than_its_image_is_refused_with_both_sizes(tmp_path):
    Image.new("RGB", (12, 10)).save(tmp_path / "image.png")
    Image.new("L", (10, 12)).save(tmp_path / "mask.png")
    with pytest.raises(DataError) as caught:
        FileDataset([(tmp_path / "image.png", tmp_path / "mask.png")], THREE).load(0)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'mask.png'}: 10 x 12 pixels")
    assert f"{tmp_path / 'image.png'} has 12 x 10" in message


def test_the_mask_must_match_the_image_after_exif_rotation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (12, 10)).save(tmp_path / "image.jpg", exif=exif)
    Image.new("L", (10, 12)).save(tmp_path / "mask.png")
    sample = FileDataset([(tmp_path / "image.jpg", tmp_path / "mask.png")], THREE).load(0)
    assert sample.image.shape == (12, 10, 3)


def test_opened_samples_of_another_size_or_kind_are_refused_or_read_as_a_whole(tmp_path):
    Image.new("RGB", (12, 10)).save(tmp_path / "image.jpg")
    Image.new("L", (10, 12)).save(tmp_path / "mask.png")
    Image.new("RGB", (12, 10), (1, 2, 3)).save(tmp_path / "color.png")
    with pytest.raises(DataError, match=r"mask\.png: 10 x 12 pixels"):
        next(FileDataset([(tmp_path / "image.jpg", tmp_path / "mask.png")], THREE).open_many([0]))
    colored = FileDataset(
        [(tmp_path / "image.jpg", tmp_path / "color.png")], THREE, Labels(THREE, color_map=[[1, 2, 3, 2]])
    )
    (opened,) = colored.open_many([0])
    np.testing.assert_array_equal(opened.mask, np.full((10, 12), 2))
    (ranged,) = FileDataset(colored.pairs, THREE, colored.labels, value_range=(0, 128)).open_many([0])
    assert isinstance(ranged.image, np.ndarray)


def test_opened_masks_have_an_id_map_applied(tmp_path):
    mask = np.array([[7, 8, 8], [8, 7, 9]], np.uint8)
    own = dataset(tmp_path, [mask])
    own.labels = Labels(THREE, {7: "tree", 8: "ignore", 9: 0})
    (opened,) = own.open_many([0])
    assert opened.mask.dtype == np.uint8
    np.testing.assert_array_equal(opened.mask[0:2, 1:3], [[255, 255], [1, 0]])

"""Masks and channels of the folder dataset."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.data.datasets.folder import Folder
from segnet.data.scan.report import DatasetReport
from segnet.data.scan.scan import scan_split
from segnet.errors import ConfigError, DataError

NAMES = ["road", "tree", "sky"]


def write_one(root: Path, mask: np.ndarray) -> None:
    for folder in ("images/train", "masks/train"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (mask.shape[1], mask.shape[0])).save(root / "images" / "train" / "a.png")
    Image.fromarray(mask).save(root / "masks" / "train" / "a.png")


def test_masks_are_read_by_id_map_or_color_map(tmp_path):
    write_one(tmp_path, np.array([[0, 7, 200]], np.uint8))
    mapped = Folder("train", str(tmp_path), NAMES, id_map={0: "ignore", 7: "sky", 200: 0})
    assert mapped.load(0).mask.tolist() == [[255, 2, 0]]
    palette = [[10, 0, 0], [0, 10, 0], [0, 0, 10]]
    write_one(tmp_path, np.array([[[0, 0, 10], [10, 0, 0]]], np.uint8))
    colored = Folder("train", str(tmp_path), NAMES, palette=palette, color_map="palette")
    assert colored.load(0).mask.tolist() == [[2, 0]]
    with pytest.raises(ConfigError, match=r"color_map=palette needs dataset\.palette"):
        Folder("train", str(tmp_path), NAMES, color_map="palette")


def check(dataset):
    DatasetReport([scan_split(dataset, "train")]).require_sound()


def test_binary_masks_of_0_and_255_are_a_question_before_the_first_step(tmp_path):
    write_one(tmp_path, np.array([[0, 255, 0]], np.uint8))
    with pytest.raises(DataError, match=r"the masks of the train split \(1\) contain only 0 and 255") as caught:
        check(Folder("train", str(tmp_path), ["background", "crack"]))
    assert '"dataset.id_map={0:0,255:1}"' in str(caught.value)
    for id_map in ({0: 0, 255: 1}, {0: 0, 255: "ignore"}):
        check(Folder("train", str(tmp_path), ["background", "crack"], id_map=id_map))


def test_channels_of_the_images_are_an_option(tmp_path):
    write_one(tmp_path, np.array([[0, 1, 2]], np.uint8))
    dataset = Folder("train", str(tmp_path), NAMES, channels=1)
    assert dataset.channels == 1
    assert dataset.load(0).image.shape == (1, 3, 1)
    with pytest.raises(ConfigError, match=r"dataset\.channels=0 must be 1 or more"):
        Folder("train", str(tmp_path), NAMES, channels=0)

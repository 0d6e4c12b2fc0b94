"""Cityscapes in its layout; label ids against the table of cityscapesScripts."""

import numpy as np
import pytest
from PIL import Image

from segnet.class_sets import CITYSCAPES_CLASSES
from segnet.data.datasets.cityscapes import Cityscapes
from segnet.errors import DataError

# name, id and train id of cityscapesScripts' helpers/labels.py; what is not listed has train id 255
LABELS = """
    road 7 0, sidewalk 8 1, building 11 2, wall 12 3, fence 13 4, pole 17 5, traffic light 19 6, traffic sign 20 7,
    vegetation 21 8, terrain 22 9, sky 23 10, person 24 11, rider 25 12, car 26 13, truck 27 14, bus 28 15,
    train 31 16, motorcycle 32 17, bicycle 33 18
"""


@pytest.fixture
def root(tmp_path):
    for split, city, frame in (
        ("train", "aachen", "000000_000019"),
        ("train", "ulm", "000000_000019"),
        ("val", "bonn", "1"),
    ):
        images, masks = tmp_path / "leftImg8bit" / split / city, tmp_path / "gtFine" / split / city
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        name = f"{city}_{frame}"
        Image.new("RGB", (34, 2)).save(images / f"{name}_leftImg8bit.png")
        Image.fromarray(np.tile(np.arange(34, dtype=np.uint8), (2, 1))).save(masks / f"{name}_gtFine_labelIds.png")
        Image.new("RGB", (34, 2)).save(masks / f"{name}_gtFine_color.png")
        Image.new("I;16", (34, 2)).save(masks / f"{name}_gtFine_instanceIds.png")
        (masks / f"{name}_gtFine_polygons.json").write_text("{}")
    return tmp_path


def test_cities_are_found_and_label_ids_are_converted_to_train_ids(root):
    train, val = Cityscapes("train", str(root)), Cityscapes("val", str(root))
    assert [image.parent.name for image, _ in train.pairs] == ["aachen", "ulm"]
    assert len(val) == 1
    train_ids = np.full(34, 255)
    for row in LABELS.split(","):
        name, label, train_id = row.rsplit(maxsplit=2)
        train_ids[int(label)] = int(train_id)
        assert CITYSCAPES_CLASSES.names[int(train_id)] == name.strip()
    sample = train.load(0)
    np.testing.assert_array_equal(sample.mask, np.tile(train_ids, (2, 1)))
    assert sample.mask.dtype == np.uint8


def test_faults_are_named(root):
    mask = root / "gtFine" / "val" / "bonn" / "bonn_1_gtFine_labelIds.png"
    Image.new("L", (34, 2), 34).save(mask)
    with pytest.raises(DataError, match=r"label 34 \(68 pixels\)") as caught:
        Cityscapes("val", str(root)).load(0)
    assert str(caught.value).startswith(str(mask))
    mask.unlink()
    with pytest.raises(DataError, match="gtFine"):
        Cityscapes("val", str(root))
    with pytest.raises(DataError, match=r"the test images of dataset\.root"):
        Cityscapes("test", str(root))

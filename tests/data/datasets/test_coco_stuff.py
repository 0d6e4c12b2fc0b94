"""COCO-Stuff's pixel maps in their layout."""

import numpy as np
import pytest
from PIL import Image

from segnet.data.datasets.coco_stuff import COCOStuff
from segnet.errors import DataError


@pytest.fixture(params=[("train2017", "stuffthingmaps/train2017"), ("images/train2017", "annotations/train2017")])
def root(request, tmp_path):
    images, masks = (tmp_path / part for part in request.param)
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    Image.new("RGB", (8, 1)).save(images / "000000000009.jpg")
    values = np.array([[0, 10, 12, 89, 91, 156, 181, 255]], np.uint8)
    Image.fromarray(values).save(masks / "000000000009.png")
    Image.fromarray(values).save(masks / "000000000009_labelTrainIds.png")  # mmsegmentation leaves these beside it
    return tmp_path


def test_class_ids_skip_ids_that_were_never_annotated(root):
    dataset = COCOStuff("train", str(root))
    assert len(dataset) == 1
    mask = dataset.load(0).mask
    assert mask[0].tolist() == [0, 10, 11, 79, 80, 145, 170, 255]  # as mmsegmentation's converter has it
    names = [dataset.classes.names[label] for label in mask[0, :7]]
    # COCO's ids are the labels plus 1: person, fire hydrant, stop sign, toothbrush, banner, sky-other, wood
    assert names == ["person", "fire hydrant", "stop sign", "toothbrush", "banner", "sky-other", "wood"]


def test_faults_are_named(root):
    path = next(root.rglob("000000000009.png"))
    Image.new("L", (8, 1), 11).save(path)
    with pytest.raises(DataError, match=r"label 11 \(8 pixels\)"):
        COCOStuff("train", str(root)).load(0)
    path.unlink()
    with pytest.raises(DataError, match=r"000000000009\.png: no such file"):
        COCOStuff("train", str(root))

"""labelme's polygons, as dataset=labelme reads them."""

import json

import numpy as np
import pytest
from difficult_masks import CLASSES, NO_BACKGROUND, assert_same_masks, read_back, segmentations, write_images

from segnet.data.datasets.labelme import LabelMe


@pytest.mark.parametrize("classes", [CLASSES, NO_BACKGROUND])
def test_masks_are_read_back_bit_for_bit(tmp_path, classes):
    results = segmentations(classes)
    names = write_images(tmp_path, results)
    for name, result in zip(names, results, strict=True):
        (tmp_path / f"{name}.json").write_text(json.dumps(result.to_labelme(f"{name.rpartition('/')[2]}.png")))
    splits = [LabelMe(split, str(tmp_path), list(classes.names)) for split in ("train", "val")]
    assert_same_masks(read_back(splits, classes, tmp_path), names, results)


def test_background_has_a_polygon_only_if_it_is_named():
    result = segmentations(CLASSES)[0]
    labels = {shape["label"] for shape in result.to_labelme("a.png")["shapes"]}
    assert labels == {"a", "b b"}
    assert {shape["label"] for shape in result.to_labelme("a.png", ["background"])["shapes"]} == {"background"}


def test_the_largest_region_comes_first():
    shapes = segmentations(CLASSES)[0].to_labelme("a.png", tolerance=1.5)["shapes"]
    extents = [np.ptp(np.array(shape["points"]), axis=0).prod() for shape in shapes]
    assert extents == sorted(extents, reverse=True)

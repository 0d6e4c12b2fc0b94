"""COCO's run lengths: as pycocotools and dataset=coco_instances read them."""

import json

import numpy as np
import pytest
from difficult_masks import CLASSES as DIFFICULT
from difficult_masks import NO_BACKGROUND, assert_same_masks, read_back, segmentations, write_images

from segnet.classes import Classes
from segnet.inference.annotations.coco import coco, run_lengths

CLASSES = Classes.create(["a", "b", "c"], [[1, 2, 3], [200, 100, 0], [0, 0, 255]])


@pytest.mark.parametrize("seed", range(10))
def test_pycocotools_decodes_the_rle(seed, tmp_path):
    pycocotools = pytest.importorskip("pycocotools.coco", reason="pycocotools is an optional package")
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 3, tuple(rng.integers(1, 12, 2)))
    path = tmp_path / "a.json"
    path.write_text(json.dumps(coco(mask, [0, 1, 2], CLASSES, "a.png")))
    dataset = pycocotools.COCO(str(path))
    seen = set()
    for annotation in dataset.loadAnns(dataset.getAnnIds()):
        where = mask == annotation["category_id"] - 1
        np.testing.assert_array_equal(dataset.annToMask(annotation), where)
        assert annotation["area"] == where.sum()
        left, top, width, height = annotation["bbox"]
        assert where[top : top + height, left : left + width].sum() == where.sum()
        assert where[top].any()
        assert where[:, left].any()
        seen.add(annotation["category_id"] - 1)
    assert seen == set(np.unique(mask).tolist())


def test_run_lengths_start_with_the_count_of_false():
    assert run_lengths(np.array([[1, 0], [1, 1]], bool)) == [0, 2, 1, 1]
    assert run_lengths(np.array([[0, 0], [1, 1]], bool)) == [1, 1, 1, 1]
    assert run_lengths(np.zeros((2, 2), bool)) == [4]


@pytest.mark.parametrize("classes", [DIFFICULT, NO_BACKGROUND])
def test_masks_are_read_back_bit_for_bit(tmp_path, classes):
    pytest.importorskip("pycocotools", reason="pycocotools is an optional package")
    from segnet.data.datasets.coco_instances import COCOInstances

    results = segmentations(classes)
    names = write_images(tmp_path / "images", results)
    whole = {"images": [], "annotations": [], "categories": []}
    for number, (name, result) in enumerate(zip(names, results, strict=True)):  # one file of the files of all images
        document = result.to_coco(f"{name}.png")
        whole["images"] += [image | {"id": number} for image in document["images"]]
        for annotation in document["annotations"]:
            entry = annotation | {"image_id": number, "id": len(whole["annotations"])}
            whole["annotations"].append(entry)
        whole["categories"] = document["categories"]
    (tmp_path / "a.json").write_text(json.dumps(whole))
    splits = [COCOInstances(split, str(tmp_path), "images", "a.json") for split in ("train", "val")]
    assert_same_masks(read_back(splits, classes, tmp_path / "images"), names, results)

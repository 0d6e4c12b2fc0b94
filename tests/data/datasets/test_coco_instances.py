"""COCO's instances: polygons and run lengths become classes."""

import itertools
import json
import sys

import numpy as np
import pytest
from PIL import Image

from segnet.data.datasets.coco_instances import COCOInstances
from segnet.errors import ConfigError, DataError, MachineError

CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}]
HEIGHT, WIDTH = 20, 30


def box(x: int, y: int, width: int, height: int) -> list[list[int]]:
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def runs(mask: np.ndarray) -> dict:
    """Uncompressed run lengths: down the columns, beginning with zeros."""
    counts = [(bit, len(list(run))) for bit, run in itertools.groupby(mask.T.ravel().tolist())]
    counts = ([0] if counts[0][0] else []) + [count for _, count in counts]
    return {"counts": counts, "size": list(mask.shape)}


def annotation(category: int, segmentation, crowd: int = 0, image: int = 5) -> dict:
    return {"id": 77, "image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": crowd}


def write(root, annotations: list[dict], **image) -> None:
    (root / "annotations").mkdir(exist_ok=True)
    (root / "train2017").mkdir(exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "train2017" / "5.jpg")
    images = [{"id": 5, "file_name": "5.jpg", "height": HEIGHT, "width": WIDTH} | image]
    record = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(record))


def test_without_pycocotools_the_package_to_install_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(MachineError, match=r'pip install "segnet\[coco\]"'):
        COCOInstances("train", str(tmp_path))


class TestWithPycocotools:
    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("pycocotools", reason="pycocotools is an optional package, and not installed")

    def test_polygons_and_run_lengths_fill_their_class(self, tmp_path):
        area = np.zeros((HEIGHT, WIDTH), bool)
        area[12:17, 20:26] = True
        write(tmp_path, [annotation(1, box(2, 3, 8, 4)), annotation(90, runs(area), image=5)])
        dataset = COCOInstances("train", str(tmp_path))
        assert dataset.classes.names == ("background", "person", "dog", "toothbrush")
        expected = np.zeros((HEIGHT, WIDTH), int)
        expected[3:7, 2:10] = 1
        expected[area] = 3
        np.testing.assert_array_equal(dataset.load(0).mask, expected)

    def test_compressed_run_lengths(self, tmp_path):
        from pycocotools import mask

        area = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
        area[5:9, 1:4] = 1
        compressed = mask.encode(area)
        write(tmp_path, [annotation(18, {"size": [HEIGHT, WIDTH], "counts": compressed["counts"].decode()})])
        np.testing.assert_array_equal(COCOInstances("train", str(tmp_path)).load(0).mask, 2 * area)

    def test_the_smaller_is_in_front_and_crowds_hide_nothing(self, tmp_path):
        crowd = np.zeros((HEIGHT, WIDTH), bool)
        crowd[0:10] = True
        small, large = annotation(18, box(4, 4, 3, 3)), annotation(1, box(2, 2, 10, 12))
        write(tmp_path, [small, annotation(1, runs(crowd), crowd=1), large])
        expected = np.zeros((HEIGHT, WIDTH), int)
        expected[crowd] = 255
        expected[2:14, 2:12] = 1
        expected[4:7, 4:7] = 2
        np.testing.assert_array_equal(COCOInstances("train", str(tmp_path)).load(0).mask, expected)

    def test_chosen_categories_are_the_classes_and_the_others_background(self, tmp_path):
        write(tmp_path, [annotation(1, box(0, 0, 5, 5)), annotation(18, box(10, 10, 5, 5))])
        dataset = COCOInstances("train", str(tmp_path), categories=["toothbrush", "dog"])
        assert dataset.classes.names == ("background", "toothbrush", "dog")
        assert np.unique(dataset.load(0).mask).tolist() == [0, 2]
        with pytest.raises(ConfigError, match=r"'dgo' is not in .* Did you mean 'dog'"):
            COCOInstances("train", str(tmp_path), categories=["dgo"])

    def test_an_image_without_instances_is_background(self, tmp_path):
        write(tmp_path, [annotation(1, [])])
        assert not COCOInstances("train", str(tmp_path)).load(0).mask.any()

    @pytest.mark.parametrize(
        ("segmentation", "message"),
        [
            ([[1, 2, 3]], "annotation 77: not a segmentation"),
            ({"counts": [1, 2]}, "annotation 77: not a segmentation"),
            ("text", "annotation 77: not a segmentation"),
            ({"counts": [6], "size": [2, 3]}, "annotation 77: 3 x 2 pixels, but its image has 30 x 20"),
            ({"counts": [10**6, 10**6], "size": [20, 30]}, "annotation 77"),
        ],
    )
    def test_wrong_segmentations_are_named(self, tmp_path, segmentation, message):
        write(tmp_path, [annotation(1, segmentation)])
        with pytest.raises(DataError, match=message):
            COCOInstances("train", str(tmp_path)).load(0)

    def test_other_size_than_annotated_and_paths_outside_are_refused(self, tmp_path):
        write(tmp_path, [], width=31)
        with pytest.raises(DataError, match=r"5\.jpg: 30 x 20 pixels, but .* was drawn on 31 x 20"):
            COCOInstances("train", str(tmp_path)).load(0)
        write(tmp_path, [], file_name="../secret.jpg")
        with pytest.raises(DataError, match="lies outside"):
            COCOInstances("train", str(tmp_path)).load(0)
        write(tmp_path, [annotation(2, [])])
        with pytest.raises(DataError, match="category_id 2 is none of its categories"):
            COCOInstances("train", str(tmp_path))

    def test_a_sample_is_remembered_by_image_annotations_and_id(self, tmp_path):
        write(tmp_path, [])
        source = tmp_path / "annotations" / "instances_train2017.json"
        files = COCOInstances("train", str(tmp_path)).files(0)
        assert list(files) == [tmp_path / "train2017" / "5.jpg", source, "5"]

"""COCO's instances: polygons and run lengths become classes."""

import json
import re
import sys

import numpy as np
import pytest
from coco_records import CATEGORIES, HEIGHT, WIDTH, annotation, box, runs, write
from PIL import Image

from segnet.data.datasets.coco_instances import COCOInstances
from segnet.errors import ConfigError, DataError, MachineError


def test_without_pycocotools_the_package_to_install_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(MachineError, match=r'pip install "segnet\[coco\]"'):
        COCOInstances("train", str(tmp_path))


class TestWithPycocotools:
    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("pycocotools", reason="pycocotools is an optional package, and not installed")

    def test_polygons_and_run_lengths_are_filled_with_their_class(self, tmp_path):
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

    def test_the_smaller_instance_is_in_front_and_crowds_are_behind(self, tmp_path):
        crowd = np.zeros((HEIGHT, WIDTH), bool)
        crowd[0:10] = True
        small, large = annotation(18, box(4, 4, 3, 3)), annotation(1, box(2, 2, 10, 12))
        write(tmp_path, [small, annotation(1, runs(crowd), crowd=1), large])
        expected = np.zeros((HEIGHT, WIDTH), int)
        expected[crowd] = 255
        expected[2:14, 2:12] = 1
        expected[4:7, 4:7] = 2
        np.testing.assert_array_equal(COCOInstances("train", str(tmp_path)).load(0).mask, expected)

    def test_selected_categories_are_classes_and_others_background(self, tmp_path):
        write(tmp_path, [annotation(1, box(0, 0, 5, 5)), annotation(18, box(10, 10, 5, 5))])
        dataset = COCOInstances("train", str(tmp_path), categories=["toothbrush", "dog"])
        assert dataset.classes.names == ("background", "toothbrush", "dog")
        assert np.unique(dataset.load(0).mask).tolist() == [0, 2]
        with pytest.raises(ConfigError, match=r"'dgo' is no category of .* Did you mean 'dog'"):
            COCOInstances("train", str(tmp_path), categories=["dgo"])

    def test_an_image_without_instances_is_background(self, tmp_path):
        write(tmp_path, [annotation(1, [])])
        dataset = COCOInstances("train", str(tmp_path))
        assert not dataset.load(0).mask.any()
        assert "1 annotation left out, its segmentation has no area: annotations[0] (id 77)" in dataset.notes.lines()[0]

    def test_one_file_of_all_images_is_divided(self, tmp_path):
        """CVAT, Label Studio and others export one file, and may write image names with their folder."""
        (tmp_path / "images").mkdir()
        images = []
        for number in range(10):
            Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / f"{number}.jpg")
            images.append({"id": number, "file_name": f"images/{number}.jpg", "height": HEIGHT, "width": WIDTH})
        annotations = [annotation(1, box(2, 3, 8, number + 1), image=number) for number in range(10)]
        record = {"images": images, "annotations": annotations, "categories": CATEGORIES}
        (tmp_path / "result.json").write_text(json.dumps(record))
        options = {"root": str(tmp_path), "images": ".", "annotations": "result.json", "test_fraction": 0.1}
        names = {}
        for split, count in (("train", 7), ("val", 2), ("test", 1)):
            dataset = COCOInstances(split, **options)
            assert len(dataset) == count
            for index in range(count):
                sample = dataset.load(index)
                number = int(sample.name.rpartition("/")[2].removesuffix(".jpg"))
                assert (sample.mask == 1).sum() == 8 * (number + 1)
                names[number] = split
        assert sorted(names) == list(range(10))

    def test_a_missing_annotation_file_names_those_that_exist(self, tmp_path):
        (tmp_path / "result.json").write_text("{}")
        with pytest.raises(DataError, match=r"instances_train2017.json: no such file; of result.json add dataset.ann"):
            COCOInstances("train", str(tmp_path))

    def test_boxes_without_segmentations_are_refused(self, tmp_path):
        write(tmp_path, [annotation(1, segmentation) | {"bbox": [1, 2, 3, 4]} for segmentation in (None, [])])
        with pytest.raises(DataError, match="its 2 annotations have boxes only"):
            COCOInstances("train", str(tmp_path))

    @pytest.mark.parametrize("nothing", [[[]], [[10, 10]], [[10, 10, 20, 15]], [[]] * 3, [], None, {}])
    def test_polygons_without_area_are_ignored(self, tmp_path, nothing):
        shape = [*(nothing or []), *box(2, 3, 8, 4)] if isinstance(nothing, list) else nothing
        write(tmp_path, [annotation(1, shape), annotation(18, nothing)])
        mask = COCOInstances("train", str(tmp_path)).load(0).mask
        assert set(np.unique(mask)) == ({0, 1} if isinstance(nothing, list) else {0})

    @pytest.mark.parametrize(
        "shape",
        [
            [2, 3, 10, 3, 10, 7, 2, 7],
            [[2, 3], [10, 3], [10, 7], [2, 7]],
            [[[2, 3], [10, 3], [10, 7], [2, 7]]],
            [["2", "3", "10", "3", "10.0", "7", 2.0, 7]],
        ],
    )
    def test_polygons_of_other_tools(self, tmp_path, shape):
        write(tmp_path, [annotation(1, box(2, 3, 8, 4))])
        expected = COCOInstances("train", str(tmp_path)).load(0).mask
        write(tmp_path, [annotation(1, shape)])
        np.testing.assert_array_equal(COCOInstances("train", str(tmp_path)).load(0).mask, expected)

    @pytest.mark.parametrize("far", [3.5e8, 1e9, 1e300, 10**15])
    def test_polygons_far_outside_are_clipped(self, tmp_path, far):
        write(
            tmp_path,
            [annotation(1, [[10, 5, far, 5, far, 12, 10, 12]]), annotation(18, [[-far, -far, -far, 0, 0, -far]])],
        )
        expected = np.zeros((HEIGHT, WIDTH), int)
        expected[5:12, 10:] = 1
        np.testing.assert_array_equal(COCOInstances("train", str(tmp_path)).load(0).mask, expected)

    def test_polygons_beyond_the_border_match_pycocotools(self, tmp_path):
        from pycocotools import mask

        rng = np.random.default_rng(0)
        for _ in range(40):
            polygon = (rng.normal(size=(7, 2)) * 40 + 10).round(1).ravel().tolist()
            write(tmp_path, [annotation(1, [polygon])])
            expected = mask.decode(mask.frPyObjects([polygon], HEIGHT, WIDTH))[:, :, 0]
            found = COCOInstances("train", str(tmp_path)).load(0).mask
            assert (found != expected).mean() < 0.01  # vertices that were cut off are rounded to 1/5 pixel

    @pytest.mark.parametrize(
        ("segmentation", "message"),
        [
            ([[1, 2, 3, 4, 5, 6, 7]], "a polygon has an odd number of coordinates (7)"),
            ([[1, 2, 3, 4, 5, "x"]], "a polygon has the coordinate x, which is not a finite number"),
            ([[1, 2, 3, 4, 5, True]], "a polygon has the coordinate True, which is not a finite number"),
            ([[1, 2, 3, 4, 5, float("nan")]], "a polygon has the coordinate nan, which is not a finite number"),
            ([[1, 2, 3, 4, 5, float("-inf")]], "a polygon has the coordinate -inf, which is not a finite number"),
            ([[1, 2, 3, 4, 5, 10**400]], "which is not a finite number"),
            ([[[1, 2], [3], [4, 5]]], "points that are not [x, y]"),
            ([{"x": 1, "y": 2}] * 3, "which is not a finite number"),
            ([[0, 0, 0, 20] * 4000], "too long for its image"),
            ("text", "must be a list of polygons, or run lengths, not 'text'"),
            (7, "must be a list of polygons, or run lengths, not 7"),
            ({"counts": [1, 2]}, "'size' of annotations[0] (id 77).segmentation is missing"),
            (
                {"counts": [6], "size": [2, 3]},
                "run lengths of size [2, 3], but its image is [height, width] = [20, 30]",
            ),
            ({"counts": [600], "size": [30, 20]}, "run lengths of size [30, 20]"),
            ({"counts": [0, 1], "size": [2**31 - 1, 2**31 - 1]}, "run lengths of size"),
            ({"counts": [10**6, 10**6], "size": [20, 30]}, "run lengths add up to 2,000,000 pixels"),
            ({"counts": [10, 5], "size": [20, 30]}, "run lengths add up to 15 pixels, but its image has 600"),
            ({"counts": [], "size": [20, 30]}, "run lengths add up to 0 pixels"),
            ({"counts": "", "size": [20, 30]}, "run lengths add up to 0 pixels"),
            ({"counts": [-5, 605], "size": [20, 30]}, "counts must be a list of whole numbers from 0"),
            ({"counts": [0.5, 599.5], "size": [20, 30]}, "counts must be a list of whole numbers from 0"),
            ({"counts": None, "size": [20, 30]}, "counts must be a list of whole numbers from 0"),
            ({"counts": "b'PQ1'", "size": [20, 30]}, "counts must be a list of whole numbers from 0"),
            ({"counts": "p", "size": [20, 30]}, "counts must be a list of whole numbers from 0"),
            ({"counts": "oooooooooooooooo0", "size": [20, 30]}, "counts must be a list of whole numbers from 0"),
        ],
    )
    def test_wrong_segmentations_are_named(self, tmp_path, segmentation, message):
        write(tmp_path, [annotation(1, segmentation)])
        with pytest.raises(DataError, match=re.escape(message)) as caught:
            COCOInstances("train", str(tmp_path)).load(0)
        assert "instances_train2017.json: " in str(caught.value)
        assert "annotations[0] (id 77)" in str(caught.value)

    def test_other_size_than_annotated_and_paths_outside_are_refused(self, tmp_path):
        write(tmp_path, [], width=31)
        with pytest.raises(DataError, match=r"5\.jpg: 30 x 20 pixels, but .* was drawn on 31 x 20"):
            COCOInstances("train", str(tmp_path)).load(0)
        write(tmp_path, [], file_name="../secret.jpg")
        with pytest.raises(DataError, match="is outside"):
            COCOInstances("train", str(tmp_path)).load(0)
        write(tmp_path, [annotation(2, [])])
        with pytest.raises(DataError, match=r"category_id 2 of .* is none of its categories"):
            COCOInstances("train", str(tmp_path))

    def test_the_cache_key_is_image_annotations_and_id(self, tmp_path):
        write(tmp_path, [])
        source = tmp_path / "annotations" / "instances_train2017.json"
        files = COCOInstances("train", str(tmp_path)).files(0)
        assert list(files) == [tmp_path / "train2017" / "5.jpg", source, "5"]


def test_run_lengths_may_be_a_list(tmp_path):
    parts = np.zeros((2, HEIGHT, WIDTH), bool)
    parts[0, 2:5, 3:9], parts[1, 10:12, 20:25] = True, True
    write(tmp_path, [annotation(1, [runs(part) for part in parts])])
    mask = COCOInstances("train", str(tmp_path)).load(0).mask
    np.testing.assert_array_equal(mask, parts.any(axis=0))

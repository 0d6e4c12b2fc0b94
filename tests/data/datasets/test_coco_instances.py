"""COCO's instances: polygons and run lengths become classes."""

import itertools
import json
import re
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
    """Encode uncompressed run lengths: column by column, starting with zeros."""
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

    @pytest.mark.parametrize("flag", [1, True, "1", 1.0, "true"])
    def test_a_crowd_may_be_flagged_in_any_type(self, tmp_path, flag):
        write(tmp_path, [annotation(1, box(2, 3, 8, 4), crowd=flag)])
        assert set(np.unique(COCOInstances("train", str(tmp_path)).load(0).mask)) == {0, 255}
        write(tmp_path, [annotation(1, box(2, 3, 8, 4), crowd="0")])
        assert set(np.unique(COCOInstances("train", str(tmp_path)).load(0).mask)) == {0, 1}
        write(tmp_path, [annotation(1, box(2, 3, 8, 4), crowd=["yes"])])
        with pytest.raises(DataError, match=r"'iscrowd' of annotations\[0\] \(id 77\) must be 0 or 1"):
            COCOInstances("train", str(tmp_path)).load(0)

    @pytest.mark.parametrize("number", ["5", 5.0, " 5 "])
    def test_ids_may_be_of_another_type(self, tmp_path, number):
        write(tmp_path, [annotation("18", box(2, 3, 8, 4), image=number)])
        assert set(np.unique(COCOInstances("train", str(tmp_path)).load(0).mask)) == {0, 2}

    @pytest.mark.parametrize("number", [6, "05", None, "five"])
    def test_annotations_of_no_image_are_refused_together(self, tmp_path, number):
        write(tmp_path, [annotation(18, box(2, 3, 8, 4), image=number)] * 3)
        with pytest.raises(
            DataError, match=r"3 annotations belong to no image of the file, first annotations\[0\] \(id 77\)"
        ):
            COCOInstances("train", str(tmp_path))

    @pytest.mark.parametrize("number", [True, [5], 5.5, {}])
    def test_invalid_ids_are_refused(self, tmp_path, number):
        write(tmp_path, [annotation(18, box(2, 3, 8, 4), image=number)])
        with pytest.raises(
            DataError, match=r"'image_id' of annotations\[0\] \(id 77\) must be a whole number or a text"
        ):
            COCOInstances("train", str(tmp_path))

    def test_two_categories_of_one_name_are_one_class(self, tmp_path, monkeypatch):
        monkeypatch.setitem(globals(), "CATEGORIES", [{"id": 0, "name": "cell"}, {"id": 1, "name": " cell"}])
        write(tmp_path, [annotation(0, box(2, 3, 8, 4)), annotation(1, box(15, 3, 8, 4))])
        dataset = COCOInstances("train", str(tmp_path))
        assert dataset.classes.names == ("background", "cell")
        assert (dataset.load(0).mask == 1).sum() == 64
        assert "1 category merged with another one of the same name: cell" in dataset.notes.lines()[0]

    def test_a_category_named_background_is_the_background(self, tmp_path, monkeypatch):
        categories = [{"id": 0, "name": "Background"}, {"id": 1, "name": "cell"}]
        monkeypatch.setitem(globals(), "CATEGORIES", categories)
        write(tmp_path, [annotation(1, box(2, 3, 8, 4)), annotation(0, box(4, 4, 2, 2))])
        dataset = COCOInstances("train", str(tmp_path))
        assert dataset.classes.names == ("background", "cell")
        assert (dataset.load(0).mask == 1).sum() == 32 - 4

    def test_the_category_above_all_others_is_a_class_only_if_it_is_annotated(self, tmp_path, monkeypatch):
        categories = [
            {"id": 0, "name": "fish", "supercategory": "none"},
            {"id": 1, "name": "tuna", "supercategory": "fish"},
            {"id": 2, "name": "cod", "supercategory": "fish"},
        ]
        monkeypatch.setitem(globals(), "CATEGORIES", categories)
        write(tmp_path, [annotation(1, box(2, 3, 8, 4))])
        assert COCOInstances("train", str(tmp_path)).classes.names == ("background", "tuna", "cod")
        write(tmp_path, [annotation(0, box(2, 3, 8, 4))])
        assert COCOInstances("train", str(tmp_path)).classes.names == ("background", "fish", "tuna", "cod")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"categories": []}, "has no category"),
            ({"categories": {}}, "'categories' of the file must be a list"),
            ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "'a' and 'b' share the id 1"),
            ({"categories": [{"id": 1, "name": None}]}, r"'name' of categories\[0\] \(id 1\) is missing"),
            ({"categories": ["a"]}, r"categories\[0\] must be an object {...}, not 'a'"),
            ({"images": []}, "names no image"),
            ({"images": None}, "'images' of the file is missing"),
            ({"images": [[]]}, r"images\[0\] must be an object"),
            ({"images": [{"id": 5, "file_name": "a"}, {"id": 5, "file_name": "b"}]}, "'a' and 'b' share the id 5"),
            (
                {"images": [{"id": 5, "file_name": "a"}, {"id": 6, "file_name": "./a"}]},
                "'a' is listed as images 5 and 6",
            ),
            ({"images": [{"id": 5, "file_name": 5}]}, r"'file_name' of images\[0\] \(id 5\) must be a text, not 5"),
            ({"annotations": None}, "'annotations' of the file is missing"),
            ({"annotations": [None]}, r"annotations\[0\] must be an object {...}, not null"),
            ({"annotations": [{"id": 1, "image_id": 5}]}, r"'category_id' of annotations\[0\] \(id 1\) is missing"),
        ],
    )
    def test_values_of_another_type_are_named(self, tmp_path, changes, message):
        write(tmp_path, [])
        source = tmp_path / "annotations" / "instances_train2017.json"
        source.write_text(json.dumps(json.loads(source.read_text()) | changes))
        with pytest.raises(DataError, match=message) as caught:
            COCOInstances("train", str(tmp_path))
        assert str(caught.value).startswith(f"{source}: ")

    @pytest.mark.parametrize("size", [None, 0, "20", 20.0])
    def test_sizes_may_be_missing_or_of_another_type(self, tmp_path, size):
        write(tmp_path, [], height=size)
        assert COCOInstances("train", str(tmp_path)).load(0).mask.shape == (HEIGHT, WIDTH)
        write(tmp_path, [], height=[20])
        with pytest.raises(DataError, match=r"'height' of images\[0\] \(id 5\) must be a number of pixels"):
            COCOInstances("train", str(tmp_path)).load(0)

    @pytest.mark.parametrize(
        "name", ["sub\\a é.jpg", "./sub/a é.jpg", "sub/a%20%C3%A9.jpg", "sub/a e\u0301.jpg", "SUB/a é.JPG"]
    )
    def test_file_names_of_other_systems(self, tmp_path, name):
        write(tmp_path, [], file_name=name)
        (tmp_path / "train2017" / "sub").mkdir()
        (tmp_path / "train2017" / "5.jpg").rename(tmp_path / "train2017" / "sub" / "a é.jpg")
        assert COCOInstances("train", str(tmp_path)).load(0).name == str(tmp_path / "train2017" / "sub" / "a é.jpg")

    def test_images_without_entry_are_counted(self, tmp_path):
        write(tmp_path, [])
        Image.new("RGB", (2, 2)).save(tmp_path / "train2017" / "6.jpg")
        (tmp_path / "train2017" / ".ipynb_checkpoints").mkdir()
        Image.new("RGB", (2, 2)).save(tmp_path / "train2017" / ".ipynb_checkpoints" / "5.jpg")
        lines = COCOInstances("train", str(tmp_path)).notes.lines()
        assert "1 file left out, hidden or in the trash: .ipynb_checkpoints/5.jpg" in lines[0]
        assert "1 image left out, instances_train2017.json does not name it: 6.jpg" in lines[1]

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

"""Records of COCO's instance files: categories, ids, sizes and file names, in the words of many tools."""

import json

import numpy as np
import pytest
from coco_records import HEIGHT, WIDTH, annotation, box, write
from PIL import Image

from segnet.data.datasets.coco_instances import COCOInstances
from segnet.errors import DataError

pytest.importorskip("pycocotools", reason="pycocotools is an optional package, and not installed")


@pytest.mark.parametrize("flag", [1, True, "1", 1.0, "true"])
def test_a_crowd_may_be_flagged_in_any_type(tmp_path, flag):
    write(tmp_path, [annotation(1, box(2, 3, 8, 4), crowd=flag)])
    assert set(np.unique(COCOInstances("train", str(tmp_path)).load(0).mask)) == {0, 255}
    write(tmp_path, [annotation(1, box(2, 3, 8, 4), crowd="0")])
    assert set(np.unique(COCOInstances("train", str(tmp_path)).load(0).mask)) == {0, 1}
    write(tmp_path, [annotation(1, box(2, 3, 8, 4), crowd=["yes"])])
    with pytest.raises(DataError, match=r"'iscrowd' of annotations\[0\] \(id 77\) must be 0 or 1"):
        COCOInstances("train", str(tmp_path)).load(0)


@pytest.mark.parametrize("number", ["5", 5.0, " 5 "])
def test_ids_may_be_of_another_type(tmp_path, number):
    write(tmp_path, [annotation("18", box(2, 3, 8, 4), image=number)])
    assert set(np.unique(COCOInstances("train", str(tmp_path)).load(0).mask)) == {0, 2}


@pytest.mark.parametrize("number", [6, "05", None, "five"])
def test_annotations_of_no_image_are_refused_together(tmp_path, number):
    write(tmp_path, [annotation(18, box(2, 3, 8, 4), image=number)] * 3)
    with pytest.raises(
        DataError, match=r"3 annotations belong to no image of the file, first annotations\[0\] \(id 77\)"
    ):
        COCOInstances("train", str(tmp_path))


@pytest.mark.parametrize("number", [True, [5], 5.5, {}])
def test_invalid_ids_are_refused(tmp_path, number):
    write(tmp_path, [annotation(18, box(2, 3, 8, 4), image=number)])
    with pytest.raises(DataError, match=r"'image_id' of annotations\[0\] \(id 77\) must be a whole number or a text"):
        COCOInstances("train", str(tmp_path))


def test_two_categories_of_one_name_are_one_class(tmp_path):
    categories = [{"id": 0, "name": "cell"}, {"id": 1, "name": " cell"}]
    write(tmp_path, [annotation(0, box(2, 3, 8, 4)), annotation(1, box(15, 3, 8, 4))], categories)
    dataset = COCOInstances("train", str(tmp_path))
    assert dataset.classes.names == ("background", "cell")
    assert (dataset.load(0).mask == 1).sum() == 64
    assert "1 category merged with another one of the same name: cell" in dataset.notes.lines()[0]


def test_a_category_named_background_is_the_background(tmp_path):
    categories = [{"id": 0, "name": "Background"}, {"id": 1, "name": "cell"}]
    write(tmp_path, [annotation(1, box(2, 3, 8, 4)), annotation(0, box(4, 4, 2, 2))], categories)
    dataset = COCOInstances("train", str(tmp_path))
    assert dataset.classes.names == ("background", "cell")
    assert (dataset.load(0).mask == 1).sum() == 32 - 4


def test_the_category_above_all_others_is_a_class_only_if_it_is_annotated(tmp_path):
    categories = [
        {"id": 0, "name": "fish", "supercategory": "none"},
        {"id": 1, "name": "tuna", "supercategory": "fish"},
        {"id": 2, "name": "cod", "supercategory": "fish"},
    ]
    write(tmp_path, [annotation(1, box(2, 3, 8, 4))], categories)
    assert COCOInstances("train", str(tmp_path)).classes.names == ("background", "tuna", "cod")
    write(tmp_path, [annotation(0, box(2, 3, 8, 4))], categories)
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
def test_values_of_another_type_are_named(tmp_path, changes, message):
    write(tmp_path, [])
    source = tmp_path / "annotations" / "instances_train2017.json"
    source.write_text(json.dumps(json.loads(source.read_text()) | changes))
    with pytest.raises(DataError, match=message) as caught:
        COCOInstances("train", str(tmp_path))
    assert str(caught.value).startswith(f"{source}: ")


@pytest.mark.parametrize("size", [None, 0, "20", 20.0])
def test_sizes_may_be_missing_or_of_another_type(tmp_path, size):
    write(tmp_path, [], height=size)
    assert COCOInstances("train", str(tmp_path)).load(0).mask.shape == (HEIGHT, WIDTH)
    write(tmp_path, [], height=[20])
    with pytest.raises(DataError, match=r"'height' of images\[0\] \(id 5\) must be a number of pixels"):
        COCOInstances("train", str(tmp_path)).load(0)


@pytest.mark.parametrize(
    "name", ["sub\\a é.jpg", "./sub/a é.jpg", "sub/a%20%C3%A9.jpg", "sub/a e\u0301.jpg", "SUB/a é.JPG"]
)
def test_file_names_of_other_systems(tmp_path, name):
    write(tmp_path, [], file_name=name)
    (tmp_path / "train2017" / "sub").mkdir()
    (tmp_path / "train2017" / "5.jpg").rename(tmp_path / "train2017" / "sub" / "a é.jpg")
    assert COCOInstances("train", str(tmp_path)).load(0).name == str(tmp_path / "train2017" / "sub" / "a é.jpg")


def test_images_without_entry_are_counted(tmp_path):
    write(tmp_path, [])
    Image.new("RGB", (2, 2)).save(tmp_path / "train2017" / "6.jpg")
    (tmp_path / "train2017" / ".ipynb_checkpoints").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "train2017" / ".ipynb_checkpoints" / "5.jpg")
    lines = COCOInstances("train", str(tmp_path)).notes.lines()
    assert "1 file left out, hidden or in the trash: .ipynb_checkpoints/5.jpg" in lines[0]
    assert "1 image left out, instances_train2017.json does not name it: 6.jpg" in lines[1]

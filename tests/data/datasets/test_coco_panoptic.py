"""COCO's panoptic format: segments of a PNG become classes."""

import json

import numpy as np
import pytest
from PIL import Image

from segnet.data.datasets.coco_panoptic import COCOPanoptic
from segnet.errors import DataError

CATEGORIES = [  # not in the order of their ids, with gaps, as COCO's are
    {"id": 200, "name": "rug-merged", "isthing": 0, "supercategory": "floor", "color": [250, 141, 255]},
    {"id": 1, "name": "person", "isthing": 1, "supercategory": "person", "color": [220, 20, 60]},
    {"id": 3, "name": "car", "isthing": 1, "supercategory": "vehicle", "color": [0, 0, 142]},
]
SEGMENTS = {0: None, 7: 1, 256 * 3 + 7: 1, 65536 * 9 + 256 * 2 + 250: 200, 5: 3}  # id -> category


def as_colors(ids: np.ndarray) -> np.ndarray:
    """panopticapi's id2rgb."""
    return np.stack([ids % 256, ids // 256 % 256, ids // 256**2], axis=-1).astype(np.uint8)


def write(root, masks: str = "annotations/panoptic_val2017", **changes) -> None:
    ids = np.array([list(SEGMENTS), [5, 5, 5, 0, 0]])
    for folder in ("annotations", "val2017", masks):
        (root / folder).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (5, 2)).save(root / "val2017" / "000000000139.jpg")
    Image.fromarray(as_colors(ids)).save(root / masks / "000000000139.png")
    segments = [
        {"id": segment, "category_id": category, "iscrowd": 0, "area": 1, "bbox": [0, 0, 1, 1]}
        for segment, category in SEGMENTS.items()
        if category
    ]
    record = {
        "info": {},
        "licenses": [],
        "images": [{"id": 139, "file_name": "000000000139.jpg", "height": 2, "width": 5}],
        "annotations": [{"image_id": 139, "file_name": "000000000139.png", "segments_info": segments}],
        "categories": CATEGORIES,
    }
    (root / "annotations" / "panoptic_val2017.json").write_text(json.dumps(record | changes))


@pytest.mark.parametrize("masks", ["annotations/panoptic_val2017", "panoptic_val2017"])
def test_segments_are_converted_to_classes_in_the_order_of_category_ids(tmp_path, masks):
    write(tmp_path, masks)
    dataset = COCOPanoptic("val", str(tmp_path))
    assert dataset.classes.names == ("person", "car", "rug-merged")
    assert dataset.classes.palette == ((220, 20, 60), (0, 0, 142), (250, 141, 255))
    sample = dataset.load(0)
    assert sample.mask.tolist() == [[255, 0, 0, 2, 1], [1, 1, 1, 255, 255]]
    assert sample.mask.dtype == np.uint8


def test_other_names_of_files_are_options(tmp_path):
    write(tmp_path)
    (tmp_path / "val2017").rename(tmp_path / "pictures_val")
    dataset = COCOPanoptic("val", str(tmp_path), images="pictures_{split}")
    assert dataset.load(0).image.shape == (2, 5, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": CATEGORIES[:2]}, "category_id 3 is none of its categories"),
        ({"images": []}, "names no image"),
        ({"images": [{"id": 1, "file_name": "a"}]}, "1 annotation belongs to no image of the file"),
        ({"annotations": []}, "annotates no image"),
        ({"annotations": [{"image_id": 139, "bbox": [0, 0, 1, 1]}]}, r"'segments_info' of annotations\[0\] is missing"),
        ({"annotations": {}}, "'annotations' of the file must be a list"),
        ({"annotations": [{"image_id": 139, "file_name": "a.png", "segments_info": []}] * 2}, "is annotated twice"),
        (
            {
                "images": [{"id": 139, "file_name": "a"}, {"id": 140, "file_name": "b"}],
                "annotations": [{"image_id": i, "file_name": "a.png", "segments_info": []} for i in (139, 140)],
            },
            "images 139 and 140 share the mask 'a.png'",
        ),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "share the id 1"),
        ({"categories": [{"name": "a"}]}, r"'id' of categories\[0\] is missing"),
    ],
)
def test_wrong_annotations_are_named(tmp_path, changes, message):
    write(tmp_path, **changes)
    with pytest.raises(DataError, match=message) as caught:
        COCOPanoptic("val", str(tmp_path))
    assert str(caught.value).startswith(str(tmp_path / "annotations" / "panoptic_val2017.json"))


def test_an_unlisted_segment_is_named(tmp_path):
    write(tmp_path, annotations=[{"image_id": 139, "file_name": "000000000139.png", "segments_info": []}])
    with pytest.raises(DataError, match=r"000000000139\.png: segment 5 is not in the segments_info"):
        COCOPanoptic("val", str(tmp_path)).load(0)


def test_paths_outside_are_refused(tmp_path):
    write(tmp_path, images=[{"id": 139, "file_name": "../../x.jpg"}])
    with pytest.raises(DataError, match="is outside"):
        COCOPanoptic("val", str(tmp_path)).load(0)
    write(tmp_path, annotations=[{"image_id": 139, "file_name": "../x.png", "segments_info": []}])
    with pytest.raises(DataError, match="is outside"):
        COCOPanoptic("val", str(tmp_path)).load(0)


def test_a_segment_of_two_categories_is_refused(tmp_path):
    segments = [{"id": 5, "category_id": 1}, {"id": 5, "category_id": 3}]
    write(tmp_path, annotations=[{"image_id": 139, "file_name": "a.png", "segments_info": segments}])
    with pytest.raises(DataError, match=r"segment 5 of .* has two categories"):
        COCOPanoptic("val", str(tmp_path))


def test_ids_may_be_text_and_colors_anything(tmp_path):
    write(tmp_path)
    source = tmp_path / "annotations" / "panoptic_val2017.json"
    record = json.loads(source.read_text())
    record["annotations"][0]["image_id"] = "139"
    record["categories"][0]["color"] = {"r": 1}
    for segment in record["annotations"][0]["segments_info"]:
        segment["category_id"] = str(segment["category_id"])
    source.write_text(json.dumps(record))
    dataset = COCOPanoptic("val", str(tmp_path))
    assert dataset.load(0).mask.tolist() == [[255, 0, 0, 2, 1], [1, 1, 1, 255, 255]]


def test_images_without_annotation_are_counted(tmp_path):
    write(tmp_path, images=[{"id": 139, "file_name": "000000000139.jpg"}, {"id": 7, "file_name": "7.jpg"}])
    lines = COCOPanoptic("val", str(tmp_path)).notes.lines()
    assert "1 image left out, it has no annotation: 7.jpg" in lines[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "is not valid JSON"), (b"\xff\xfe\xff", "is not UTF-16 text"), (b"", "is empty"), (None, "cannot be")],
)
def test_an_invalid_json_file_is_named(tmp_path, content, message):
    write(tmp_path)
    path = tmp_path / "annotations" / "panoptic_val2017.json"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        COCOPanoptic("val", str(tmp_path))


def test_the_cache_key_is_image_mask_and_annotations(tmp_path):
    write(tmp_path)
    annotations = tmp_path / "annotations"
    files = [tmp_path / "val2017" / "000000000139.jpg", annotations / "panoptic_val2017" / "000000000139.png"]
    assert list(COCOPanoptic("val", str(tmp_path)).files(0)) == [*files, annotations / "panoptic_val2017.json"]

"""Annotation files with any value in any place: read correctly, or refused in one line that names the file."""

import copy
import json
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segnet.data import build_dataset
from segnet.errors import SegnetError

HEIGHT, WIDTH = 12, 16
VALUES = [
    *(None, True, False, 0, -1, 7, 1.5, 2**31, 2**64, 10**400, float("nan"), float("inf"), -1e300),
    *("", " ", "x", "7", "../../x", "a\0b", "\ud800", "%2e%2e/x", [], [[]], [1], [None], {}, {"a": 1}, [{}], [[[[]]]]),
]
SQUARE = [2, 2, 9, 2, 9, 8, 2, 8]


def image(path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)


def coco_instances(root) -> dict[str, Any]:
    annotation = {
        "id": 5,
        "image_id": 1,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [2, 2, 7, 6],
        "segmentation": [SQUARE],
    }
    runs = {"size": [HEIGHT, WIDTH], "counts": [30, 5, HEIGHT * WIDTH - 35]}
    for split in ("train", "val"):
        image(root / f"{split}2017" / "a.jpg")
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
        "annotations": [annotation, annotation | {"id": 6, "segmentation": runs, "category_id": 2}],
        "categories": [{"id": 1, "name": "cat", "supercategory": "pet"}, {"id": 2, "name": "dog"}],
    }


def coco_panoptic(root) -> dict[str, Any]:
    for split in ("train", "val"):
        image(root / f"{split}2017" / "a.jpg")
        image(root / "annotations" / f"panoptic_{split}2017" / "a.png")
    segment = {"id": 7, "category_id": 1, "iscrowd": 0}
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": [segment]}],
        "categories": [{"id": 1, "name": "cat", "color": [1, 2, 3]}, {"id": 2, "name": "dog", "color": [3, 2, 1]}],
    }


def labelme(root) -> dict[str, Any]:
    image(root / "train" / "a.jpg")
    shape = {"label": "cat", "points": [[1, 1], [8, 8]], "shape_type": "rectangle", "flags": {}, "group_id": None}
    mask = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAG7buVgAAAABJRU5ErkJggg=="
    return {
        "shapes": [shape, shape | {"shape_type": "mask", "points": [[3, 4], [3, 4]], "mask": mask}],
        "imagePath": "a.jpg",
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }


def label_studio(root) -> list[dict[str, Any]]:
    image(root / "images" / "a.jpg")
    image(root / "images" / "b.jpg")
    (root / "masks").mkdir()
    Image.new("L", (WIDTH, HEIGHT), 255).save(root / "masks" / "task-1-annotation-2-by-1-tag-cat-0.png")
    annotation = {"id": 2, "was_cancelled": False, "result": [{"type": "brushlabels"}]}
    tasks = [{"id": 1, "data": {"image": "/data/local-files/?d=a.jpg"}, "annotations": [annotation]}]
    value = {"points": [[1, 2], [50, 2], [50, 90]], "polygonlabels": ["cat"]}
    polygon = {"type": "polygonlabels", "id": "p", "value": value, "original_width": WIDTH}
    box = {"type": "rectanglelabels", "value": {"x": 1, "y": 2, "width": 3, "height": 4, "rectanglelabels": ["cat"]}}
    brush = {"type": "brushlabels", "value": {"rle": [0, 3], "brushlabels": ["cat"]}}
    drawn = annotation | {"id": 3, "result": [polygon, box, brush]}
    return [*tasks, {"id": 2, "data": {"image": "b.jpg"}, "annotations": [drawn]}]


def supervisely(root) -> dict[str, Any]:
    for name in ("train", "val"):
        image(root / name / "img" / "a.jpg")
        (root / name / "ann").mkdir()
        (root / name / "ann" / "a.jpg.json").write_text('{"objects": []}')
    (root / "meta.json").write_text('{"classes": [{"title": "cat"}]}')
    points = {"exterior": [[1, 1], [8, 1], [8, 8]], "interior": [[[2, 2], [4, 2], [4, 4]]]}
    return {
        "tags": [{"name": "night"}],
        "size": {"height": HEIGHT, "width": WIDTH},
        "objects": [
            {"id": 4, "classTitle": "cat", "geometryType": "polygon", "points": points},
            {"id": 5, "classTitle": "cat", "geometryType": "bitmap", "bitmap": {"data": "eA==", "origin": [1, 2]}},
        ],
    }


READERS = {
    "coco_instances": (coco_instances, "annotations/instances_train2017.json", {}),
    "coco_panoptic": (coco_panoptic, "annotations/panoptic_train2017.json", {}),
    "labelme": (labelme, "train/a.json", {"class_names": ["background", "cat"]}),
    "label_studio": (label_studio, "export.json", {"class_names": ["background", "cat"]}),
    "supervisely": (supervisely, "train/ann/a.jpg.json", {}),
}


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield the paths of all values."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def changed(value: Any, path: tuple, new: Any) -> Any:
    if not path:
        return new
    result = copy.deepcopy(value)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return result


def attempt(function, *arguments, **options) -> tuple[Any, SegnetError | None]:
    """Return the result of a call, or its user error; any other error fails the test."""
    try:
        return function(*arguments, **options), None
    except SegnetError as error:
        return None, error


def read_all(name: str, root, options) -> None:
    """Read every sample; an error must be one line that names a file of the dataset."""
    dataset, problem = attempt(build_dataset, {"name": name, "root": str(root), **options}, "train")
    problems = [problem]
    for index in range(len(dataset) if dataset is not None else 0):
        dataset.files(index)
        sample, problem = attempt(dataset.load, index)
        problems.append(problem)
        if sample is not None:
            known = {*range(len(dataset.classes.names)), dataset.classes.ignore_index}
            assert set(np.unique(sample.mask).tolist()) <= known
    for problem in filter(None, problems):
        assert "\n" not in str(problem)
        assert str(root) in str(problem)
        assert problem.exit_code == 3


@pytest.mark.parametrize("name", READERS)
def test_any_value_in_any_place_is_accepted_or_refused_in_one_line(tmp_path, name):
    if name == "coco_instances":
        pytest.importorskip("pycocotools", reason="pycocotools is an optional package, and not installed")
    make, file, options = READERS[name]
    original = make(tmp_path)
    source = tmp_path / file
    source.parent.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of pycocotools with numpy 2
        for path in places(original):
            for value in VALUES:
                source.write_text(json.dumps(changed(original, path, value)))
                read_all(name, tmp_path, options)


@pytest.mark.parametrize("name", READERS)
def test_a_missing_key_is_accepted_or_refused_in_one_line(tmp_path, name):
    if name == "coco_instances":
        pytest.importorskip("pycocotools", reason="pycocotools is an optional package, and not installed")
    make, file, options = READERS[name]
    original = make(tmp_path)
    source = tmp_path / file
    source.parent.mkdir(exist_ok=True)
    for path in places(original):
        if path and isinstance(path[-1], str):
            record = copy.deepcopy(original)
            inner = record
            for key in path[:-1]:
                inner = inner[key]
            del inner[path[-1]]
            source.write_text(json.dumps(record))
            read_all(name, tmp_path, options)


@pytest.mark.parametrize("name", READERS)
def test_truncated_files_are_accepted_or_refused_in_one_line(tmp_path, name):
    make, file, options = READERS[name]
    text = json.dumps(make(tmp_path))
    source = tmp_path / file
    source.parent.mkdir(exist_ok=True)
    for length in range(0, len(text), 7):
        source.write_text(text[:length])
        read_all(name, tmp_path, options)

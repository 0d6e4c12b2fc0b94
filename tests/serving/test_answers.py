import base64
import io
import json
import zlib

import numpy as np
import pytest
from PIL import Image

from segnet.classes import Classes, voc_palette
from segnet.data.datasets.planes import PlaneLabels
from segnet.errors import ConfigError
from segnet.inference.segmentation import Segmentation
from segnet.serving.answers import Wanted, content_type, render_answer

CLASSES = Classes.create(["a", "b", "c"], [[9, 8, 7], [200, 100, 0], [0, 0, 255]])
MASK = np.array([[0, 1, 1, 1], [2, 1, 1, 1]], np.uint8)
IMAGE = np.random.default_rng(0).integers(0, 256, (2, 4, 3), np.uint8)
RESULT = Segmentation(IMAGE, MASK, CLASSES)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, Wanted()),
        ({"output": "mask"}, Wanted("mask")),
        ({"output": "overlay", "opacity": "1"}, Wanted("overlay", opacity=1)),
        ({"output": "polygons", "tolerance": "1.5"}, Wanted("polygons", tolerance=1.5)),
        ({"image": "true"}, Wanted(image=True)),
        (
            {"output": "mask", "refuse": "0.7", "threshold": "a=0.3", "min_area": "5,b=2"},
            Wanted("mask", refinement={"threshold": "a=0.3", "refuse": "0.7", "min_area": "5,b=2"}),
        ),
    ],
)
def test_valid_queries_are_parsed(query, wanted):
    assert Wanted.read(query) == wanted


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"output": "png"}, "output=png must be one of json, mask, overlay, confidence, polygons"),
        ({"ouput": "mask"}, "ouput: no such parameter. Did you mean 'output'?"),
        ({"opacity": "0.3"}, "opacity is not a parameter of output=json"),
        ({"output": "mask", "image": "true"}, "image is not a parameter of output=mask"),
        ({"output": "overlay", "opacity": "1.1"}, "opacity=1.1 must be a number of 0-1"),
        ({"output": "overlay", "opacity": "nan"}, "opacity=nan must be"),
        ({"output": "overlay", "opacity": "half"}, "opacity=half must be"),
        ({"output": "polygons", "tolerance": "-1"}, "tolerance=-1 must be"),
        ({"image": "1"}, "image=1 must be true or false"),
        ({"refuse": "70"}, "refuse=70 must be a probability, 0-1"),
        ({"refuse": "most"}, "refuse=most must be a number"),
        ({"threshold": "0.5"}, "threshold=0.5 names no class"),
        ({"min_area": "a"}, "min_area=a: write min_area=PIXELS"),
    ],
)
def test_invalid_queries_are_refused(query, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?").replace(".", r"\.")):
        Wanted.read(query)


def decoded(content):
    return Image.open(io.BytesIO(content))


def test_the_mask_has_the_class_colors_as_palette():
    image = decoded(render_answer(RESULT, Wanted("mask"), 0.1))
    assert image.mode == "P"
    np.testing.assert_array_equal(np.array(image), MASK)
    np.testing.assert_array_equal(np.array(image.convert("RGB"))[0, 1], CLASSES.palette[1])


def test_refused_pixels_are_white_and_reported():
    mask = np.array([[0, 255, 1, 1], [255, 1, 1, 1]], np.uint8)
    result = Segmentation(IMAGE, mask, CLASSES)
    found = json.loads(render_answer(result, Wanted(), 0.1))
    assert found["refused"] == 0.25
    assert sum(entry["share"] for entry in found["classes"]) == 0.75
    image = decoded(render_answer(result, Wanted("mask"), 0.1))
    np.testing.assert_array_equal(np.array(image), mask)
    np.testing.assert_array_equal(np.array(image.convert("RGB"))[mask == 255], 255)
    polygons = json.loads(render_answer(result, Wanted("polygons"), 0.1))
    assert sum(one["properties"]["area"] for one in polygons["features"]) == 6


def test_json_contains_fractions_mask_and_optionally_the_image():
    found = json.loads(render_answer(RESULT, Wanted(), 0.12345))
    assert (found["width"], found["height"], found["seconds"]) == (4, 2, 0.1235)
    assert [entry["share"] for entry in found["classes"]] == [0.125, 0.75, 0.125]
    assert found["classes"][1] == {"id": 1, "name": "b", "color": [200, 100, 0], "share": 0.75}
    np.testing.assert_array_equal(np.array(decoded(base64.b64decode(found["mask"]))), MASK)
    assert "image" not in found
    found = json.loads(render_answer(RESULT, Wanted(image=True), 0))
    assert decoded(base64.b64decode(found["image"])).size == (4, 2)


@pytest.mark.parametrize(("kind", "top"), [(np.uint8, 255), (np.uint16, 299)])
def test_json_contains_raw_ids_with_the_image(kind, top):
    mask = np.array([[0, top, 1], [2, top, 7]], kind)
    names = [f"c{i}" for i in range(top + 1)]
    found = json.loads(
        render_answer(
            Segmentation(np.zeros((2, 3, 3), np.uint8), mask, Classes.create(names, voc_palette(top + 1), 65535)),
            Wanted(image=True),
            0,
        )
    )
    ids = np.frombuffer(zlib.decompress(base64.b64decode(found["ids"])), np.dtype(kind).newbyteorder("<"))
    np.testing.assert_array_equal(ids.reshape(2, 3), mask)


def test_the_image_in_json_is_downscaled():
    large = Segmentation(np.zeros((30, 4096, 3), np.uint8), np.zeros((30, 4096), np.uint8), CLASSES)
    found = json.loads(render_answer(large, Wanted(image=True), 0))
    assert decoded(base64.b64decode(found["image"])).size == (2048, 15)
    assert decoded(base64.b64decode(found["mask"])).size == (4096, 30)


def test_the_overlay_matches_segmentation_overlay():
    image = decoded(render_answer(RESULT, Wanted("overlay", opacity=0.25), 0))
    np.testing.assert_array_equal(np.array(image), RESULT.overlay(0.25))


def test_polygons_are_geojson_in_pixels():
    found = json.loads(render_answer(RESULT, Wanted("polygons"), 0))
    assert found["type"] == "FeatureCollection"
    areas = {feature["properties"]["class"]: feature["properties"]["area"] for feature in found["features"]}
    assert areas == {"a": 1, "b": 6, "c": 1}


def overlapping(num_classes, size):
    classes = Classes.create([f"c{index}" for index in range(num_classes)], task="multilabel")
    planes = np.random.default_rng(0).integers(0, 2, (num_classes, *size), np.uint8)
    return Segmentation(np.zeros((*size, 3), np.uint8), planes, classes)


def test_the_mask_of_several_classes_has_a_page_for_each(tmp_path):
    result = overlapping(3, (5, 7))
    path = tmp_path / "a.tif"
    path.write_bytes(render_answer(result, Wanted("mask"), 0))
    np.testing.assert_array_equal(PlaneLabels(result.classes).read(path), result.mask)
    assert content_type("mask", result.classes) == "image/tiff"
    assert content_type("mask", CLASSES) == content_type("overlay", result.classes) == "image/png"
    found = json.loads(render_answer(result, Wanted(), 0))
    assert base64.b64decode(found["mask"]) == path.read_bytes()
    assert (found["width"], found["height"], found["refused"]) == (7, 5, 0)
    assert [entry["share"] for entry in found["classes"]] == result.mask.mean(axis=(1, 2)).tolist()
    assert "combinations" not in found


@pytest.mark.parametrize(("num_classes", "kind"), [(2, np.uint8), (12, np.uint16)])
def test_the_page_gets_the_combinations_of_classes(num_classes, kind):
    result = overlapping(num_classes, (40, 60))
    found = json.loads(render_answer(result, Wanted(image=True), 0))
    ids = np.frombuffer(zlib.decompress(base64.b64decode(found["ids"])), np.dtype(kind).newbyteorder("<"))
    for code, members in enumerate(found["combinations"]):
        planes = result.mask[:, ids.reshape(40, 60) == code]
        expected = np.isin(np.arange(num_classes), members)[:, None]
        assert (planes == expected).all()

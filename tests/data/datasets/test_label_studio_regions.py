"""Polygons, rectangles, ellipses and brush labels of Label Studio's JSON exports, drawn as masks."""

import json

import numpy as np
import pytest
from PIL import Image

from segnet.data.datasets.label_studio import LabelStudio
from segnet.errors import DataError

HEIGHT, WIDTH = 20, 40
NAMES = ["background", "cat", "dog"]
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH] + 0.5  # centers of pixels
SQUARE = {"points": [[25, 20], [50, 20], [50, 60], [25, 60]]}  # columns 10-19, rows 4-11
RECTANGLE = {"x": 25, "y": 20, "width": 25, "height": 40, "rotation": 0}
BOX = (COLUMNS > 10) & (COLUMNS < 20) & (ROWS > 4) & (ROWS < 12)


def result(kind: str, value: dict, **more) -> dict:
    return {"type": kind, "original_width": WIDTH, "original_height": HEIGHT, "value": value, **more}


def mask_of(root, *results: dict, minimal: list | None = None) -> np.ndarray:
    """The mask of an image with these results in the JSON export, or with these values in JSON-MIN."""
    (root / "images").mkdir(exist_ok=True)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / "images" / name)
    tasks: list[dict] = [{"id": n, "data": {"image": name}} for n, name in ((1, "a.png"), (2, "b.png"))]
    for task in tasks:
        task["annotations"] = [{"id": task["id"], "result": list(results)}]
    if minimal is not None:
        tasks = [
            {"id": n, "image": name, "annotation_id": n, "label": minimal} for n, name in ((1, "a.png"), (2, "b.png"))
        ]
    (root / "export.json").write_text(json.dumps(tasks))
    return LabelStudio("train", str(root), NAMES).load(0).mask


def packed(pixels: np.ndarray) -> list[int]:
    """Brush run lengths, as @thi.ng/rle-pack writes them: runs, or values alone, with lengths of 3 to 16 bits."""
    values = np.repeat(np.where(pixels, 255, 0).astype(np.uint8).ravel(), 4)
    sizes = (3, 4, 8, 16)
    bits = [f"{len(values):032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in sizes)]
    ends = [*(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    start = 0
    for end in ends:
        if end - start > 8:  # a run; else as single values
            size = next(size for size in sizes if end - start <= 2**size)
            bits += ["1", f"{sizes.index(size):02b}", f"{end - start - 1:0{size}b}", f"{values[start]:08b}"]
        else:
            bits += ["0", "00", f"{end - start - 1:03b}", *(f"{value:08b}" for value in values[start:end])]
        start = end
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[place : place + 8], 2) for place in range(0, len(text), 8)]


@pytest.mark.parametrize(
    ("kind", "value"),
    [("polygonlabels", SQUARE), ("rectanglelabels", RECTANGLE), ("brushlabels", {"format": "rle", "rle": packed(BOX)})],
)
def test_shapes_are_drawn(tmp_path, kind, value):
    expected = 2 * BOX
    np.testing.assert_array_equal(mask_of(tmp_path, result(kind, value | {kind: ["dog"]})), expected)
    np.testing.assert_array_equal(mask_of(tmp_path, minimal=[value | {kind: ["dog"]}]), expected)
    # With the tag Labels the shape and its label are two results of one id.
    pair = [result(kind.removesuffix("labels"), value, id="x"), result("labels", value | {"labels": ["dog"]}, id="x")]
    np.testing.assert_array_equal(mask_of(tmp_path, *pair), expected)


def test_an_ellipse_is_given_by_its_center_and_radii(tmp_path):
    value = {"x": 50, "y": 50, "radiusX": 25, "radiusY": 30, "ellipselabels": ["cat"]}
    inside = ((COLUMNS - 20) / 10) ** 2 + ((ROWS - 10) / 6) ** 2 < 1
    np.testing.assert_array_equal(mask_of(tmp_path, result("ellipselabels", value)), inside)
    turned = ((COLUMNS - 20) / 6) ** 2 + ((ROWS - 10) / 10) ** 2 < 1
    np.testing.assert_array_equal(mask_of(tmp_path, result("ellipselabels", value | {"rotation": 90})), turned)


def test_rectangles_turn_clockwise_around_their_upper_left_corner(tmp_path):
    value = RECTANGLE | {"rotation": 90, "rectanglelabels": ["cat"]}  # 10 x 8 at column 10, row 4: to the left and down
    expected = (COLUMNS > 2) & (COLUMNS < 10) & (ROWS > 4) & (ROWS < 14)
    np.testing.assert_array_equal(mask_of(tmp_path, result("rectanglelabels", value)), expected)


def test_brush_strokes_of_any_shape_are_unpacked(tmp_path):
    pixels = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.4
    value = {"format": "rle", "rle": packed(pixels), "brushlabels": ["cat"]}
    np.testing.assert_array_equal(mask_of(tmp_path, result("brushlabels", value)), pixels)


def test_the_later_class_is_in_front(tmp_path):
    dog = result("rectanglelabels", RECTANGLE | {"rectanglelabels": ["dog"]})
    everything = {"x": 0, "y": 0, "width": 100, "height": 100, "rectanglelabels": ["cat"]}
    expected = np.where(BOX, 2, 1)
    np.testing.assert_array_equal(mask_of(tmp_path, dog, result("rectanglelabels", everything)), expected)


def test_polygons_are_drawn_beside_the_pngs_of_brushes(tmp_path):
    polygon = result("polygonlabels", SQUARE | {"polygonlabels": ["dog"]})
    mask_of(tmp_path, polygon)
    (tmp_path / "masks").mkdir()
    stroke = np.zeros((HEIGHT, WIDTH), np.uint8)
    stroke[:, :3] = 255
    for number in (1, 2):
        Image.fromarray(stroke).save(tmp_path / "masks" / f"task-{number}-annotation-{number}-by-1-tag-cat-0.png")
    brush = result("brushlabels", {"format": "rle", "rle": [0], "brushlabels": ["cat"]})  # the PNG is read instead
    np.testing.assert_array_equal(mask_of(tmp_path, polygon, brush), np.where(COLUMNS < 3, 1, 2 * BOX))


RUNS = packed(BOX)


@pytest.mark.parametrize(
    ("kind", "value", "more", "message"),
    [
        ("polygonlabels", {"points": [[1, 2], [3, 4]]}, {}, "is a polygon of 2 points: correct or remove it"),
        ("polygonlabels", {"points": [[1, 2], [3, float("nan")], [5, 6]]}, {}, "points are .* finite numbers"),
        ("polygonlabels", SQUARE, {"original_width": 41}, "was drawn on 41 x 20"),
        ("polygonlabels", SQUARE, {"image_rotation": 90}, "was drawn on a rotated image"),
        ("polygonlabels", SQUARE | {"polygonlabels": ["cat", "dog"]}, {}, "has 2 labels: a region is of one class"),
        (
            "polygonlabels",
            SQUARE | {"polygonlabels": ["cow"]},
            {},
            "label 'cow' of .* is not a class: add it to dataset.class",
        ),
        ("rectanglelabels", RECTANGLE | {"x": "left"}, {}, "'x' of .* must be a finite number, not 'left'"),
        ("brushlabels", {"rle": RUNS[:20]}, {}, "run lengths of a brush are damaged or cut off"),
        ("brushlabels", {"rle": RUNS[:3]}, {}, "run lengths of a brush are cut off"),
        ("brushlabels", {"rle": [255, *RUNS[1:]]}, {}, "values of 8 bits, but its image has 40 x 20 pixels"),
        ("brushlabels", {"rle": [300, *RUNS[1:]]}, {}, "must be a list of numbers 0-255"),
    ],
)
def test_regions_that_cannot_be_drawn_are_refused(tmp_path, kind, value, more, message):
    with pytest.raises(DataError, match=message) as caught:
        mask_of(tmp_path, result(kind, {kind: ["cat"]} | value, **more))
    assert str(tmp_path) in str(caught.value)


def test_regions_far_outside_are_cut_off(tmp_path):
    value = {"points": [[-1e9, -1e9], [1e9, -1e9], [1e9, 1e9], [-1e9, 1e9]], "polygonlabels": ["cat"]}
    assert (mask_of(tmp_path, result("polygonlabels", value)) == 1).all()
    far = {"x": 5e8, "y": 5, "radiusX": 1, "radiusY": 2, "ellipselabels": ["cat"]}
    assert (mask_of(tmp_path, result("ellipselabels", far)) == 0).all()

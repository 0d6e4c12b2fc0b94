"""labelme's JSON files become masks."""

import base64
import io
import itertools

import numpy as np
import pytest
from labelme_records import HEIGHT, WIDTH, mask_of, shape, square, write
from PIL import Image

from segnet.data.datasets.labelme import LabelMe
from segnet.errors import ConfigError, DataError


def test_later_polygons_are_in_front(tmp_path):
    mask = mask_of(tmp_path, shape("cat", square(2, 3, 10, 9)), shape("dog", square(8, 5, 20, 7)))
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[3:10, 2:11] = 1  # both ends belong to it, as labelme draws
    expected[5:8, 8:21] = 2
    np.testing.assert_array_equal(mask, expected)
    assert mask.dtype == np.uint8


def test_each_kind_of_shape_covers_its_area(tmp_path):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    rectangle = mask_of(tmp_path, shape("cat", [[12, 9], [4, 2]], "rectangle")) == 1
    np.testing.assert_array_equal(rectangle, (rows >= 2) & (rows <= 9) & (columns >= 4) & (columns <= 12))
    circle = mask_of(tmp_path, shape("cat", [[15, 10], [15, 16]], "circle")) == 1
    distance = np.hypot(rows - 10, columns - 15)
    assert circle[distance < 5].all()
    assert not circle[distance > 7].any()
    for kind, points in (("line", [[2, 10], [25, 10]]), ("linestrip", [[2, 10], [10, 10], [25, 10]])):
        line = mask_of(tmp_path, shape("cat", points, kind), line_width=4) == 1
        assert line[9:11, 3:25].all()
        assert not line[[0, 5, 15, 19]].any()
    point = mask_of(tmp_path, shape("cat", [[15, 10]], "point"), line_width=6) == 1
    assert point[10, 15]
    assert 20 <= point.sum() <= 50


def test_stored_masks_are_placed_at_their_corner_and_clipped(tmp_path):
    part = np.zeros((4, 5), bool)
    part[1:, 2:] = True
    stream = io.BytesIO()
    Image.fromarray(part).save(stream, "PNG")
    encoded = base64.b64encode(stream.getvalue()).decode()
    for left, top in ((3, 6), (27, 18), (-1, -2)):
        points = [[left, top], [left + 4, top + 3]]
        mask = mask_of(tmp_path, shape("cat", points, "mask", mask=encoded))
        expected = np.zeros((HEIGHT, WIDTH), int)
        for row, column in np.argwhere(part):
            if 0 <= row + top < HEIGHT and 0 <= column + left < WIDTH:
                expected[row + top, column + left] = 1
        np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(
    ("names", "unlabeled", "value"),
    [
        (("cat", "dog"), None, 255),
        (("cat", "_background_", "dog"), None, 1),
        (("cat", "dog"), "dog", 1),
        (("background", "cat", "dog"), "ignore", 255),
    ],
)
def test_pixels_without_a_shape(tmp_path, names, unlabeled, value):
    mask = mask_of(tmp_path, shape("cat", square(0, 0, 5, 5)), names=names, unlabeled=unlabeled)
    assert mask[HEIGHT - 1, WIDTH - 1] == value


def test_labels_may_be_mapped_and_ignored(tmp_path):
    shapes = [shape("kitten", square(0, 0, 5, 5)), shape("__ignore__", square(10, 0, 15, 5))]
    mask = mask_of(tmp_path, *shapes, shape("toy", square(20, 0, 25, 5)), label_map={"kitten": "cat", "toy": "ignore"})
    assert (mask[2, 2], mask[2, 12], mask[2, 22]) == (1, 255, 255)


def test_unknown_labels_are_named_with_the_line_to_add(tmp_path):
    with pytest.raises(DataError, match=r"label 'catt' is not a class.* Did you mean 'cat'") as caught:
        mask_of(tmp_path, shape("catt", square(0, 0, 5, 5)))
    assert '"dataset.label_map={catt:ignore}"' in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "train" / "a.json"))
    with pytest.raises(ConfigError, match=r"dataset\.label_map\.toy: 'cta' is not a class"):
        mask_of(tmp_path, label_map={"toy": "cta"})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (shape("cat", [[0, 0], [1, 1]]), "is a polygon with 2 points: correct or remove it"),
        (shape("cat", [[0, 0]] * 3, "rectangle"), "is a rectangle with 3 points"),
        (shape("cat", [[0, 0]] * 5, "rectangle"), "is a rectangle with 5 points"),
        (shape("cat", [[0, 0]], "circle"), "is a circle with 1 points"),
        (shape("cat", [[0, 0]] * 3, "circle"), "is a circle with 3 points"),
        (shape("cat", [[0, 0]] * 3, "rotation"), "is a rotation with 3 points"),
        (shape("cat", [], "points"), "is a points with 0 points"),
        (shape("cat", [[0, 0], [1, float("nan")], [2, 2]]), r"has the point \[1, nan\]"),
        (shape("cat", [[0, 0], [1, 10**400], [2, 2]]), "has the point"),
        (shape("cat", [[0, 0], [1], [2, 2]]), r"has the point \[1\]"),
        (shape("cat", [[0, 0], {"x": 1, "y": 2}, [2, 2]]), "has the point {'x': 1, 'y': 2}"),
        (shape("cat", [[0, 0], [True, 2], [2, 2]]), "has the point"),
        (shape("cat", {"x": 1}), r"'points' of shapes\[0\] must be a list"),
        (shape("cat", [[0, 0]], "spline"), "must be one of polygon, .* mask, not 'spline'"),
        (shape("cat", [[0, 0]], 7), "'shape_type' .* must be a text, not 7"),
        (shape("cat", [[0, 0]], "mask", mask="no base64!"), "has a mask that cannot be decoded"),
        (shape("cat", [[0, 0]], "mask", mask="aGVsbG8="), "has a mask that cannot be decoded"),
        (shape("cat", [], "mask", mask="aGVsbG8="), r"'points' .* must be the corners of the mask"),
        (shape("cat", [[0, 0]], "mask"), "'mask' of .* is missing"),
        ({"points": [[0, 0]], "shape_type": "point"}, "'label' of .* is missing"),
        ({"label": "cat"}, "'points' of .* is missing"),
        ([], r"shapes\[0\] must be an object {...}, not \[\]"),
        (None, "must be an object {...}, not null"),
    ],
)
def test_wrong_shapes_are_named(tmp_path, wrong, message):
    with pytest.raises(DataError, match=message) as caught:
        mask_of(tmp_path, wrong)
    assert str(tmp_path / "train" / "a.json") in str(caught.value)


def test_absurd_coordinates_are_clipped(tmp_path):
    mask = mask_of(tmp_path, shape("cat", square(-(10**12), -(10**12), 10**12, 10**12)))
    assert (mask == 1).all()


CORNERS = [[4, 2], [12, 2], [12, 9], [4, 9]]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
@pytest.mark.parametrize("kind", ["rectangle", "rotation"])
def test_rectangles_of_four_and_two_corners_cover_the_same_pixels(tmp_path, order, kind):
    expected = mask_of(tmp_path, shape("cat", [CORNERS[0], CORNERS[2]], "rectangle"))
    np.testing.assert_array_equal(mask_of(tmp_path, shape("cat", [CORNERS[i] for i in order], kind)), expected)


def test_a_rotated_rectangle_covers_its_area(tmp_path):
    mask = mask_of(tmp_path, shape("cat", [[15, 2], [23, 10], [15, 18], [7, 10]], "rotation"))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    distance = abs(rows - 10) + abs(columns - 15)
    assert (mask[distance < 8] == 1).all()
    assert not mask[distance > 9].any()


@pytest.mark.parametrize("far", [1e5, 1e9, 1e300])
def test_shapes_far_outside_are_clipped_exactly(tmp_path, far):
    right = shape("cat", [[10, 5], [far, 5], [far, 12], [10, 12]])
    mask = mask_of(tmp_path, right)
    assert (mask[5:13, 10:] == 1).all()
    assert (mask == 1).sum() == 8 * 20
    line = mask_of(tmp_path, shape("cat", [[-far, 10], [far, 10]], "line"), line_width=2)
    assert (line[10] == 1).all()
    assert not line[[0, 5, 15, 19]].any()
    if far < 1e10:  # else all of the image is as far from the center as the rim
        circle = mask_of(tmp_path, shape("cat", [[15, 10 + far], [15, 10]], "circle"))
        assert not circle[:9].any()
        assert (circle[11:, 10:20] == 1).all()
    assert not mask_of(tmp_path, shape("cat", [[far, far]], "point")).any()
    slope = mask_of(tmp_path, shape("cat", [[-far, -far], [far, far], [-far, far]]))
    assert (slope[2:, 0] == 1).all()
    assert slope[0, 3:].tolist() == [0] * (WIDTH - 3)


def encoded(image: Image.Image, **options) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return base64.b64encode(stream.getvalue()).decode()


def test_stored_masks_in_palette_and_with_alpha(tmp_path):
    part = np.array([[0, 1], [1, 1]], np.uint8)
    palette = Image.fromarray(part)
    palette.putpalette([0, 0, 0, 0, 0, 0])
    alpha = Image.fromarray(np.dstack([np.zeros((2, 2, 3), np.uint8), part * 255]))
    for image in (palette, alpha, Image.fromarray(part * 255)):
        mask = mask_of(tmp_path, shape("cat", [[3, 4], [4, 5]], "mask", mask=encoded(image)))
        assert mask[4:6, 3:5].tolist() == part.tolist()
        assert mask.sum() == 3
    for points, image in (
        ([[3, 4], [9, 5]], palette),
        ([[4, 5], [3, 4]], palette),
        ([[0, 0]], Image.new("RGB", (2, 2))),
    ):
        with pytest.raises(DataError):
            mask_of(tmp_path, shape("cat", points, "mask", mask=encoded(image)))


def test_a_stored_mask_larger_than_its_image_is_refused_before_it_is_decoded(tmp_path):
    bomb = encoded(Image.new("1", (5_000, 5_000)))
    with pytest.raises(DataError, match="has a mask of 5000 x 5000 pixels, but its image has 30 x 20"):
        mask_of(tmp_path, shape("cat", [[0, 0]], "mask", mask=bomb))


@pytest.mark.parametrize("size", [None, 0, "20", 20.0])
def test_sizes_may_be_missing_or_of_another_type(tmp_path, size):
    write(tmp_path / "train", "a", imageHeight=size)
    assert LabelMe("train", str(tmp_path), ["cat"]).load(0).mask.shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"imageHeight": [20]}, "'imageHeight' of the file must be a number of pixels"),
        ({"imageHeight": -20}, "'imageHeight' of the file must be a number of pixels"),
        ({"imagePath": None}, "'imagePath' of the file is missing"),
        ({"imagePath": 5}, "'imagePath' of the file must be a text, not 5"),
        ({"imagePath": "a\0.jpg"}, "'imagePath' of the file must be a text"),
        ({"imagePath": "\ud800.jpg"}, "'imagePath' of the file must be a text"),
        ({"shapes": {}}, "'shapes' of the file must be a list"),
        ({"shapes": None}, "'shapes' of the file is missing"),
    ],
)
def test_values_of_another_type_are_named(tmp_path, changes, message):
    write(tmp_path / "train", "a", **changes)
    with pytest.raises(DataError, match=message) as caught:
        LabelMe("train", str(tmp_path), ["cat"]).load(0)
    assert str(caught.value).startswith(str(tmp_path / "train" / "a.json"))


def test_labels_may_be_numbers(tmp_path):
    assert mask_of(tmp_path, shape(1, square(0, 0, 5, 5)), names=("0", "1"))[2, 2] == 1

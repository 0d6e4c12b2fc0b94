"""labelme's JSON files become masks."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from segnet.data.datasets.labelme import LabelMe
from segnet.errors import ConfigError, DataError

HEIGHT, WIDTH = 20, 30


def shape(label: str, points: list, kind: str = "polygon", **more) -> dict:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}} | more


def write(folder, name: str, *shapes: dict, **more) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"{name}.jpg")
    record = {
        "version": "5.4.1",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": f"{name}.jpg",
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }
    (folder / f"{name}.json").write_text(json.dumps(record | more))


def mask_of(root, *shapes: dict, names: tuple[str, ...] = ("background", "cat", "dog"), **options) -> np.ndarray:
    write(root / "train", "a", *shapes)
    return LabelMe("train", str(root), list(names), **options).load(0).mask


def square(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def test_later_polygons_lie_in_front(tmp_path):
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


def test_stored_masks_lie_at_their_corner_and_are_cut_at_the_edge(tmp_path):
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
    with pytest.raises(DataError, match=r"label 'catt' is no class.* Did you mean 'cat'") as caught:
        mask_of(tmp_path, shape("catt", square(0, 0, 5, 5)))
    assert '"dataset.label_map={catt:ignore}"' in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "train" / "a.json"))
    with pytest.raises(ConfigError, match=r"dataset\.label_map\.toy: 'cta' is no class"):
        mask_of(tmp_path, label_map={"toy": "cta"})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (shape("cat", [[0, 0], [1, 1]]), "a polygon has too few points"),
        (shape("cat", [[0, 0], [1, float("nan")], [2, 2]]), "too few points, or such that are no numbers"),
        (shape("cat", [[0, 0], [1], [2, 2]]), r"points that are not \[x, y\]"),
        (shape("cat", [[0, 0]], "spline"), "a shape of type 'spline' is not known"),
        (shape("cat", [[0, 0]], "mask", mask="no base64!"), "a mask that cannot be decoded"),
        (shape("cat", [[0, 0]], "mask", mask="aGVsbG8="), "a mask that cannot be decoded"),
        ({"points": [[0, 0]], "shape_type": "point"}, "'label' is missing"),
        ({"label": "cat"}, "'points' is missing"),
    ],
)
def test_wrong_shapes_are_named(tmp_path, wrong, message):
    with pytest.raises(DataError, match=message) as caught:
        mask_of(tmp_path, wrong)
    assert str(tmp_path / "train" / "a.json") in str(caught.value)


def test_absurd_coordinates_are_cut_off(tmp_path):
    mask = mask_of(tmp_path, shape("cat", square(-(10**12), -(10**12), 10**12, 10**12)))
    assert (mask == 1).all()


def test_files_are_divided_where_there_are_no_folders(tmp_path):
    for number in range(10):
        write(tmp_path / f"site{number % 5}", f"{number}", shape("cat", square(0, 0, 5, 5)))
    splits = {}
    for split in ("train", "val"):
        dataset = LabelMe(split, str(tmp_path), ["cat"], group=r"^(site\d)/", val_fraction=0.4)
        splits[split] = {dataset.load(index).name.split("/")[-2] for index in range(len(dataset))}
    assert len(splits["train"]) == 3
    assert len(splits["val"]) == 2
    assert not splits["train"] & splits["val"]


def test_the_image_is_beside_its_file_or_below_the_root(tmp_path):
    write(tmp_path / "train", "a", imagePath="C:\\Users\\me\\a.jpg")
    assert LabelMe("train", str(tmp_path), ["cat"]).load(0).image.shape == (HEIGHT, WIDTH, 3)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "train" / "a.jpg").rename(tmp_path / "pictures" / "a.jpg")
    write(tmp_path / "train", "a", imagePath="..\\pictures\\a.jpg")
    (tmp_path / "train" / "a.jpg").unlink()
    assert LabelMe("train", str(tmp_path), ["cat"]).load(0).name.endswith("a.jpg")
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path.parent / "outside.jpg")
    write(tmp_path / "train", "a", imagePath="../../outside.jpg")
    with pytest.raises(DataError, match=r"train/outside\.jpg: no such file"):
        LabelMe("train", str(tmp_path), ["cat"]).load(0)


def test_other_sizes_and_empty_folders_are_refused(tmp_path):
    write(tmp_path / "train", "a", imageWidth=31)
    with pytest.raises(DataError, match=r"30 x 20 pixels, but .*a\.json was drawn on 31 x 20"):
        LabelMe("train", str(tmp_path), ["cat"]).load(0)
    with pytest.raises(DataError, match=r"the val files of dataset\.root"):
        LabelMe("val", str(tmp_path), ["cat"])
    (tmp_path / "val").mkdir()
    with pytest.raises(DataError, match="holds no JSON file"):
        LabelMe("val", str(tmp_path), ["cat"])


def test_a_sample_is_remembered_by_its_image_and_its_json(tmp_path):
    write(tmp_path / "train", "a")
    dataset = LabelMe("train", str(tmp_path), ["cat"])
    assert list(dataset.files(0)) == [tmp_path / "train" / "a.jpg", tmp_path / "train" / "a.json"]
    (tmp_path / "train" / "a.json").write_text("{")
    assert list(dataset.files(0)) == [tmp_path / "train" / "a.json"]

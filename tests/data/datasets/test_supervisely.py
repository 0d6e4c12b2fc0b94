"""Projects of Supervisely in its JSON format."""

import base64
import io
import json
import zlib

import numpy as np
import pytest
from PIL import Image

from segnet.data.datasets.supervisely import Supervisely
from segnet.errors import DataError

HEIGHT, WIDTH = 20, 30
CLASSES = [
    {"title": "car", "shape": "polygon", "color": "#FF8000", "id": 1, "hotkey": ""},
    {"title": "person", "shape": "bitmap", "color": "#0000FF", "id": 2, "hotkey": ""},
]


def bitmap(area: np.ndarray, origin: tuple[int, int], title: str = "person") -> dict:
    """Encode like supervisely's Bitmap.data_2_base64: a palette PNG with transparency, compressed again."""
    image = Image.fromarray(area.astype(np.uint8))
    image.putpalette([0, 0, 0, 255, 255, 255])
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=0, optimize=0)
    data = base64.b64encode(zlib.compress(stream.getvalue())).decode()
    return {"classTitle": title, "geometryType": "bitmap", "bitmap": {"data": data, "origin": list(origin)}}


def outline(kind: str, exterior: list, interior: list = (), title: str = "car") -> dict:
    return {"classTitle": title, "geometryType": kind, "points": {"exterior": exterior, "interior": list(interior)}}


def write(root, *objects: dict, dataset: str = "ds0", name: str = "a.jpg", tags: list[str] = (), **more) -> None:
    for folder in ("img", "ann"):
        (root / dataset / folder).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / dataset / "img" / name)
    record = {
        "description": "",
        "tags": [{"name": tag, "value": None} for tag in tags],
        "size": {"height": HEIGHT, "width": WIDTH},
        "objects": [{"id": 77 + index, **entry} for index, entry in enumerate(objects)],
    }
    (root / dataset / "ann" / f"{name}.json").write_text(json.dumps(record | more))
    (root / "meta.json").write_text(json.dumps({"classes": CLASSES, "tags": [], "projectType": "images"}))


def mask_of(root, *objects: dict, **options) -> np.ndarray:
    write(root, *objects, dataset="train")
    write(root, dataset="val", name="v.jpg")
    return Supervisely("train", str(root), **options).load(0).mask


def test_classes_are_background_and_the_project_s_classes(tmp_path):
    mask_of(tmp_path)
    classes = Supervisely("train", str(tmp_path)).classes
    assert classes.names == ("background", "car", "person")
    assert classes.palette == ((0, 0, 0), (255, 128, 0), (0, 0, 255))
    assert Supervisely("train", str(tmp_path), unlabeled="ignore").classes.names == ("car", "person")
    assert (mask_of(tmp_path, unlabeled="ignore") == 255).all()


def test_bitmaps_are_placed_at_their_origin_and_clipped(tmp_path):
    area = np.zeros((5, 7), bool)
    area[1:4, 2:6] = True
    mask = mask_of(tmp_path, bitmap(area, (3, 4)), bitmap(area, (26, 18)))
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[5:8, 5:9] = 2
    expected[19:, 28:] = 2
    np.testing.assert_array_equal(mask, expected)


def test_polygons_can_have_holes_and_later_objects_are_in_front(tmp_path):
    square = [[2, 2], [12, 2], [12, 12], [2, 12]]
    hole = [[5, 5], [8, 5], [8, 8], [5, 8]]
    mask = mask_of(
        tmp_path, outline("polygon", square, [hole]), outline("rectangle", [[14, 9], [10, 3]], title="person")
    )
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[2:13, 2:13] = 1
    expected[5:9, 5:9] = 0
    expected[3:10, 10:15] = 2
    np.testing.assert_array_equal(mask, expected)


def test_points_and_lines_are_a_pixel_wide(tmp_path):
    assert mask_of(tmp_path, outline("line", [[2, 3], [9, 3]])).tolist()[3] == [0, 0, *[1] * 8, *[0] * 20]
    assert 1 <= (mask_of(tmp_path, outline("point", [[5, 6]])) == 1).sum() <= 4


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (outline("polygon", [[1, 2], [3, 4]]), "is a polygon with 2 points"),
        (outline("polygon", [[1, 2], [3, 4], [5, float("nan")]]), r"has the point \[5, nan\]"),
        (outline("cuboid", [[1, 2]]), "'geometryType' .* must be bitmap or one of polygon"),
        (outline("polygon", 5), "'exterior' of .* must be a list"),
        (outline("polygon", [[1, 2], [3, 4], [5, 6]], [5]), "must be a list"),
        (outline("polygon", [[1, 2], [3, 4], [5, 6]], title="dog"), "class 'dog' of .* is not in meta.json"),
        ({"classTitle": "car"}, "'geometryType' of .* is missing"),
        ({"classTitle": "car", "geometryType": "polygon"}, "'points' of .* is missing"),
        ({"classTitle": "car", "geometryType": "bitmap", "bitmap": {"data": "x", "origin": 5}}, "has the point 5"),
        (
            {"classTitle": "car", "geometryType": "bitmap", "bitmap": {"data": "eA==", "origin": [0, 0]}},
            "cannot be decoded",
        ),
        ({"geometryType": "bitmap"}, "'classTitle' of .* is missing"),
    ],
)
def test_invalid_objects_are_named(tmp_path, entry, message):
    with pytest.raises(DataError, match=message) as caught:
        mask_of(tmp_path, entry)
    assert str(caught.value).startswith(str(tmp_path / "train" / "ann" / "a.jpg.json"))


def test_bitmaps_larger_than_their_image_are_refused(tmp_path):
    bomb = bitmap(np.zeros((1, 1)), (0, 0))
    bomb["bitmap"]["data"] = base64.b64encode(zlib.compress(b"\0" * 10**8)).decode()
    with pytest.raises(DataError, match="has a mask that unpacks to more than its image"):
        mask_of(tmp_path, bomb)
    large = bitmap(np.zeros((4000, 4000)), (0, 0))
    with pytest.raises(DataError, match=r"pixels, but its image has 30 x 20|unpacks to more"):
        mask_of(tmp_path, large)


def splits_of(root, **options) -> dict[str, list[str]]:
    found = {}
    for split in ("train", "val", "test"):
        dataset = Supervisely(split, str(root), **options)
        found[split] = [dataset.files(index)[0].stem for index in range(len(dataset))]
    return found


def test_datasets_named_after_splits_are_the_splits(tmp_path):
    for dataset, name in (("train", "a"), ("train", "b"), ("validation", "c"), ("Test", "d")):
        write(tmp_path, dataset=dataset, name=f"{name}.jpg")
    assert splits_of(tmp_path) == {"train": ["a", "b"], "val": ["c"], "test": ["d"]}


def test_tags_named_after_splits_are_the_splits_and_other_images_are_divided(tmp_path):
    for number in range(5):
        write(tmp_path, name=f"{number}.jpg")
    write(tmp_path, name="t.jpg", tags=["night", "test"])
    splits = splits_of(tmp_path)
    assert splits["test"] == ["t"]
    assert sorted(splits["train"] + splits["val"]) == list("01234")
    write(tmp_path, name="v.jpg", tags=["val"])
    assert splits_of(tmp_path)["val"] == ["v"]
    write(tmp_path, name="x.jpg", tags=["val", "train"])
    with pytest.raises(DataError, match=r"x\.jpg\.json: has tags of the splits train and val"):
        Supervisely("train", str(tmp_path))


def test_files_without_partner_are_refused_or_counted(tmp_path):
    for number in range(3):
        write(tmp_path, name=f"{number}.jpg")
    Image.new("RGB", (2, 2)).save(tmp_path / "ds0" / "img" / "free.png")
    (tmp_path / "ds0" / "img" / "c.heic").write_bytes(b"")
    (tmp_path / "ds0" / "img" / "Thumbs.db").write_bytes(b"")
    (tmp_path / ".trash" / "ann").mkdir(parents=True)
    (tmp_path / ".trash" / "ann" / "z.jpg.json").write_text("{}")
    assert Supervisely("train", str(tmp_path)).notes.lines() == [
        f"{tmp_path}: 1 file left out, hidden or in the trash: .trash/ann/z.jpg.json",
        f"{tmp_path}/ds0/img: 1 file left out, no image by its ending: c.heic",
        f"{tmp_path}/ds0/img: 1 image left out, it has no JSON file: free.png",
    ]
    (tmp_path / "ds0" / "img" / "0.jpg").unlink()
    with pytest.raises(DataError, match=r"ann/0\.jpg\.json: has no image .*img/0\.jpg"):
        Supervisely("train", str(tmp_path))


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({}, "'classes' of the file is missing"),
        ([], "the file must be an object"),
        ({"classes": []}, "names no class"),
        ({"classes": [{"title": "a"}, {"title": "a "}]}, "two classes are named 'a'"),
        ({"classes": ["a"]}, r"classes\[0\] must be an object"),
        ({"classes": [{"title": None}]}, r"'title' of classes\[0\] is missing"),
    ],
)
def test_an_invalid_project_file_is_refused(tmp_path, meta, message):
    mask_of(tmp_path)
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match=message) as caught:
        Supervisely("train", str(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path / 'meta.json'}: ")


def test_another_size_is_refused_and_the_cache_key_is_the_files(tmp_path):
    for number in range(3):
        write(tmp_path, name=f"{number}.jpg", size={"height": HEIGHT, "width": 31})
    dataset = Supervisely("val", str(tmp_path))
    with pytest.raises(DataError, match=r"30 x 20 pixels, but .* was drawn on 31 x 20"):
        dataset.load(0)
    assert [file.name.partition(".")[2] for file in dataset.files(0)] == ["jpg", "jpg.json", "json"]


def test_invalid_colors_are_replaced(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "CLASSES", [{"title": "car", "color": "red"}, {"title": "Background", "color": 5}])
    mask_of(tmp_path)
    assert Supervisely("train", str(tmp_path)).classes.names == ("car", "Background")
    assert (mask_of(tmp_path) == 1).all()


def test_images_in_other_folders_are_counted(tmp_path):
    write(tmp_path, name="a.jpg")
    write(tmp_path, name="b.jpg")
    (tmp_path / "ds0" / "img" / "more").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "ds0" / "img" / "more" / "c.jpg")
    notes = Supervisely("train", str(tmp_path)).notes.lines()
    assert f"{tmp_path}: 1 image left out, not in a folder img: ds0/img/more/c.jpg" in notes

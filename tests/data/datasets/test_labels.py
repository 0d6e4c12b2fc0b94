"""Conversion of mask values to class ids: unchanged, by an id map or by a color map."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.classes import Classes
from segnet.data.datasets.labels import Labels, checked_mask
from segnet.errors import ConfigError, DataError

THREE = Classes.create(["road", "tree", "sky"], [[128, 64, 128], [0, 128, 0], [70, 130, 180]], ignore_index=255)
TWO = Classes.create(["background", "crack"])
MANY = Classes.create([f"class {number}" for number in range(300)], ignore_index=65535)
PATH = Path("folder/mask.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_ids_and_ignore_index_pass_as_uint8(dtype):
    mask = checked_mask(np.array([[0, 1], [2, 255]], dtype), THREE, PATH)
    assert mask.dtype == np.uint8
    assert mask.tolist() == [[0, 1], [2, 255]]


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_ids_above_255_pass_as_int32(dtype):
    mask = checked_mask(np.array([[0, 299, 65535]], dtype), MANY, PATH)
    assert mask.dtype == np.int32
    assert mask.tolist() == [[0, 299, 65535]]


@pytest.mark.parametrize(("num_classes", "ignore_index", "dtype"), [(3, 256, np.int32), (255, 255, np.uint8)])
def test_the_dtype_can_store_ignore_index_too(num_classes, ignore_index, dtype):
    classes = Classes.create([str(number) for number in range(num_classes)], ignore_index=ignore_index)
    mask = checked_mask(np.array([[0, ignore_index]], np.uint16), classes, PATH)
    assert mask.dtype == dtype
    assert mask.tolist() == [[0, ignore_index]]


@pytest.mark.parametrize(
    ("mask", "classes", "listed"),
    [
        (np.array([[3, 0, 3]], np.uint8), THREE, "label 3 (2 pixels) is"),
        (np.array([[254, 3, 255]], np.uint8), THREE, "label 3 (1 pixels), 254 (1 pixels) is"),
        (np.array([[-1, 0, 255]], np.int32), THREE, "label -1 (1 pixels) is"),
        (np.array([[258, 256]], np.uint16), THREE, "label 256 (1 pixels), 258 (1 pixels) is"),  # 2 and 0 in 8 bits
        (np.array([[255, 300]], np.uint16), MANY, "label 300 (1 pixels) is"),
        (np.arange(3, 10, dtype=np.uint8)[None], THREE, "7 (1 pixels) and 2 more values is"),
    ],
)
def test_wrong_labels_are_listed_with_their_pixels(mask, classes, listed):
    with pytest.raises(DataError) as caught:
        checked_mask(mask, classes, PATH)
    message = str(caught.value)
    assert message.startswith(f"{PATH}: label ")
    assert listed in message
    assert f"ignore_index={classes.ignore_index}" in message


def saved(folder: Path, values: np.ndarray, name: str = "mask.png", mode: str | None = None) -> Path:
    Image.fromarray(values, mode).save(folder / name)
    return folder / name


def refusal(error: type[Exception], function, *arguments, **options) -> str:
    with pytest.raises(error) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Id maps


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_an_id_map_converts_each_value_to_its_class(tmp_path, dtype):
    labels = Labels(THREE, {0: "ignore", 7: "sky", 8: 1, "200": 0, 201: 0, 9: 255})
    mask = labels.read(saved(tmp_path, np.array([[0, 7, 8], [200, 201, 9]], dtype), "a.tif"))
    assert mask.dtype == np.uint8
    assert mask.tolist() == [[255, 2, 1], [0, 0, 255]]


def test_id_map_of_16_bit_ids():
    labels = Labels(THREE, {26001: "road", 300: "tree", 44: "sky"})
    assert labels.convert(np.array([[26001, 300, 44]], np.uint16), PATH).tolist() == [[0, 1, 2]]


def test_id_map_into_more_than_256_classes():
    labels = Labels(MANY, {5: 299, 6: "ignore"})
    mask = labels.convert(np.array([[5, 6]], np.uint8), PATH)
    assert (mask.dtype, mask.tolist()) == (np.int32, [[299, 65535]])


def test_other_applies_to_unlisted_values():
    values = np.array([[0, 1, 2, 37, 70000, -1]], np.int32)
    assert Labels(THREE, {1: 2, "other": "ignore"}).convert(values, PATH).tolist() == [[255, 2, 255, 255, 255, 255]]
    assert Labels(THREE, {1: 2, "other": "tree"}).convert(values, PATH).tolist() == [[1, 2, 1, 1, 1, 1]]
    same = Labels(THREE, {37: "ignore", "other": "same"})
    assert same.convert(values[:, :4], PATH).tolist() == [[0, 1, 2, 255]]
    assert "label -1 (1 pixels), 70000 (1 pixels) is not in the id map" in refusal(
        DataError, same.convert, values, PATH
    )


def test_values_missing_from_the_id_map_are_refused_and_counted():
    labels = Labels(THREE, {0: 0}, configurable=True)
    message = refusal(DataError, labels.convert, np.array([[0, 1, 1, 9]], np.uint8), PATH)
    assert message.startswith(
        f"{PATH}: label 1 (2 pixels), 9 (1 pixels) is not in the id map: add it to dataset.id_map"
    )


@pytest.mark.parametrize(
    ("id_map", "message"),
    [
        ({0: "raod"}, r"dataset\.id_map\.0: 'raod' is not a class\. Did you mean 'road'\?"),
        ({0: 3}, r"dataset\.id_map\.0: 3 is none of the 3 classes \(0-2\)"),
        ({0: -1}, "-1 is none of the 3 classes"),
        ({0: True}, "True is none of the 3 classes"),
        ({0: 1.5}, "1.5 is none of the 3 classes"),
        ({"rest": 0}, "rest must be an id of 0-65535, or 'other'"),
        ({-1: 0}, "-1 must be an id"),
        ({65536: 0}, "65536 must be an id"),
    ],
)
def test_impossible_id_maps_are_refused(id_map, message):
    with pytest.raises(ConfigError, match=message):
        Labels(THREE, id_map)


# Doubts


def test_readers_without_the_option_do_not_suggest_it():
    message = refusal(DataError, Labels(THREE).convert, np.array([[9]], np.uint8), PATH)
    assert "dataset." not in message


@pytest.mark.parametrize(
    ("labels", "present", "doubtful"),
    [
        (Labels(TWO, configurable=True), {0, 255}, True),
        (Labels(Classes.create(["crack"]), configurable=True), {0, 255}, True),
        (Labels(TWO, configurable=True), {0, 1, 255}, False),
        (Labels(TWO, configurable=True), {0}, False),
        (Labels(THREE, configurable=True), {0, 255}, False),
        (Labels(TWO, {0: 0, 255: "ignore"}, configurable=True), {0, 255}, False),
        (Labels(TWO), {0, 255}, False),
    ],
)
def test_a_binary_mask_of_0_and_255_is_doubtful(labels, present, doubtful):
    message = labels.doubt(present)
    assert bool(message) == doubtful
    if doubtful:
        assert '"dataset.id_map={0:0,255:1}"' in message
        assert '"dataset.id_map={0:0,255:ignore}"' in message
        assert ("dataset.class_names=[background,crack]" in message) == (len(labels.classes.names) == 1)


# Color maps


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_palette_colors_are_converted_to_their_classes(tmp_path, mode):
    ids = np.array([[0, 1, 2], [2, 2, 1]], np.uint8)
    mask = Image.fromarray(np.array(THREE.palette, np.uint8)[ids])
    if mode == "P":
        mask = Image.fromarray((ids + 5).astype(np.uint8))  # the colors count, not the indices
        mask.putpalette([0] * 15 + [value for color in THREE.palette for value in color])
    mask.convert(mode).save(tmp_path / "mask.png")
    mask = Labels(THREE, color_map="palette").read(tmp_path / "mask.png")
    assert mask.dtype == np.uint8
    assert mask.tolist() == ids.tolist()


def test_a_color_map_can_merge_and_ignore_colors(tmp_path):
    colors = [(0, 0, 0), (255, 255, 255), (1, 2, 3), (255, 0, 0), (0, 0, 255)]
    labels = Labels(
        THREE,
        color_map=[[0, 0, 0, "ignore"], [255, 255, 255, 0], [1, 2, 3, "tree"], [255, 0, 0, "tree"], [0, 0, 255, 2]],
    )
    assert labels.read(saved(tmp_path, np.array([colors], np.uint8))).tolist() == [[255, 0, 1, 1, 2]]


def test_gray_and_bilevel_masks_can_have_a_color_map(tmp_path):
    labels = Labels(TWO, color_map=[[0, 0, 0, 0], [255, 255, 255, 1]])
    assert labels.read(saved(tmp_path, np.array([[0, 255]], np.uint8))).tolist() == [[0, 1]]
    assert labels.read(saved(tmp_path, np.array([[False, True]]))).tolist() == [[0, 1]]


def test_colors_outside_the_map_are_refused_and_counted(tmp_path):
    path = saved(tmp_path, np.array([[(128, 64, 128), (1, 1, 1), (1, 1, 1), (255, 255, 255)]], np.uint8))
    message = refusal(DataError, Labels(THREE, color_map="palette", configurable=True).read, path)
    assert message.startswith(f"{path}: color (1, 1, 1) (2 pixels), (255, 255, 255) (1 pixels) belongs to no class")
    assert "dataset.color_map" in message


def test_a_color_mask_without_a_color_map_suggests_the_option(tmp_path):
    path = saved(tmp_path, np.array([[(128, 64, 128), (0, 128, 0)]], np.uint8))
    assert refusal(DataError, Labels(THREE, configurable=True).read, path).endswith("set dataset.color_map")
    assert "dataset." not in refusal(DataError, Labels(THREE).read, path)


@pytest.mark.parametrize(
    ("color_map", "message"),
    [
        ("palete", "must be 'palette' or a list"),
        ([], "must be 'palette' or a list"),
        ([[1, 2, 3]], r"\[1, 2, 3\] must be \[red, green, blue, class\]"),
        ([[1, 2, 256, 0]], "colors of 0-255"),
        ([[1, 2, "3", 0]], "colors of 0-255"),
        ([[1, 2, 3, "lake"]], "'lake' is not a class"),
        ([[1, 2, 3, 0], [1, 2, 3, 1]], r"color \[1, 2, 3\] has two classes"),
    ],
)
def test_impossible_color_maps_are_refused(color_map, message):
    with pytest.raises(ConfigError, match=message):
        Labels(THREE, color_map=color_map)


def test_id_map_and_color_map_exclude_each_other():
    with pytest.raises(ConfigError, match="exclude each other"):
        Labels(THREE, {0: 0}, "palette")

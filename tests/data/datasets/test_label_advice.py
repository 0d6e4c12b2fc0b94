"""Suggested options for unusable masks work when pasted."""

import re

import numpy as np
import pytest
import yaml

from segnet.classes import Classes
from segnet.data.datasets.label_advice import color_map_advice, id_map_advice
from segnet.data.datasets.labels import Labels, color_table, id_table

TWO = Classes.create(["bg", "cell"])
THREE = Classes.create(["road", "tree", "sky"])
ELEVEN = Classes.create([f"c{index}" for index in range(11)])


def options(text: str) -> list[dict]:
    """Return the id maps in an advice, in order, parsed as Hydra does."""
    maps = re.findall(r'"dataset\.id_map=\{(.*?)\}"', text)
    return [yaml.safe_load("{" + pairs.replace(":", ": ") + "}") for pairs in maps]


@pytest.mark.parametrize(
    ("classes", "labels", "values", "expected"),
    [
        (Classes.create(["a", "b"], ignore_index=2), {0: 9, 255: 9}, [0, 255], [0, 1]),
        (THREE, {0: 5, 3: 5, 255: 1}, [0, 3, 255], [0, 255, 255]),
        (THREE, {1: 5, 2: 5, 3: 5}, [1, 2, 3], [0, 1, 2]),  # no 0 in any mask: counted from 1
        (THREE, {0: 5, 2: 5, 37: 1, 41: 1}, [0, 2, 37, 41], [0, 2, 255, 255]),
        (THREE, {0: 5, 127: 5, 255: 5}, [0, 127, 255], [0, 1, 2]),  # gray levels
        (THREE, {0: 5, 37: 1, 255: 5}, [0, 37, 255], [0, 255, 255]),
        (TWO, dict.fromkeys(range(8), 5), [0, 1, 7], [0, 1, 1]),  # few objects, large ones
        (THREE, {-1: 5, 0: 5, 2: 5, 70_000: 1}, [-1, 0, 2, 70_000], [255, 0, 2, 255]),
        (THREE, dict.fromkeys(range(0, 90, 3), 5), [0, 3, 87], [0, 255, 255]),
        (THREE, {10: 5, 20: 5, 30: 5}, [10, 20, 30], [0, 1, 2]),
    ],
)
def test_the_first_suggested_option_reads_the_masks(classes, labels, values, expected):
    first = options(id_map_advice(labels, classes))[0]
    mask = Labels(classes, first).convert(np.array([values]), "a.png")
    assert mask.tolist() == [expected]


def test_a_label_after_the_last_class_is_first_void_then_a_shift():
    void, shift = options(id_map_advice(dict.fromkeys(range(12), 100), ELEVEN))
    assert void == {11: "ignore", "other": "same"}
    assert shift == {0: "ignore"} | {index + 1: index for index in range(11)}


def test_many_ids_with_few_pixels_are_instances():
    labels = {0: 10_000} | dict.fromkeys(range(1, 40), 20)
    assert options(id_map_advice(labels, TWO)) == [{0: 0, "other": 1}]
    assert "numbers of instances" in id_map_advice(labels, THREE)
    assert options(id_map_advice(labels, THREE)) == []


def test_known_labels_get_no_advice():
    assert id_map_advice({0: 5, 2: 5, 255: 4}, THREE) == ""


def test_colors_give_one_complete_color_map():
    colors = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (224, 224, 192)]
    text = color_map_advice(colors, 4, THREE)
    rows = yaml.safe_load(re.search(r"dataset\.color_map=(\[.*\])\"", text)[1].replace(",", ", "))
    assert sorted(tuple(row[:3]) for row in rows) == sorted(colors)
    color_table(rows, THREE)  # it is read
    assert [row[3] for row in rows].count("ignore") == 1


def rows_of(text: str) -> list[list]:
    return yaml.safe_load(re.search(r"dataset\.color_map=(\[.*\])\"", text)[1].replace(",", ", "))


def test_voc_colors_are_in_voc_s_order_and_black_is_first():
    names = ["bg", "plane", "bike", "bird", "boat"]
    colors = [(0, 0, 0), (0, 0, 128), (0, 128, 0), (128, 0, 0), (128, 128, 0), (224, 224, 192)]
    rows = rows_of(color_map_advice(colors, 6, Classes.create(names)))
    assert [row[3] for row in rows] == [*names, "ignore"]
    assert rows[3][:3] == [128, 128, 0]


def test_class_names_invalid_in_an_option_are_given_as_ids():
    classes = Classes.create(["road, paved", "null", "7", "tree", "ignore"], [(index, 0, 0) for index in range(5)])
    rows = rows_of(color_map_advice([(index, 0, 0) for index in range(6)], 6, classes))
    assert [row[3] for row in rows] == [0, 1, 2, "tree", 4, 255]
    assert color_table(rows, classes)[1].tolist() == [0, 1, 2, 3, 4, 255]


def test_given_colors_suggest_the_palette_and_photos_are_reported():
    given = Classes.create(THREE.names, [(1, 1, 1), (2, 2, 2), (3, 3, 3)])
    assert color_map_advice(given.palette[:2], 2, given) == "add dataset.color_map=palette"
    assert "color_map=[[" in color_map_advice(THREE.palette[:2], 2, THREE)  # chosen for classes without any
    assert "5000 colors for 3 classes" in color_map_advice([(1, 2, 3)] * 256, 5000, THREE)


def test_an_id_map_of_the_advice_is_a_table():
    for option in options(id_map_advice({0: 1, 3: 1}, THREE)):
        assert id_table(option, THREE)[0] in (0, 255)


def test_one_value_and_several_are_worded_as_such():
    assert "if 9 means unlabeled, add" in id_map_advice({0: 100, 1: 100, 9: 100}, THREE)
    assert "if 8, 9 mean unlabeled, add" in id_map_advice({0: 100, 1: 100, 8: 100, 9: 100}, THREE)

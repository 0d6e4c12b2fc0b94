"""Readings of mask values and colors, with the options for each reading."""

import numpy as np
import pytest

from segnet.classes import Classes
from segnet.data.datasets.labels import Labels, color_table
from segnet.data.scan.readings import NUMBERED, option_text, readings_of_colors, readings_of_ids


def read_as(reading, values, declared=()):
    """Return the class names of values that `Labels` reads with the options; "-" for ignored values."""
    classes = Classes.create(reading.options["class_names"])
    labels = Labels(classes, reading.options.get("id_map"))
    ids = labels.convert(np.array([values]), "a.png")[0]
    names = ["-" if index == classes.ignore_index else classes.names[index] for index in ids]
    assert all(
        value in labels.kept or name == "-" for value, name in zip(values, names, strict=True) if value in declared
    )
    return names


@pytest.mark.parametrize(
    ("values", "declared", "expected"),
    [
        ([0, 1], (), ["background", "foreground"]),
        ([0, 255], (), ["background", "foreground"]),
        ([0, 1, 2, 255], (), ["class_0", "class_1", "class_2", "-"]),
        ([0, 127, 255], (), ["class_0", "class_127", "class_255"]),
        ([1, 2, 3], (), ["class_1", "class_2", "class_3"]),
        ([3, 7, 11, 255], (), ["class_3", "class_7", "class_11", "-"]),
        ([0, 1], (0,), ["background", "foreground"]),  # nodata=0 of a GeoTIFF: otherwise no class would be left
        ([0, 2, 5], (0,), ["-", "class_2", "class_5"]),
        ([-1, 0, 1], (), ["-", "background", "foreground"]),
        ([0, 1, 70_000], (), ["background", "foreground", "-"]),
    ],
)
def test_the_first_reading_of_values_is_the_likeliest(values, declared, expected):
    assert read_as(readings_of_ids(dict.fromkeys(values, 100), declared)[0], values, declared) == expected


def test_a_possible_void_value_has_both_readings():
    first, second = readings_of_ids({0: 5, 1: 5, 255: 5})
    assert (first.condition, read_as(first, [0, 1, 255])) == ("if unlabeled is 255", ["background", "foreground", "-"])
    assert read_as(second, [0, 1, 255]) == ["class_0", "class_1", "class_255"]


def test_instance_ids_are_recognized():
    pixels = {0: 10_000} | dict.fromkeys([*range(1, 300), 70_000], 20)
    first = readings_of_ids(pixels)[0]
    assert first.condition == NUMBERED
    assert read_as(first, [0, 1, 255, 299, 70_000]) == ["background", *["object"] * 4]
    few_large = readings_of_ids({0: 100} | dict.fromkeys(range(1, 13), 50))
    assert [reading.condition for reading in few_large] == ["if each value is a class", NUMBERED]


def test_masks_without_classes_have_no_reading():
    assert readings_of_ids({0: 9}) == []
    smoothed = {0: 5_000, 255: 4_000} | dict.fromkeys([*range(1, 40), *range(220, 255)], 9)
    assert readings_of_ids(smoothed) == []
    assert readings_of_colors({(1, 2, 3): 9, (4, 5, 6): 9}, 5_000) == []
    assert readings_of_colors({(1, 2, 3): 9}, 1) == []


def test_colors_give_a_complete_color_map():
    colors = {(0, 0, 0): 9, (128, 0, 0): 9, (224, 224, 192): 1, (0, 9, 0): 3}
    first, second, third = readings_of_colors(colors, 4)
    for reading, voids in ((first, [(224, 224, 192)]), (second, []), (third, [(0, 0, 0), (224, 224, 192)])):
        rows = reading.options["color_map"]
        assert sorted(tuple(row[:3]) for row in rows) == sorted(colors)
        assert [tuple(row[:3]) for row in rows if row[3] == "ignore"] == voids
        color_table(rows, Classes.create(reading.options["class_names"]))  # it is read


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("dataset.id_map", {0: "ignore", "other": 1}, '"dataset.id_map={0:ignore,other:1}"'),
        ("dataset.color_map", [[0, 0, 0, "sky"]], '"dataset.color_map=[[0,0,0,sky]]"'),
        ("dataset.value_range", [-0.25, 1], '"dataset.value_range=[-0.25,1]"'),
        ("data.color_jitter", 0.0, "data.color_jitter=0"),
    ],
)
def test_options_are_quoted_for_a_shell(name, value, text):
    assert option_text(name, value) == text

"""Evaluations are paired by image; other images, masks and classes are refused in one line."""

import json
import math

import numpy as np
import pytest

from segnet.errors import CheckpointError, ConfigError, DataError
from segnet.workflows.compare import compare_recipes, evaluated_source, matched, natural
from segnet.workflows.per_image import ImageCounts

NAMES = [f"val/frame{index}.png" for index in (1, 2, 10, 11, 12, 13)]
OPTIONS = {"block": 1, "draws": 1000, "seed": 0}


def evaluation(correct, names=NAMES, classes=("road", "car"), split="val", root="/data/", source="a.json"):
    """Counts of 100 true pixels of each class in each image, of which the fraction `correct` was found."""
    counts = np.full((len(names), 3, len(classes)), 100)
    counts[:, 0] = np.round(100 * np.broadcast_to(np.reshape(correct, (-1, 1)), (len(names), len(classes))))
    return ImageCounts(source, split, list(classes), [root + name for name in names], counts)


def stored(folder, name, found):
    (folder / name).mkdir()
    found.write(folder / name / "per_image.json", [0.5] * len(found.names))
    return str(folder / name)


def evaluated_nothing(path):
    raise AssertionError(path)


def test_numbers_in_names_are_ordered_by_value():
    names = ["frame10", "frame9", "frame010", "a", "frame", "10b", "9"]
    assert sorted(names, key=natural) == ["9", "10b", "a", "frame", "frame9", "frame10", "frame010"]
    assert natural("9" * 5000)  # longer than Python's limit for integers


def test_images_are_paired_by_name_whatever_their_order_and_root():
    correct = np.linspace(0.1, 0.6, 6)
    order = [3, 0, 5, 1, 4, 2]
    other = evaluation(correct[order], [NAMES[index] for index in order], root="D:\\elsewhere\\")
    first, second = matched([evaluation(correct), other])
    np.testing.assert_array_equal(first, second)
    assert first[:, 0, 0].tolist() == [10, 20, 30, 40, 50, 60]  # frame10 after frame2


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"names": NAMES[:5]},
            r"b\.json: 1 image of a\.json is missing, such as frame13\.png: evaluate both on the same",
        ),
        ({"names": [*NAMES, "val/x.png"]}, r"a\.json: 1 image of b\.json is missing, such as x\.png"),
        ({"classes": ["road"]}, r"b\.json: 1 classes, but a\.json has 2"),
        ({"classes": ["car", "road"]}, r"b\.json: class 0 is 'car', but 'road' in a\.json"),
        ({"split": "test"}, r"b\.json: split test, but a\.json has split val"),
        ({"names": [*NAMES[:5], NAMES[0]]}, r"b\.json: several images have one name"),
    ],
)
def test_other_images_and_classes_are_refused(other, message):
    with pytest.raises(DataError, match=message):
        matched([evaluation(0.5), evaluation(0.5, **other, source="b.json")])


def test_other_masks_are_refused():
    other = evaluation(0.5, source="b.json")
    other.counts[2, 1, 0] += 1
    with pytest.raises(DataError, match=r"true mask of frame10\.png is not that of a\.json \(1 of 6 differ\)"):
        matched([evaluation(0.5), other])


def test_a_comparison_and_its_file(tmp_path):
    rng = np.random.default_rng(0)
    sides = [
        [stored(tmp_path, f"{name}{seed}", evaluation(mean + 0.02 * rng.random(6))) for seed in range(3)]
        for name, mean in (("a", 0.5), ("b", 0.7))
    ]
    found = compare_recipes(*sides, evaluated_nothing, **OPTIONS)
    assert found.verdicts == ["better"] * 3
    assert compare_recipes(*reversed(sides), evaluated_nothing, **OPTIONS).verdicts == ["worse"] * 3
    assert compare_recipes(sides[0][:1], sides[1][:1], evaluated_nothing, **OPTIONS).verdicts == ["higher"] * 3
    assert compare_recipes(sides[0][:1], sides[0][1:], evaluated_nothing, **OPTIONS).verdicts[-1] == "noise"

    found.write(tmp_path / "comparison.json")
    record = json.loads((tmp_path / "comparison.json").read_text())
    assert record["first"] == [f"{path}/per_image.json" for path in sides[0]]
    assert (record["num_images"], record["block"], record["includes_seeds"]) == (6, 1, True)
    assert list(record["classes"]) == ["road", "car"]
    road = record["classes"]["road"]
    assert road["low"] < road["difference"] == road["second"] - road["first"] < road["high"]
    assert record["miou"]["verdict"] == "better"


def test_an_absent_class_has_no_verdict(tmp_path):
    paths = []
    for name in "ab":
        found = evaluation(0.5)
        found.counts[:, :, 1] = 0
        paths.append(stored(tmp_path, name, found))
    comparison = compare_recipes(paths[:1], paths[1:], evaluated_nothing, **OPTIONS)
    assert comparison.verdicts == ["noise", "n/a", "noise"]
    assert math.isnan(comparison.differences.difference[1])
    comparison.write(tmp_path / "comparison.json")
    assert json.loads((tmp_path / "comparison.json").read_text())["classes"]["car"]["difference"] is None


def test_checkpoints_are_evaluated_and_folders_are_searched(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "best.ckpt").touch()
    assert evaluated_source(str(tmp_path / "run")) == tmp_path / "run" / "best.ckpt"
    evaluated = []

    def evaluate(path):
        evaluated.append(path)
        return evaluation(0.5)

    compare_recipes([str(tmp_path / "run")], [stored(tmp_path, "b", evaluation(0.5))], evaluate, **OPTIONS)
    assert evaluated == [tmp_path / "run" / "best.ckpt"]


def test_impossible_comparisons_are_refused(tmp_path):
    a, b = (stored(tmp_path, name, evaluation(0.5)) for name in "ab")
    (tmp_path / "empty").mkdir()
    for arguments, options, error, message in [
        (([], []), {}, ConfigError, "needs two sides"),
        (([a], [a + "/"]), {}, ConfigError, "is named twice"),
        (([a], [str(tmp_path / "none.ckpt")]), {}, CheckpointError, r"none\.ckpt: no such checkpoint"),
        (([a], [str(tmp_path / "empty")]), {}, ConfigError, r"no per_image\.json .* evaluate with per_image=true"),
        (([a], [b]), {"block": 0}, ConfigError, "block=0 must be"),
        (([a], [b]), {"block": 4}, ConfigError, "block=4: 6 images have no two such blocks"),
        (([a], [b]), {"draws": 10}, ConfigError, "draws=10 must be 1000 or more"),
    ]:
        with pytest.raises(error, match=message):
            compare_recipes(*arguments, evaluated_nothing, **OPTIONS | options)

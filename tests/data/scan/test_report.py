"""The dataset report: statistics by class and split, errors and warnings."""

import json

from segnet.classes import Classes
from segnet.data.scan.finding import Finding
from segnet.data.scan.report import DatasetReport, SplitReport

THREE = Classes.create(["road", "tree", "sky"], ignore_index=255)


def found(name: str, pixels: dict[int, int], image: str = "", mask: str = "m") -> Finding:
    return Finding(name, "", (1, sum(pixels.values())), pixels, image or name, mask)


def split(*findings: Finding, name: str = "train", doubt: str = "") -> SplitReport:
    return SplitReport(name, THREE, findings, doubt)


TRAIN = split(found("a", {0: 6, 1: 2, 255: 2}), found("b", {0: 4, 255: 6}), Finding("c", "c.png: is damaged"))


def test_pixels_and_images_are_counted_per_label():
    assert dict(TRAIN.pixels) == {0: 10, 1: 2, 255: 8}
    assert dict(TRAIN.images) == {0: 2, 1: 1, 255: 2}
    assert (TRAIN.labeled_where_present[0], TRAIN.labeled_where_present[1]) == (12, 8)
    assert dict(TRAIN.sizes) == {(1, 10): 2}
    assert TRAIN.missing == ["sky"]


def test_masks_of_one_class_and_unlabeled_masks_are_named():
    report = split(
        found("plain", {0: 9990, 1: 10, 255: 50_000}),
        found("mixed", {0: 9980, 1: 20}),
        found("ignored", {255: 4}),
        found("sky", {2: 1}),
    )
    assert report.near_constant == ["plain", "sky"]
    assert report.ignored == ["ignored"]
    assert report.warnings == [
        "train: no labeled pixel in 1 mask: ignored",
        "train: 2 masks of one class to 99.9 % or more: plain, sky",
    ]
    assert report.errors == []


def test_errors_include_problems_unlabeled_splits_and_doubts():
    assert TRAIN.errors == ["c.png: is damaged"]
    [error] = split(found("a", {255: 4}), found("b", {255: 4})).errors
    assert error.startswith("the train split has no labeled pixel: all of its 2 masks are ignore_index=255")
    assert split(found("a", {0: 1}), doubt="are odd").errors == ["the masks of the train split (1) are odd"]


def test_duplicates_are_reported_within_and_across_splits_and_with_other_masks():
    train = split(
        *[found("a", {0: 1}, "same"), found("b", {0: 1}, "same"), found("c", {1: 2}, "shared", "m1")],
        *[found("corner", {255: 9}, "black"), found("other corner", {255: 9}, "black")],
    )
    val = split(found("d", {2: 2}, "shared", "m2"), found("e", {0: 1}), name="val")
    report = DatasetReport([train, val])
    assert len(report.duplicates) == 2
    duplicates = [warning for warning in report.warnings if " = " in warning]
    assert duplicates == [
        "1 image in more than one split, so evaluation scores are too high: c (train) = d (val)",
        "1 image several times in one split: a (train) = b (train)",
        "1 image several times with different masks: c (train) = d (val)",
    ]


def test_a_report_is_json_compatible():
    record = json.loads(json.dumps(DatasetReport([TRAIN], ["x"]).to_dict(), allow_nan=False))
    assert record["errors"] == ["x", "c.png: is damaged"]
    train = record["splits"]["train"]
    assert (train["num_images"], train["num_readable"]) == (3, 2)
    assert train["labels"][1] == {"id": 1, "name": "tree", "pixels": 2, "images": 1}
    assert train["labels"][3] == {"id": 255, "name": "ignored", "pixels": 8, "images": 2}
    assert train["sizes"] == [{"height": 1, "width": 10, "images": 2}]

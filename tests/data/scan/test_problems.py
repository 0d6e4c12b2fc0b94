"""Problems of a dataset are grouped by cause, and the first is raised."""

import pytest

from segnet.classes import Classes
from segnet.data.scan.finding import Finding
from segnet.data.scan.report import DatasetReport, SplitReport
from segnet.errors import DataError

THREE = Classes.create(["road", "tree", "sky"], ignore_index=255)
SOUND = SplitReport("train", THREE, [Finding("a", "", (1, 1), {0: 1}, "a", "m")])
DAMAGED = SplitReport("train", THREE, [*SOUND.findings, Finding("c", "c.png: is damaged")])


def test_the_first_error_is_raised_and_the_others_are_counted():
    DatasetReport([SOUND]).require_sound()
    with pytest.raises(DataError, match=r"^c\.png: is damaged$"):
        DatasetReport([DAMAGED]).require_sound()
    with pytest.raises(DataError, match=r"^d\.png: image without mask \(and 1 more problem\)$"):
        DatasetReport([DAMAGED], ["d.png: image without mask"]).require_sound()


def test_problems_of_the_same_cause_are_grouped():
    problems = [Finding(f"m/{number}.png", f"m/{number}.png: 30 x {number} pixels") for number in range(5_000)]
    unknown = [Finding(f"l{number}.png", "l: label 9", pixels={0: 5}, labels={0: 5, 9: 1}) for number in range(3)]
    report = SplitReport("train", THREE, [*problems, *unknown], advice={"labels": "add X"})
    first, second = report.errors
    assert first == "m/0.png: 30 x 0 pixels (and 4,999 more: m/1.png, m/2.png, m/3.png and 4,996 more)"
    assert second == "l: label 9 (and 2 more: l1.png, l2.png); add X"
    assert len(report.to_dict()["problems"]) == 5_003
    assert report.pixels[0] == 15  # the pixels that can be counted

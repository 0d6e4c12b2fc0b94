"""The options of a refinement: their grammar, ranges and messages."""

import pytest

from segnet.errors import ConfigError
from segnet.inference.refinement import Refinement


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {}),
        ("disk=0.3", {"disk": 0.3}),
        ("disk=0.3,ring = 6e-1", {"disk": 0.3, "ring": 0.6}),
        (["disk=0.3", "ring=0.6"], {"disk": 0.3, "ring": 0.6}),
        ("disk=0.3,disk=0.4", {"disk": 0.4}),
        ("a, b=0.3,x=y=1", {"a, b": 0.3, "x=y": 1.0}),  # names may have commas and equal signs
        ({"disk": 0.3}, {"disk": 0.3}),
    ],
)
def test_thresholds_are_given_by_class(given, expected):
    assert Refinement.read(threshold=given).threshold == expected


@pytest.mark.parametrize(
    ("given", "number", "by_class"),
    [
        (None, 0, {}),
        (50, 50, {}),
        ("50", 50, {}),
        ("50,disk=10", 50, {"disk": 10}),
        (["disk=10", "50"], 50, {"disk": 10}),
        ("a, b=10, 7", 7, {"a, b": 10}),
        ({"disk": 10}, 0, {"disk": 10}),
    ],
)
def test_smallest_regions_are_given_for_all_classes_and_by_class(given, number, by_class):
    found = Refinement.read(min_area=given)
    assert (found.min_area, found.class_min_area) == (number, by_class)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": "0.3"}, "threshold=0.3 names no class: write threshold=CLASS=0.3"),
        ({"threshold": "disk"}, "threshold=disk: write threshold=CLASS=0.3,OTHER=0.6"),
        ({"threshold": "disk=a"}, "threshold=disk=a: write"),
        ({"threshold": "disk=0"}, "threshold=disk=0 must be a probability above 0, at most 1"),
        ({"threshold": {"disk": 1.1}}, "threshold=disk=1.1 must be"),
        ({"threshold": {"disk": None}}, "threshold=disk=None must be a number"),
        ({"threshold": "disk=nan"}, "threshold=disk=nan must be"),
        ({"refuse": 1.5}, "refuse=1.5 must be a probability, 0-1"),
        ({"refuse": float("nan")}, "refuse=nan must be"),
        ({"min_area": "-5"}, "min_area=-5 must be 0 pixels or more"),
        ({"min_area": "disk=-5"}, "min_area=disk=-5 must be"),
        ({"min_area": "2.5"}, "min_area=2.5 must be a whole number of pixels"),
        ({"min_area": "disk=inf"}, "min_area=disk=inf must be a whole number"),
        ({"min_area": "small"}, "min_area=small: write min_area=PIXELS or PIXELS,CLASS=PIXELS"),
    ],
)
def test_wrong_values_are_refused_in_one_line(options, message):
    with pytest.raises(ConfigError) as error:
        Refinement.read(**options)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_records_hold_what_is_set():
    assert Refinement().to_dict() == {}
    found = Refinement.read(threshold="disk=0.3", refuse=0.5, min_area="9,disk=3")
    assert found.to_dict() == {"threshold": {"disk": 0.3}, "refuse": 0.5, "min_area": {"": 9, "disk": 3}}
    assert found.by_pixel().to_dict() == {"threshold": {"disk": 0.3}, "refuse": 0.5}
    assert Refinement(min_area=4).to_dict() == {"min_area": 4}


def test_some_options_are_changed():
    before = Refinement.read(threshold="disk=0.3", refuse=0.5, min_area="9,disk=3")
    assert before.changed() == before
    assert before.changed(refuse="0.2") == Refinement.read(threshold="disk=0.3", refuse=0.2, min_area="9,disk=3")
    assert before.changed(min_area="7") == Refinement.read(threshold="disk=0.3", refuse=0.5, min_area=7)
    with pytest.raises(ConfigError, match="refuse=2 must be"):
        before.changed(refuse=2)

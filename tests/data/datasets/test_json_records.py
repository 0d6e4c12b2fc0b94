"""Typed reading of JSON: invalid values are refused with file and key."""

import json

import pytest

from segnet.data.datasets.json_records import Record, read_json, read_record, read_records
from segnet.errors import DataError


def record(tmp_path, **values) -> Record:
    (tmp_path / "a.json").write_text(json.dumps({"annotations": [{}, {"id": 77, **values}]}))
    return list(read_record(tmp_path / "a.json").records("annotations"))[1]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_every_encoding_is_read(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes('{"é": 1}'.encode(encoding))
    assert read_json(tmp_path / "a.json") == {"é": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"{", "is not valid JSON, damaged or cut off"),
        (b'{"a": 1', "is not valid JSON"),
        (b"{'a': 1}", "is not valid JSON"),
        ('{"é": 1}'.encode("latin-1"), r"is not UTF-8 text \(byte 2\)"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"a":' * 100_000, "is nested too deeply"),
        (b"[" + b"9" * 10_000 + b"]", "has a number with too many digits"),
        (b'{"a": {"id": 1, "id": 2}}', "an object has the key 'id' twice"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_json_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_json(tmp_path / "a.json")
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'}: ")


def test_the_top_level_must_have_the_requested_type(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(DataError, match=r"the file must be an object {...}, not \[\]"):
        read_record(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(DataError, match=r"the file must be a list \[...\] of objects, not {}"):
        read_records(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[{}, null]")
    with pytest.raises(DataError, match=r"entry \[1\] must be an object {...}, not null"):
        read_records(tmp_path / "a.json")


NAN, INFINITY, HUGE = float("nan"), float("inf"), 10**400


@pytest.mark.parametrize(
    ("method", "value", "expected"),
    [
        ("text", "a", "a"),
        ("integer", 3, 3),
        ("integer", 3.0, 3),
        ("integer", " -3 ", -3),
        ("number", 2, 2.0),
        ("number", "2.5", 2.5),
        ("identifier", 7.0, 7),
        ("identifier", "7", 7),
        ("identifier", "007", "007"),
        ("identifier", "a", "a"),
        ("identifier", 2**70, 2**70),
        ("size", None, None),
        ("size", 0, None),
        ("size", "12", 12),
        ("flag", None, False),
        ("flag", 0, False),
        ("flag", "0", False),
        ("flag", "True", True),
        ("flag", 1.0, True),
        ("items", [1], [1]),
    ],
)
def test_unambiguous_values_are_converted(tmp_path, method, value, expected):
    assert getattr(record(tmp_path, key=value), method)("key") == expected


@pytest.mark.parametrize(
    ("method", "values", "wanted"),
    [
        ("text", [None, 5, True, [], {}, "", " ", "a\0b", "\ud800"], "a text"),
        ("integer", [None, 2.5, "2.5", "", "x", True, [], {}, NAN, INFINITY], "a whole number"),
        ("number", [None, "x", "nan", "1e5", True, [], {}, NAN, INFINITY, HUGE], "a finite number"),
        ("identifier", [None, 2.5, True, [], {}, "", NAN], "a whole number or a text"),
        ("size", [-1, 2.5, "x", True, [], {}, NAN], "a number of pixels"),
        ("flag", [2, "yes", [], {}, 0.5, NAN], "0 or 1"),
        ("items", [None, 5, "a", {}], r"a list \[...\]"),
        ("record", [None, 5, "a", []], r"an object {...}"),
    ],
)
def test_invalid_values_are_refused_with_file_and_key(tmp_path, method, values, wanted):
    for value in values:
        with pytest.raises(DataError, match=f"(must be|must be) {wanted}") as caught:
            getattr(record(tmp_path, key=value), method)("key")
        assert str(caught.value).startswith(f"{tmp_path / 'a.json'}: 'key' of annotations[1] (id 77) ")
        assert len(str(caught.value)) < len(str(tmp_path)) + 160


def test_places_are_named_from_the_top_level(tmp_path):
    outer = record(tmp_path, segmentation={"size": 5}, parts=[{"x": None}])
    with pytest.raises(DataError, match=r"'size' of annotations\[1\] \(id 77\)\.segmentation must be a list"):
        outer.record("segmentation").items("size")
    with pytest.raises(DataError, match=r"'x' of annotations\[1\] \(id 77\)\.parts\[0\] is missing"):
        next(iter(outer.records("parts"))).number("x")

"""The index of shards is read unchanged, and refused if it is damaged or of another version."""

import json

import pytest

from segnet.classes import Classes
from segnet.data.shard_index import Index, Shard
from segnet.errors import DataError

THREE = Classes.create(["road", "tree", "sky"])
INDEX = Index(
    THREE, 3, {"train": [Shard("train-000000.tar", [0, 1024, 4096])], "val": [Shard("val-000000.tar", [0, 512])]}
)


def test_an_index_is_read_unchanged():
    assert Index.from_json(INDEX.to_json().encode(), "index.json") == INDEX


@pytest.mark.parametrize(
    "change",
    [
        {"channels": 0},
        {"channels": "x"},
        {"channels": True},
        {"channels": 2.5},
        {"classes": {"names": "abc", "palette": [[0, 0, 0]] * 3, "ignore_index": 255}},
        {"classes": {"names": ["a"], "palette": [0], "ignore_index": 255}},
        {"classes": {"names": ["a"], "palette": [[0, 0, 0]], "ignore_index": None}},
        {"splits": {"train": {}}},
        {"splits": {"train": [[]]}},
        {"splits": {"train": [{"shard": "a.tar", "offsets": "abc"}]}},
        {"splits": {"train": [{"shard": "a.tar", "offsets": [0, 512.5]}]}},
        {"splits": {"train": [{"shard": "a.tar", "offsets": [False, True]}]}},
        {"splits": {"train": [{"shard": "a.tar", "offsets": [-512, 0]}]}},
        {"classes": {"names": []}},
        {"classes": None},
        {"splits": []},
        {"splits": {"train": [{"shard": "../secret.tar", "offsets": [0, 512]}]}},
        {"splits": {"train": [{"shard": "/etc/x.tar", "offsets": [0, 512]}]}},
        {"splits": {"train": [{"shard": "a.tar", "offsets": [0]}]}},
        {"splits": {"train": [{"shard": "a.tar", "offsets": [512, 0]}]}},
        {"splits": {"train": [{"shard": "a.tar", "offsets": [0, 10**30]}]}},
        {"splits": {"train": [{"shard": "a.tar", "offsets": ["x", "y"]}]}},
        {"splits": {"train": [{"shard": 3, "offsets": [0, 512]}]}},
        {"splits": {"train": [{"offsets": [0, 512]}]}},
    ],
)
def test_an_invalid_index_is_refused(change):
    text = json.dumps({**json.loads(INDEX.to_json()), **change}).encode()
    with pytest.raises(DataError, match=r"^index\.json: is not an index of `segnet shard`, or is damaged"):
        Index.from_json(text, "index.json")


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff\xfe", b"<html>", b"{}", INDEX.to_json().encode()[:-9]])
def test_a_file_that_is_not_an_index_is_refused(text):
    with pytest.raises(DataError, match=r"^index\.json: is not an index of `segnet shard`, or is damaged"):
        Index.from_json(text, "index.json")


def test_an_index_of_another_format_is_refused():
    text = INDEX.to_json().replace('"format": 1', '"format": 3').encode()
    with pytest.raises(DataError, match=r"index\.json: has format 3 of another segnet version"):
        Index.from_json(text, "index.json")


@pytest.mark.parametrize("splits", [("train", "train"), ("train", "val")])
def test_a_shard_that_is_named_twice_is_refused(splits):
    entry = {"shard": "a.tar", "offsets": [0, 512]}
    record = json.loads(INDEX.to_json())
    record["splits"] = {splits[0]: [entry, entry]} if len(set(splits)) == 1 else {split: [entry] for split in splits}
    with pytest.raises(DataError, match=r"index\.json: lists the shard a\.tar twice"):
        Index.from_json(json.dumps(record).encode(), "index.json")


def test_an_index_of_planes_has_a_format_of_its_own():
    classes = Classes.create(["a", "b", "c"], task="multilabel")
    index = Index(classes, 3, {"train": [Shard("a.tar", [0, 512])]})
    text = index.to_json()
    assert Index.from_json(text.encode(), "") == index
    assert json.loads(text)["format"] == 2  # older versions refuse it

"""Only the seed determines how a dataset is divided, and groups stay together."""

import pytest

from segnet.data.datasets.notes import Notes
from segnet.data.datasets.splits import Division
from segnet.errors import ConfigError, DataError

KEYS = [f"patient{number % 7}/slice{number:02}.png" for number in range(40)]


def chosen(division: Division, split: str, keys: list[str] = KEYS) -> list[str]:
    return division.choose(keys, keys, split, "data", Notes())


@pytest.mark.parametrize("group", [None, r"^(patient\d+)/"])
@pytest.mark.parametrize("test_fraction", [0.0, 0.25])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_splits_are_disjoint_complete_and_about_as_large_as_configured(group, test_fraction, seed):
    division = Division(0.25, test_fraction, seed, group)
    splits = {
        name: chosen(division, name) for name in (("train", "val", "test") if test_fraction else ("train", "val"))
    }
    assert sorted(key for keys in splits.values() for key in keys) == sorted(KEYS)
    assert all(keys == sorted(keys, key=KEYS.index) for keys in splits.values())
    largest_group = 6 if group else 1
    for name in ("val", "test") if test_fraction else ("val",):
        assert 10 <= len(splits[name]) < 10 + largest_group


def test_groups_are_never_divided():
    division = Division(0.3, 0.2, 0, r"^(patient\d+)/")
    homes = [{key.split("/")[0] for key in chosen(division, split)} for split in ("train", "val", "test")]
    assert sum(len(home) for home in homes) == 7
    assert len(set.union(*homes)) == 7


def test_without_a_capturing_group_the_whole_match_is_the_group():
    with_group, without = Division(0.3, group=r"^(patient\d+)/"), Division(0.3, group=r"^patient\d+")
    assert chosen(with_group, "val") == chosen(without, "val")


def test_the_division_depends_on_the_seed():
    first, same, other = (chosen(Division(seed=seed), "val") for seed in (3, 3, 4))
    assert first == same != other


def test_a_test_fraction_does_not_change_the_val_split():
    assert chosen(Division(0.2, 0.0), "val") == chosen(Division(0.2, 0.3), "val")


@pytest.mark.parametrize(("count", "test_fraction"), [(1, 0.0), (2, 0.2)])
def test_too_few_images_are_refused(count, test_fraction):
    with pytest.raises(DataError, match="add images"):
        chosen(Division(0.5, test_fraction), "train", KEYS[:count])


def test_every_split_gets_a_group_however_small_its_fraction():
    division = Division(0.98, 0.01, 0, None)
    assert [len(chosen(division, split, KEYS[:3])) for split in ("train", "val", "test")] == [1, 1, 1]


def test_a_path_without_the_group_is_named():
    with pytest.raises(DataError, match=r"other/x\.png: dataset\.group=.* is not found"):
        chosen(Division(group="patient"), "train", [*KEYS, "other/x.png"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_fraction": 0.0}, "val_fraction=0.0 must lie between 0 and 1"),
        ({"val_fraction": 1.0}, "val_fraction=1.0 must lie between 0 and 1"),
        ({"test_fraction": 0.8}, "test_fraction=0.8 leaves nothing"),
        ({"test_fraction": -0.1}, "test_fraction=-0.1"),
        ({"group": "("}, r"group=\( is not a regular expression"),
    ],
)
def test_impossible_divisions_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Division(**options)


def test_there_is_no_test_split_without_a_fraction():
    with pytest.raises(ConfigError, match="split=test needs a folder of its own"):
        chosen(Division(), "test")


@pytest.mark.parametrize("name", ["test", "Test", "testing", "holdout"])
def test_a_folder_named_after_a_split_is_excluded_from_the_others(name):
    keys = [*(f"images/{number}.jpg" for number in range(8)), f"images/{name}/a.jpg", f"images/{name}/deep/b.jpg"]
    notes = Notes()
    division = Division(0.25)
    splits = {s: division.choose(keys, keys, s, "data", notes) for s in ("train", "val", "test")}
    assert splits["test"] == keys[8:]
    assert sorted(splits["train"] + splits["val"]) == keys[:8]
    assert len(splits["val"]) == 2
    assert "kept for the test split, by the name of its folder" in notes.lines()[0]


def test_a_val_folder_is_the_val_split():
    keys = ["a.jpg", "b.jpg", "valid/c.jpg", "training/d.jpg"]
    assert chosen(Division(0.5), "val", keys) == ["valid/c.jpg"]
    assert chosen(Division(0.5), "train", keys) == ["a.jpg", "b.jpg", "training/d.jpg"]


def test_a_dataset_in_one_folder_named_after_a_split_is_divided():
    keys = [f"train/{number}.jpg" for number in range(5)]
    assert len(chosen(Division(0.2), "train", keys)) == 4


def test_nothing_to_train_on_is_refused():
    keys = ["val/a.jpg", "test/b.jpg"]
    with pytest.raises(DataError, match="all images are of the splits test, val"):
        chosen(Division(), "train", keys)

"""Divide a dataset without complete splits: by a seed, with groups kept together.

Folders named after a split keep their role: images in ``test`` or ``val`` are never trained on, whatever the layout.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeVar

import numpy as np

from segnet.data.datasets.notes import Notes
from segnet.errors import ConfigError, DataError

T = TypeVar("T")

# Names of folders and subsets, in lower case, as annotation tools and dataset authors write them.
SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing", "holdout", "held-out", "held_out", "heldout"),
}
SPLIT_OF_NAME = {name: split for split, names in SPLIT_NAMES.items() for name in names}


@dataclass(frozen=True, slots=True)
class Division:
    """Options of dividing a dataset.

    Attributes:
        val_fraction: share for validation.
        test_fraction: share for a final test.
        seed: of the random choice.
        group: regular expression; files with the same matched text in their paths stay in one split. Its first group
            counts if it has one. None: each file is a group.

    Raises:
        ConfigError: fractions that leave nothing to train on, or an invalid regular expression.
    """

    val_fraction: float = 0.2
    test_fraction: float = 0.0
    seed: int = 0
    group: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.val_fraction < 1:
            raise ConfigError(f"dataset.val_fraction={self.val_fraction} must lie between 0 and 1")
        if not 0 <= self.test_fraction < 1 - self.val_fraction:
            raise ConfigError(f"dataset.test_fraction={self.test_fraction} leaves nothing to train on")
        check_group(self.group, "dataset.group")

    def choose(
        self,
        items: Sequence[T],
        keys: Sequence[str],
        split: str,
        where: str,
        notes: Notes,
        held: Mapping[int, str] | None = None,
    ) -> list[T]:
        """Return the items of one split, in their order; every split gets at least one group.

        Items in folders named after splits belong to those; the others are divided into the splits that are left.

        Args:
            items: everything.
            keys: the path of each item, which `group` is searched in.
            split: "train", "val" or "test".
            where: the place of the items, for errors.
            notes: counts the items of folders named after splits.
            held: index of an item -> its split, if something other than its folder determines it.

        Raises:
            ConfigError: a test split without a fraction.
            DataError: too few groups, or a path in which the group is not found.
        """
        if held is None:
            held = held_out(keys)
            for index, name in held.items():
                if name != "train":
                    notes.add(where, "image", f"kept for the {name} split, by the name of its folder", keys[index])
        if split in held.values() and split != "train":
            return [item for index, item in enumerate(items) if held.get(index) == split]
        shares = {"val": self.val_fraction, "test": self.test_fraction}
        wanted = {name: share for name, share in shares.items() if share > 0 and name not in held.values()}
        if split == "test" and "test" not in wanted:
            raise ConfigError(
                "split=test needs a folder of its own, a list or dataset.test_fraction: dataset.root has none"
            )
        if not any(held.get(index, "train") == "train" for index in range(len(items))):
            raise DataError(
                f"{where}: all images are of the splits {', '.join(sorted(set(held.values())))}: none to train on"
            )
        free = [index for index in range(len(items)) if held.get(index, "train") == "train"]
        chosen = self._divide([keys[index] for index in free], wanted, where)
        taken = {free[place] for place in chosen[split]}
        return [item for index, item in enumerate(items) if index in taken]

    def _divide(self, keys: Sequence[str], shares: dict[str, float], where: str) -> dict[str, set[int]]:
        """Return the positions of the keys of each split."""
        groups = [key if self.group is None else group_of(key, self.group, "dataset.group") for key in keys]
        # A file without a group is identified by its number: the random choice follows the order of files.
        names = list(range(len(keys))) if self.group is None else sorted(set(groups))
        members = [[i] for i in names] if self.group is None else _group_members(groups, names)  # type: ignore[arg-type]
        needed = 1 + len(shares)
        if len(names) < needed:
            what = "image" if self.group is None else f"group of dataset.group={self.group}"
            raise DataError(f"{where}: {_count(len(names), what)} cannot be divided into {needed} splits: add images")
        waiting = np.random.default_rng(self.seed).permutation(len(names)).tolist()
        chosen: dict[str, set[int]] = {}
        for later, (name, share) in zip(range(len(shares) - 1, -1, -1), shares.items(), strict=True):
            wanted = max(1, round(share * len(keys)))
            taken: set[int] = set()
            while len(taken) < wanted and len(waiting) > 1 + later:  # train and each later split need a group
                taken |= set(members[waiting.pop(0)])
            chosen[name] = taken
        chosen["train"] = set(range(len(keys))).difference(*chosen.values())
        return chosen


def check_group(group: str | None, option: str) -> None:
    """Check a regular expression that finds the group of a path.

    Raises:
        ConfigError: it is none.
    """
    try:
        re.compile(group or "")
    except re.error as error:
        raise ConfigError(f"{option}={group} is not a regular expression: {error}") from None


def group_of(key: str, group: str, option: str) -> str:
    """Return the text that a regular expression finds in a path: that of its first group, or of all of it.

    Raises:
        DataError: it is not found.
    """
    match = re.search(group, key)
    if not match:
        raise DataError(f"{key}: {option}={group} is not found in its path: correct the expression")
    return match.group(1 if match.re.groups else 0) or ""


def split_folder(root: Path, layout: str, split: str) -> Path:
    """Return the folder of a split by any of the split's names.

    Args:
        layout: such as "images/*", where * stands for the name.
    """
    folders = [root / layout.replace("*", name) for name in SPLIT_NAMES[split]]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def split_path(root: Path, pattern: str, split: str) -> Path:
    """Return the file or folder of a split by any of the split's names; {split} in the pattern is the name.

    If there is none, the path with the split's own name.
    """
    paths = [root / pattern.replace("{split}", name) for name in SPLIT_NAMES[split]]
    return next((path for path in paths if path.exists()), paths[0])


def held_out(keys: Sequence[str]) -> dict[int, str]:
    """Return the split of each path with a folder named after a split; empty if all paths have the same.

    A dataset in one folder ``train`` as a whole still has to be divided.
    """
    splits = [
        next((SPLIT_OF_NAME[part.lower()] for part in PurePath(key).parts[:-1] if part.lower() in SPLIT_OF_NAME), None)
        for key in keys
    ]
    if len(set(splits)) < 2:
        return {}
    return {index: split for index, split in enumerate(splits) if split is not None}


def _group_members(groups: Sequence[str], names: Sequence[str]) -> list[list[int]]:
    places: dict[str, list[int]] = {name: [] for name in names}
    for index, group in enumerate(groups):
        places[group].append(index)
    return list(places.values())


def _count(number: int, what: str) -> str:
    return f"one {what}" if number == 1 else f"{number} {what}s"

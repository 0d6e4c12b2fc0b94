"""Divides a dataset that has no splits of its own: by a seed alone, and so that groups stay together."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from segnet.errors import ConfigError, DataError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Division:
    """How a dataset is divided.

    Attributes:
        val_fraction: share set aside for validation.
        test_fraction: share set aside for a final test.
        seed: of the choice.
        group: regular expression; files in whose path it matches the same text are never divided. Its first group
            counts where it has one. None: every file for itself.

    Raises:
        ConfigError: shares that leave nothing to train on, or no regular expression.
    """

    val_fraction: float = 0.2
    test_fraction: float = 0.0
    seed: int = 0
    group: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.val_fraction < 1:
            raise ConfigError(f"dataset.val_fraction={self.val_fraction} is not a share between 0 and 1")
        if not 0 <= self.test_fraction < 1 - self.val_fraction:
            raise ConfigError(f"dataset.test_fraction={self.test_fraction} leaves nothing to train on")
        try:
            re.compile(self.group or "")
        except re.error as error:
            raise ConfigError(f"dataset.group={self.group} is no regular expression: {error}") from None

    def choose(self, items: Sequence[T], keys: Sequence[str], split: str, where: str) -> list[T]:
        """The items of one split, in their order; at least one group on each side.

        Args:
            items: everything.
            keys: of each, its path as `group` sees it.
            split: "train", "val" or "test".
            where: what they are, for errors.

        Raises:
            ConfigError: a test split without a share.
            DataError: too few groups, or a file in which the group is not found.
        """
        if split == "test" and self.test_fraction == 0:
            raise ConfigError(
                "split=test needs a folder of its own, a list or dataset.test_fraction: dataset.root has none"
            )
        groups = [self._group_of(key) for key in keys]
        # A file for itself is a group of its own number: the order of the draw is then that of the files.
        names = list(range(len(items))) if self.group is None else sorted(set(groups))
        members = [[i] for i in names] if self.group is None else _group_members(groups, names)  # type: ignore[arg-type]
        needed = 2 + (self.test_fraction > 0)
        if len(names) < needed:
            what = "image" if self.group is None else f"group of dataset.group={self.group}"
            raise DataError(f"{where}: {_count(len(names), what)} cannot be divided into {needed} splits: add images")
        shares = [("val", self.val_fraction), ("test", self.test_fraction)]
        waiting = np.random.default_rng(self.seed).permutation(len(names)).tolist()
        chosen: dict[str, set[int]] = {}
        for name, share in shares:
            wanted = max(1, round(share * len(items))) if share else 0
            taken: set[int] = set()
            still_needed = 1 + (name == "val" and self.test_fraction > 0)  # groups that later splits must find
            while len(taken) < wanted and len(waiting) > still_needed:
                taken |= set(members[waiting.pop(0)])
            chosen[name] = taken
        chosen["train"] = set(range(len(items))) - chosen["val"] - chosen["test"]
        return [item for index, item in enumerate(items) if index in chosen[split]]

    def _group_of(self, key: str) -> str:
        if self.group is None:
            return key
        match = re.search(self.group, key)
        if not match:
            raise DataError(f"{key}: dataset.group={self.group} is not found in its path: correct the expression")
        return match.group(1 if match.re.groups else 0) or ""


def _group_members(groups: Sequence[str], names: Sequence[str]) -> list[list[int]]:
    places: dict[str, list[int]] = {name: [] for name in names}
    for index, group in enumerate(groups):
        places[group].append(index)
    return list(places.values())


def _count(number: int, what: str) -> str:
    return f"one {what}" if number == 1 else f"{number} {what}s"

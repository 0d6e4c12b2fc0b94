"""Subsets of CVAT's exports, and their splits."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from segnet.components import did_you_mean
from segnet.data.datasets.pairing import SPLITS
from segnet.data.datasets.splits import SPLIT_OF_NAME
from segnet.errors import ConfigError, DataError
from segnet.system.files import is_hidden

DEFAULT = "default"  # CVAT's subset of tasks without a subset
UNUSED = "unused"  # value for subsets in no split


def subset_lists(folder: Path) -> list[Path]:
    """Return the list files of the subsets.

    Raises:
        DataError: there is none.
    """
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    lists = [path for path in paths if path.suffix.lower() == ".txt" and not is_hidden(path.name)]
    if not lists:
        raise DataError(f"{folder}: has no list of images, such as default.txt")
    return lists


def splits_of_subsets(lists: Sequence[Path], subsets: Mapping[str, Sequence[str]] | None) -> dict[Path, str | None]:
    """Return the split of each subset; None: divide it; UNUSED: no split.

    Raises:
        ConfigError: the option names an unknown split or subset.
        DataError: without the option, a subset has a name that is not a split's.
    """
    if subsets is None:
        owners: dict[Path, str | None] = {}
        for path in lists:
            name = path.stem.lower()
            owners[path] = SPLIT_OF_NAME.get(name)
            if owners[path] is None and name != DEFAULT and len(lists) > 1:
                raise DataError(
                    f"{path}: the subset's name is not a split's: set "
                    f'"dataset.subsets={{train:[{DEFAULT},{path.stem}]}}" or the like'
                )
        return owners
    known = {path.stem.lower(): path for path in lists}
    owners = dict.fromkeys(lists, UNUSED)
    for split, names in subsets.items():
        if split not in SPLITS:
            raise ConfigError(f"dataset.subsets: '{split}' is not a split.{did_you_mean(str(split), SPLITS)}")
        for name in [names] if isinstance(names, str) else names:
            if str(name).lower() not in known:
                raise ConfigError(f"dataset.subsets: '{name}' is not a subset.{did_you_mean(str(name), known)}")
            owners[known[str(name).lower()]] = split
    return owners

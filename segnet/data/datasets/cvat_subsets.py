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


def splits_of_subsets(
    sources: Mapping[str, Path], subsets: Mapping[str, Sequence[str]] | None
) -> dict[str, str | None]:
    """Return the split of each subset; None: divide it; UNUSED: no split.

    Args:
        sources: name of each subset -> the file that has it, for errors.
        subsets: the option dataset.subsets, split -> names in any case.

    Raises:
        ConfigError: the option names an unknown split or subset.
        DataError: without the option, a subset has a name that is not a split's.
    """
    if subsets is None:
        owners = {name: SPLIT_OF_NAME.get(name.lower()) for name in sources}
        for name, owner in owners.items():
            if owner is None and name.lower() != DEFAULT and len(sources) > 1:
                raise DataError(
                    f"{sources[name]}: the subset's name '{name}' is not a split's: set "
                    f'"dataset.subsets={{train:[{DEFAULT},{name}]}}" or the like'
                )
        return owners
    known = {name.lower(): name for name in sources}
    owners = dict.fromkeys(sources, UNUSED)
    for split, names in subsets.items():
        if split not in SPLITS:
            raise ConfigError(f"dataset.subsets: '{split}' is not a split.{did_you_mean(str(split), SPLITS)}")
        for name in [names] if isinstance(names, str) else names:
            if str(name).lower() not in known:
                raise ConfigError(f"dataset.subsets: '{name}' is not a subset.{did_you_mean(str(name), known)}")
            owners[known[str(name).lower()]] = split
    return owners

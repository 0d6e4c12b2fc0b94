"""Compare checkpoints on the same images: differences of IoU with intervals, and which of them are noise."""

import json
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from segnet.errors import CheckpointError, ConfigError, DataError, counted
from segnet.published.zoo import find_model
from segnet.system.files import replacing
from segnet.training.metrics import number
from segnet.workflows.bootstrap import LEVEL, Differences, bootstrap_differences
from segnet.workflows.per_image import PER_IMAGE, ImageCounts

NOISE = "noise"
SEEDS_UNKNOWN = (
    "one checkpoint a side: 'higher' and 'lower' hold for these two files. Two trainings of one recipe can differ as "
    "much: compare several seeds, as A1 A2 A3 -- B"
)


@dataclass(frozen=True, slots=True)
class RecipeComparison:
    """Differences between two sides of checkpoints, second minus first.

    Attributes:
        sides: the files of both sides.
        split: the evaluated split.
        num_images: number of images.
        classes: class names.
        differences: scores, intervals and p-values of each class, then of mIoU.
    """

    sides: tuple[Sequence[Path], Sequence[Path]]
    split: str
    num_images: int
    classes: Sequence[str]
    differences: Differences

    @property
    def verdicts(self) -> list[str]:
        """A word for each class, then for mIoU.

        "noise": a difference that images and seeds alone can explain. "better" or "worse": the second recipe. "higher"
        or "lower": the second checkpoint, where the variance between seeds is unknown. "n/a": no difference to judge.
        """
        found = self.differences
        words = ("worse", "better") if found.has_seeds else ("lower", "higher")
        return [
            "n/a" if math.isnan(p) else NOISE if p > 1 - LEVEL else words[int(difference > 0)]
            for difference, p in zip(found.difference, found.p, strict=True)
        ]

    def write(self, path: Path) -> None:
        """Write the comparison as JSON; NaN is written as null."""
        found = self.differences
        columns = (found.first, found.second, found.difference, found.low, found.high, found.p)
        keys = ("first", "second", "difference", "low", "high", "p")
        rows = [
            {key: number(float(value)) for key, value in zip(keys, values, strict=True)} | {"verdict": verdict}
            for *values, verdict in zip(*columns, self.verdicts, strict=True)
        ]
        record = {
            "first": [str(path) for path in self.sides[0]],
            "second": [str(path) for path in self.sides[1]],
            "split": self.split,
            "num_images": self.num_images,
            "level": LEVEL,
            "block": found.block,
            "includes_seeds": found.has_seeds,
            "miou": rows[-1],
            "classes": dict(zip(self.classes, rows[:-1], strict=True)),
        }
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def compare_recipes(
    first: Sequence[str],
    second: Sequence[str],
    evaluated: Callable[[Path], ImageCounts],
    *,
    block: int | None,
    draws: int,
    seed: int,
) -> RecipeComparison:
    """Compare two sides, each of one or more checkpoints or evaluations.

    Args:
        first, second: checkpoints, per_image.json files, folders with one, or run folders with a best.ckpt.
        evaluated: evaluates a checkpoint; it is called only if all files exist.
        block: images in a block of the bootstrap, see `bootstrap_differences`; None: chosen.
        draws: number of draws.
        seed: seed of the draws.

    Raises:
        ConfigError: a side is empty, a file is named twice or is missing, or an option is out of range.
        DataError: the evaluations are of other images, masks or classes.
    """
    check_sides(first, second)
    if block is not None and block < 1:
        raise ConfigError(f"block={block} must be 1 image or more, or null")
    if draws < 1000:
        raise ConfigError(f"draws={draws} must be 1000 or more: the ends of the intervals would be chance")
    sources = [evaluated_source(text) for text in (*first, *second)]
    found = [ImageCounts.read(path) if path.suffix == ".json" else evaluated(path) for path in sources]
    counts = matched(found)
    if block is not None and 2 * block > len(counts[0]):
        raise ConfigError(f"block={block}: {len(counts[0])} images have no two such blocks: set a smaller block")
    differences = bootstrap_differences(
        np.stack(counts[: len(first)]), np.stack(counts[len(first) :]), block=block, draws=draws, seed=seed
    )
    sides = (sources[: len(first)], sources[len(first) :])
    return RecipeComparison(sides, found[0].split, len(counts[0]), found[0].classes, differences)


def check_sides(first: Sequence[str], second: Sequence[str]) -> None:
    """Raises:
    ConfigError: a side has no checkpoint, or a file is named twice.
    """
    if not first or not second:
        raise ConfigError("compare needs two sides: segnet compare A B, or with several seeds A1 A2 A3 -- B1 B2 B3")
    paths = [os.path.realpath(os.path.expanduser(text)) for text in (*first, *second)]
    for index, path in enumerate(paths):
        if path in paths[:index]:
            raise ConfigError(f"{(*first, *second)[index]} is named twice: a comparison needs different checkpoints")


def evaluated_source(text: str) -> Path:
    """Return the file that a name on the command line stands for: a checkpoint, or the counts of an evaluation.

    Raises:
        CheckpointError: no such file.
        ConfigError: a folder without either.
    """
    path = find_model(text)
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint, evaluation or run folder")
    if not path.is_dir():
        return path
    for name in (PER_IMAGE, "best.ckpt"):
        if (path / name).is_file():
            return path / name
    raise ConfigError(
        f"{path}: has no {PER_IMAGE} and no best.ckpt: evaluate with per_image=true, or name a checkpoint"
    )


def matched(found: Sequence[ImageCounts]) -> list[NDArray[np.int64]]:
    """Return the counts of all evaluations for the same images in the natural order of their names.

    Video frames are neighbors in that order. Folders above all images of an evaluation are ignored: the dataset may lie
    elsewhere on another machine.

    Raises:
        DataError: the evaluations have other classes, images or true masks.
    """
    for other in found[1:]:
        _require_same_classes(found[0], other)
    keys = [_keys(one.names) for one in found]
    order = sorted(range(len(keys[0])), key=lambda index: natural(keys[0][index]))
    first = found[0].counts[order]
    counts = [first]
    for other, names in zip(found[1:], keys[1:], strict=True):
        _require_paired_images(found[0], keys[0], other, names)
        place = {name: index for index, name in enumerate(names)}
        own = other.counts[[place[keys[0][index]] for index in order]]
        if differing := np.flatnonzero((own[:, 1] != first[:, 1]).any(axis=1)).tolist():
            raise DataError(
                f"{other.source}: the true mask of {keys[0][order[differing[0]]]} is not that of {found[0].source} "
                f"({len(differing):,} of {len(first):,} differ): evaluate both on the same files"
            )
        counts.append(own)
    return counts


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that orders numbers in names by value: frame2 before frame10."""
    runs = re.findall("[0-9]+|[^0-9]+", name)
    return [(0, len(run.lstrip("0")), run.lstrip("0")) if run[0] in "0123456789" else (1, 0, run) for run in runs]


def _keys(names: Sequence[str]) -> list[str]:
    """The names without the folders that all of them have in common."""
    parts = [PurePath(name.replace("\\", "/")).parts for name in names]
    folders = zip(*(one[:-1] for one in parts), strict=False)
    shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, folders))
    return ["/".join(one[shared:]) for one in parts]


def _require_same_classes(first: ImageCounts, other: ImageCounts) -> None:
    if len(first.classes) != len(other.classes):
        raise DataError(
            f"{other.source}: {len(other.classes)} classes, but {first.source} has {len(first.classes)}: compare "
            "checkpoints of one dataset"
        )
    for index, (expected, name) in enumerate(zip(first.classes, other.classes, strict=True)):
        if expected != name:
            raise DataError(
                f"{other.source}: class {index} is '{name}', but '{expected}' in {first.source}: both need the same "
                "classes in the same order"
            )


def _require_paired_images(first: ImageCounts, keys: Sequence[str], other: ImageCounts, names: Sequence[str]) -> None:
    if first.split != other.split:
        raise DataError(f"{other.source}: split {other.split}, but {first.source} has split {first.split}")
    for source, own in ((first.source, keys), (other.source, names)):
        if len(set(own)) != len(own):
            raise DataError(f"{source}: several images have one name: the images of the evaluations cannot be paired")
    for source, own, complete, all_names in (
        (other.source, names, first.source, keys),
        (first.source, keys, other.source, names),
    ):
        if missing := set(all_names) - set(own):
            are = "is" if len(missing) == 1 else "are"
            raise DataError(
                f"{source}: {counted(len(missing), 'image')} of {complete} {are} missing, such as {min(missing)}: "
                "evaluate both on the same split"
            )


def facts(comparison: RecipeComparison) -> list[str]:
    """Return the lines below the table: the images, the seeds, and the meaning of the words."""
    found = comparison.differences
    one, other = (len(side) for side in comparison.sides)
    blocks = f"blocks of {found.block} neighboring images" if found.block > 1 else "independent images"
    lines = [f"{comparison.num_images:,} images, resampled as {blocks}"]
    if found.has_seeds:
        lines.append(f"the intervals include the variance between training seeds, from {one} and {other} checkpoints")
    else:
        lines.append(SEEDS_UNKNOWN)
    return lines

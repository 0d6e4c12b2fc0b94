"""CVAT's export "Segmentation mask 1.1", with images, unpacked: color masks whose classes the export itself names.

Layout (docs.cvat.ai, "Segmentation Mask"): ``labelmap.txt`` (name:red,green,blue:parts:actions), ``JPEGImages/*``,
``SegmentationClass/*.png``, and a list of names for each subset, ``ImageSets/Segmentation/default.txt``.
"""

from collections.abc import Sequence
from pathlib import Path

from segnet.classes import Classes
from segnet.components import did_you_mean
from segnet.data.dataset import FileDataset
from segnet.data.datasets.labels import IGNORE, Labels
from segnet.data.datasets.pairing import (
    by_key,
    first_folder,
    pictures,
    read_lines,
    refuse_missing,
    require_root,
    require_split,
)
from segnet.data.datasets.splits import Division
from segnet.errors import ConfigError, DataError

SUBSETS = {"train": ("train", "training"), "val": ("val", "validation"), "test": ("test",)}


class CVAT(FileDataset):
    """CVAT's masks in colors.

    Args:
        split: "train", "val" or "test": the subset of that name; without subsets a share of all.
        root: the folder of the unpacked export.
        ignore: names of labels that are no classes: their pixels are ignored. Background is a class like others.
        val_fraction, test_fraction: shares of the images set aside, where there are no subsets.
        split_seed: of that choice.
        group: regular expression; images in whose path it matches the same text stay in one split.

    Raises:
        ConfigError: an unknown split or label.
        DataError: a folder or file that is not there, or a label map that is none.
    """

    def __init__(
        self,
        split: str,
        root: str,
        ignore: Sequence[str] = (),
        val_fraction: float = 0.2,
        test_fraction: float = 0.0,
        split_seed: int = 0,
        group: str | None = None,
    ) -> None:
        require_split(split)
        division = Division(val_fraction, test_fraction, split_seed, group)
        folder = require_root(root)
        colors = read_label_map(folder / "labelmap.txt")
        for name in ignore:
            if name not in colors:
                raise ConfigError(f"dataset.ignore: '{name}' is no label of the export.{did_you_mean(name, colors)}")
        names = [name for name in colors if name not in ignore]
        classes = Classes.create(names, [colors[name] for name in names])
        rows = [(*color, IGNORE if name in ignore else name) for name, color in colors.items()]
        images = first_folder(
            [folder / "JPEGImages", folder / "images"], "the images: export the dataset with 'Save images'"
        )
        masks = first_folder([folder / "SegmentationClass"], "the masks of dataset.root")
        image_of = by_key(pictures(images), images)
        listing, stems = subset(folder / "ImageSets" / "Segmentation", split)
        for stem in stems:
            if stem not in image_of:
                raise DataError(f"{listing}: names '{stem}', which is not in {images}: export with 'Save images'")
        pairs = [(image_of[stem], masks / f"{stem}.png") for stem in stems]
        refuse_missing(pairs, listing)
        if listing.is_dir():
            pairs = division.choose(pairs, stems, split, str(folder))
        super().__init__(pairs, classes, Labels(classes, color_map=rows))
        self._label_map = folder / "labelmap.txt"

    def files(self, index: int) -> Sequence[Path]:
        return (*super().files(index), self._label_map)


def read_label_map(path: Path) -> dict[str, tuple[int, int, int]]:
    """The labels of an export and their colors, in its order.

    Raises:
        DataError: a line that is not name:red,green,blue:parts:actions.
    """
    colors = {}
    for line in read_lines(path):
        if line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        values = rest.split(":")[0].split(",")
        if len(values) != 3 or not all(value.strip().isdecimal() for value in values):
            raise DataError(f"{path}: '{line}' is not name:red,green,blue:parts:actions")
        colors[name] = (int(values[0]), int(values[1]), int(values[2]))
    return colors


def subset(folder: Path, split: str) -> tuple[Path, list[str]]:
    """The list of a split and the names in it; where there are no splits, the folder, and the names of all lists.

    Raises:
        DataError: there is no list, or none for this split.
    """
    lists = {path.stem.lower(): path for path in sorted(folder.glob("*.txt"))}
    if not lists:
        raise DataError(f"{folder}: holds no list of images, as default.txt is")
    if not any(name in lists for name in SUBSETS["train"]):
        return folder, [name for path in lists.values() for name in read_lines(path)]
    for name in SUBSETS[split]:
        if name in lists:
            return lists[name], read_lines(lists[name])
    raise DataError(f"{folder}: has no {SUBSETS[split][-1]}.txt: name a subset so in CVAT")

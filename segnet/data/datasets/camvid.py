"""CamVid, in the layout of the SegNet tutorial: 480 x 360 street scenes, 11 classes; 11 is unlabeled.

Source: Brostow et al., "Semantic object classes in video", 2009; split, classes and colors: SegNet (arXiv 1511.00561).
Layout: ``train.txt`` lists the images in ``train/``, with masks in ``trainannot/``; likewise val and test. The paths in
the lists begin with a folder of the tutorial's author, so only the file names count.
"""

from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

from segnet.class_sets import CAMVID_CLASSES
from segnet.data.dataset import FileDataset
from segnet.data.datasets.notes import Notes
from segnet.data.datasets.pairing import (
    SPLITS,
    Pair,
    name_key,
    pair_folders,
    require_folder,
    require_root,
    require_split,
)
from segnet.data.datasets.text_files import read_lines
from segnet.errors import ConfigError, DataError


class CamVid(FileDataset):
    """CamVid in the SegNet tutorial's layout.

    Args:
        split: "train", "val" or "test".
        root: folder with ``train.txt``, ``train/``, ``trainannot/`` and so on.
        train_splits: splits whose images form the train split; [train,val] trains on both, for a figure on test.

    Raises:
        ConfigError: an unknown split, in `split` or `train_splits`.
        DataError: a folder or file that is missing.
    """

    def __init__(self, split: str, root: str, train_splits: Sequence[str] = ("train",)) -> None:
        require_split(split)
        if not train_splits or len({*train_splits}) < len(train_splits) or not {*train_splits} <= {*SPLITS}:
            names = ",".join(map(str, train_splits))
            raise ConfigError(f"dataset.train_splits=[{names}]: must be one or more of {', '.join(SPLITS)}, each once")
        folder = require_root(root)
        parts = train_splits if split == "train" else [split]
        super().__init__([pair for part in parts for pair in self._pairs_of(folder, part)], CAMVID_CLASSES)

    def _pairs_of(self, folder: Path, split: str) -> list[Pair]:
        images = require_folder(folder / split, f"the {split} images of dataset.root")
        masks = require_folder(folder / f"{split}annot", f"the {split} masks of dataset.root")
        listing = folder / f"{split}.txt"
        pairs = pair_folders(images, masks, self.notes)
        return in_list(pairs, listing, self.notes) if listing.is_file() else pairs


def in_list(pairs: Sequence[Pair], listing: Path, notes: Notes) -> list[Pair]:
    """Return the pairs of a list, in its order; the first word of each line gives the file name.

    Args:
        notes: counts the images that the list does not name.

    Raises:
        DataError: names of images that are missing, or of two images, or named twice.
    """
    pair_of: dict[str, Pair] = {}
    for pair in pairs:
        stem = name_key(pair[0].name)
        if stem in pair_of:
            raise DataError(f"{pair[0]}: has the same name as {pair_of[stem][0]}, and {listing} gives names alone")
        pair_of[stem] = pair
    stems = [name_key(PureWindowsPath(line.split()[0]).name) for line in read_lines(listing)]
    missing = [stem for stem in stems if stem not in pair_of]
    if missing:
        raise DataError(
            f"{listing}: names {len(missing):,} images that do not exist, first '{missing[0]}': "
            "complete the folder or correct the list"
        )
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise DataError(f"{listing}: names '{twice}' twice: remove one of the lines")
    named = set(stems)
    for stem, (image, _) in pair_of.items():
        if stem not in named:
            notes.add(listing.with_suffix(""), "image", f"left out, {listing.name} does not name it", image.name)
    return [pair_of[stem] for stem in stems]

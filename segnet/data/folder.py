"""A dataset of your own: a folder ``images`` and a folder ``masks``, paired by file name.

Either with the splits as folders, ``images/train`` and ``masks/train`` (or ``train/images`` and ``train/masks``), and
likewise for val; or all in one, ``images`` and ``masks``, from which a seeded share is set aside for validation.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segnet.classes import Classes
from segnet.data.dataset import FileDataset, pair_up, pictures, require_folder
from segnet.errors import ConfigError, DataError

SPLITS = ("train", "val", "test")


class Folder(FileDataset):
    """Images and masks in folders.

    Args:
        split: "train" or "val", and "test" where there is such a folder.
        root: folder that holds ``images`` and ``masks``, or ``train`` and ``val``.
        class_names: in the order of the ids in the masks, from 0.
        palette: RGB colours, 0-255, one a class; chosen where not given.
        ignore_index: value in the masks that is no class.
        val_fraction: share of the pairs set aside for validation, where there are no split folders.
        split_seed: of that choice.

    Raises:
        ConfigError: a value outside these.
        DataError: a folder that is not there or is empty, an image without mask, or two files of one name.
    """

    def __init__(
        self,
        split: str,
        root: str,
        class_names: Sequence[str],
        palette: Sequence[Sequence[int]] | None = None,
        ignore_index: int = 255,
        val_fraction: float = 0.2,
        split_seed: int = 0,
    ) -> None:
        if split not in SPLITS:
            raise ConfigError(f"split={split} is unknown: choose from {', '.join(SPLITS)}")
        if not 0 < val_fraction < 1:
            raise ConfigError(f"dataset.val_fraction={val_fraction} is not a share between 0 and 1")
        if isinstance(class_names, str):
            raise ConfigError(f"dataset.class_names={class_names} is not a list: write dataset.class_names=[sky,road]")
        classes = Classes.create(class_names, palette, ignore_index)
        folder = require_folder(Path(root).expanduser(), "dataset.root")
        for images, masks in (("images/{}", "masks/{}"), ("{}/images", "{}/masks")):
            if (folder / images.format("train")).is_dir():
                image_folder = require_folder(folder / images.format(split), f"the {split} images of dataset.root")
                mask_folder = require_folder(folder / masks.format(split), f"the {split} masks of dataset.root")
                pairs = pair_up(pictures(image_folder), pictures(mask_folder))
                break
        else:
            image_folder = require_folder(folder / "images", "the images of dataset.root")
            mask_folder = require_folder(folder / "masks", "the masks of dataset.root")
            pairs = pair_up(pictures(image_folder), pictures(mask_folder))
            pairs = choose_split(pairs, split, val_fraction, split_seed)
        super().__init__(pairs, classes)


def choose_split(
    pairs: Sequence[tuple[Path, Path]], split: str, val_fraction: float, seed: int
) -> list[tuple[Path, Path]]:
    """The pairs of one split of a seeded random division, in the order of their names; at least one on each side.

    Raises:
        ConfigError: a split other than train and val.
        DataError: fewer than two pairs.
    """
    if split == "test":
        raise ConfigError("split=test needs a folder of its own: dataset.root has no train, val and test folders")
    if len(pairs) < 2:
        raise DataError(f"{pairs[0][0].parent}: one image cannot be divided into train and val: add images")
    num_val = min(max(1, round(val_fraction * len(pairs))), len(pairs) - 1)
    chosen = set(np.random.default_rng(seed).permutation(len(pairs))[:num_val].tolist())
    return [pair for index, pair in enumerate(pairs) if (index in chosen) == (split == "val")]

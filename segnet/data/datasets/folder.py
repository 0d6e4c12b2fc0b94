"""Your own dataset: images and masks in folders or lists, paired by file name.

The splits are folders, ``images/train`` and ``masks/train`` (or ``train/images`` and ``train/masks``), likewise for
val; or list files; or random fractions of ``images`` and ``masks``. All folders may have folders inside. Masks of
several classes per pixel have layouts of their own, see `segnet.data.datasets.plane_files`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from segnet.classes import MULTICLASS, MULTILABEL, Classes
from segnet.data.dataset import FileDataset
from segnet.data.datasets.labels import Labels
from segnet.data.datasets.layouts import layout_hint
from segnet.data.datasets.lists import listed_pairs
from segnet.data.datasets.notes import Notes
from segnet.data.datasets.pairing import Pair, pair_folders, refuse_missing, require_folder, require_root, require_split
from segnet.data.datasets.planes import PlaneLabels, require_plane_options
from segnet.data.datasets.splits import SPLIT_OF_NAME, Division, split_folder
from segnet.errors import ConfigError
from segnet.images.values import checked_value_range
from segnet.system.files import is_hidden
from segnet.system.path_names import spellings


class Folder(FileDataset):
    """Images and masks in folders.

    Args:
        split: "train" or "val", and "test" if it has a folder, a list or a fraction.
        root: folder with ``images`` and ``masks``, or with ``train`` and ``val``; or several such folders.
        class_names: in the order of the ids in the masks, from 0.
        palette: RGB colors, 0-255, one per class; chosen if not given.
        ignore_index: value in the masks that is ignored.
        images, masks: names of the two folders.
        image_suffix, mask_suffix: end of the names before the file ending: "_mask" pairs a.jpg with a_mask.png.
        id_map, color_map: meaning of the values or colors of masks, see `segnet.data.datasets.labels`; with
            task=multilabel, an id_map gives 0, 1 or ignore for the values of each plane.
        train_list, val_list, test_list: list files, relative to each root; a line is an image, or image and mask.
        val_fraction, test_fraction: fractions of the pairs, for splits without a folder or list.
        split_seed: of that random choice.
        group: regular expression; images with the same matched text in their paths stay in one split.
        channels: of the images.
        value_range: [low, high], the stored values that become black and white; null: 0 and the largest of their type.
        task: "multiclass": a mask holds one class id per pixel. "multilabel": a plane per class, which may overlap.

    Raises:
        ConfigError: a value outside these.
        DataError: a folder that is missing or empty, an image without mask, or two files of the same name.
    """

    def __init__(
        self,
        split: str,
        root: str | Sequence[str],
        class_names: Sequence[str],
        palette: Sequence[Sequence[int]] | None = None,
        ignore_index: int = 255,
        images: str = "images",
        masks: str = "masks",
        image_suffix: str = "",
        mask_suffix: str = "",
        id_map: Mapping[Any, Any] | None = None,
        color_map: Sequence[Sequence[int | str]] | str | None = None,
        train_list: str | None = None,
        val_list: str | None = None,
        test_list: str | None = None,
        val_fraction: float = 0.2,
        test_fraction: float = 0.0,
        split_seed: int = 0,
        group: str | None = None,
        channels: int = 3,
        value_range: Sequence[float] | None = None,
        task: str = MULTICLASS,
    ) -> None:
        require_split(split)
        division = Division(val_fraction, test_fraction, split_seed, group)
        if isinstance(class_names, str):
            raise ConfigError(f"dataset.class_names={class_names} is not a list: write dataset.class_names=[sky,road]")
        if channels < 1:
            raise ConfigError(f"dataset.channels={channels} must be 1 or more")
        if color_map == "palette" and palette is None:
            raise ConfigError("dataset.color_map=palette needs dataset.palette, the colors of the classes")
        roots = [root] if isinstance(root, str) else list(root)
        if not roots:
            raise ConfigError("dataset.root=[]: name at least one folder")
        labels = _mask_reader(class_names, palette, ignore_index, task, id_map, color_map)
        limits = checked_value_range(value_range)
        names = Names(images, masks, image_suffix, mask_suffix, labels)
        lists = {"train": train_list, "val": val_list, "test": test_list}
        pairs: list[Pair] = []
        undivided: list[tuple[Pair, str]] = []
        for folder in [require_root(name) for name in roots]:
            if any(lists.values()):
                pairs += _listed(folder, names, lists, split, self.notes)
            elif (folders := names.split_folders(folder, split, self.notes)) is not None:
                pairs += names.pairs(*folders, self.notes)
            else:
                found = names.all_pairs(folder, self.notes)[1]
                undivided += [(pair, pair[0].relative_to(folder).as_posix()) for pair in found]
        if undivided:
            where = str(undivided[0][0][0].parent)
            items, keys = [pair for pair, _ in undivided], [key for _, key in undivided]
            pairs += division.choose(items, keys, split, where, self.notes)
        super().__init__(pairs, labels.classes, labels, channels, limits)


def _mask_reader(
    class_names: Sequence[str],
    palette: Sequence[Sequence[int]] | None,
    ignore_index: int,
    task: str,
    id_map: Mapping[Any, Any] | None,
    color_map: Sequence[Sequence[int | str]] | str | None,
) -> Labels | PlaneLabels:
    """The reader of the masks."""
    if task == MULTILABEL:
        require_plane_options(color_map, ignore_index)
        return PlaneLabels(Classes.create(class_names, palette, task=task), id_map)
    return Labels(Classes.create(class_names, palette, ignore_index, task), id_map, color_map, configurable=True)


class Names:
    """Folder names and file suffixes of images and masks, which `labels` reads."""

    def __init__(
        self, images: str, masks: str, image_suffix: str, mask_suffix: str, labels: Labels | PlaneLabels
    ) -> None:
        self.images, self.masks = images, masks
        self.image_suffix, self.mask_suffix = image_suffix, mask_suffix
        self._labels = labels

    def pairs(self, images: Path, masks: Path, notes: Notes) -> list[Pair]:
        if isinstance(self._labels, PlaneLabels):
            return self._labels.pair(images, masks, notes, self.image_suffix, self.mask_suffix)
        return pair_folders(images, masks, notes, self.image_suffix, self.mask_suffix, suggests_suffix=True)

    def split_folders(self, root: Path, split: str, notes: Notes) -> tuple[Path, Path] | None:
        """Return the folders of a split's images and masks; None if splits have no folders."""
        for images, masks in ((f"{self.images}/*", f"{self.masks}/*"), (f"*/{self.images}", f"*/{self.masks}")):
            folders = [split_folder(root, layout, split) for layout in (images, masks)]
            if split_folder(root, images, "train").is_dir() or (split == "test" and folders[0].is_dir()):
                if images.endswith("*"):
                    _note_others(root / self.images, notes)
                hint = partial(layout_hint, root, "dataset.images and dataset.masks")
                return (
                    require_folder(folders[0], f"the {split} images of dataset.root", hint),
                    require_folder(folders[1], f"the {split} masks of dataset.root", hint),
                )
        return None

    def all_pairs(self, root: Path, notes: Notes) -> tuple[Path, list[Pair]]:
        """Return the folder of images, and the pairs of all splits of a root."""
        hint = partial(layout_hint, root, "dataset.images and dataset.masks")
        images = require_folder(root / self.images, "the images of dataset.root", hint)
        masks = require_folder(root / self.masks, "the masks of dataset.root", hint)
        return images, self.pairs(images, masks, notes)


def _note_others(images: Path, notes: Notes) -> None:
    """Count files and folders next to the folders of the splits."""
    for path in sorted(images.iterdir()):
        if not is_hidden(path.name) and path.name.lower() not in SPLIT_OF_NAME:
            notes.add(images, "entry", "left out, outside the folders of the splits", path.name)


def _listed(folder: Path, names: Names, lists: Mapping[str, str | None], split: str, notes: Notes) -> list[Pair]:
    listing = lists[split]
    if listing is None:
        others = ", ".join(f"dataset.{name}_list" for name, value in lists.items() if value)
        raise ConfigError(f"dataset.{split}_list is not set, but {others} is: name a list for each split")
    sources = [folder / spelling for spelling in spellings(listing)]
    source = next((path for path in sources if path.is_file()), sources[0])
    pairs = listed_pairs(source, folder, notes, lambda: names.all_pairs(folder, notes))
    refuse_missing(pairs, source)
    return pairs

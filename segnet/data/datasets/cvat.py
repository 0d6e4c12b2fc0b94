"""CVAT's exports with images, unpacked: "Segmentation mask 1.1" and "CVAT for images 1.1". Both name their classes.

Layout (docs.cvat.ai, "Segmentation Mask"): ``labelmap.txt`` (name:red,green,blue:parts:actions), ``JPEGImages/*``,
``SegmentationClass/*.png``, and a list of names for each subset, ``ImageSets/Segmentation/default.txt``. Without
``labelmap.txt``, ``annotations.xml`` is read: see `segnet.data.datasets.cvat_images`.

A subset named after a split (train, validation, test, in any case) is that split. The images of ``default`` are divided
into the splits that have no subset. A subset of another name needs the option `subsets`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from segnet.classes import Classes
from segnet.components import did_you_mean
from segnet.data.dataset import FileDataset, SegmentationDataset
from segnet.data.datasets.cvat_images import XML_FILE, CVATImages
from segnet.data.datasets.cvat_subsets import UNUSED, splits_of_subsets, subset_lists
from segnet.data.datasets.file_names import normal_form
from segnet.data.datasets.labels import IGNORE, Labels
from segnet.data.datasets.lists import named_pairs
from segnet.data.datasets.pairing import Pair, by_key, first_folder, image_files, require_root, require_split
from segnet.data.datasets.splits import Division
from segnet.data.datasets.text_files import read_lines
from segnet.errors import ConfigError, DataError
from segnet.images.values import ValueRange, checked_value_range

LABEL_MAP = "labelmap.txt"


def cvat(
    split: str,
    root: str,
    ignore: Sequence[str] = (),
    subsets: Mapping[str, Sequence[str]] | None = None,
    val_fraction: float = 0.2,
    test_fraction: float = 0.0,
    split_seed: int = 0,
    group: str | None = None,
    value_range: Sequence[float] | None = None,
) -> SegmentationDataset:
    """CVAT's export as masks or as shapes.

    Args:
        split: "train", "val" or "test".
        root: the folder of the unpacked export.
        ignore: names of labels that are no classes: their pixels are ignored. Background is a class like others.
        subsets: split -> names of its subsets; None: by their names.
        val_fraction, test_fraction: fractions of the default subset, for splits without a subset.
        split_seed: of that random choice.
        group: regular expression; images with the same matched text in their paths stay in one split.
        value_range: [low, high], the stored values that become black and white; null: 0 and the largest of their type.

    Raises:
        ConfigError: an unknown split, label or subset.
        DataError: a folder or file that is missing, invalid labels, shapes or subsets.
    """
    require_split(split)
    division = Division(val_fraction, test_fraction, split_seed, group)
    folder, limits = require_root(root), checked_value_range(value_range)
    ignore = [normal_form(name) for name in ignore]
    if (folder / XML_FILE).is_file() and not (folder / LABEL_MAP).is_file():
        return CVATImages(split, folder, ignore, subsets, division, limits)
    return CVATMasks(split, folder, ignore, subsets, division, limits)


class CVATMasks(FileDataset):
    """CVAT's color masks; the options are those of `cvat`."""

    classes_from_files = True

    def __init__(
        self,
        split: str,
        folder: Path,
        ignore: Sequence[str],
        subsets: Mapping[str, Sequence[str]] | None,
        division: Division,
        value_range: ValueRange | None,
    ) -> None:
        colors = read_label_map(folder / LABEL_MAP)
        for name in ignore:
            if name not in colors:
                raise ConfigError(f"dataset.ignore: '{name}' is not a label of the export.{did_you_mean(name, colors)}")
        names = [name for name in colors if name not in ignore]
        classes = Classes.create(names, [colors[name] for name in names])
        rows = [(*color, IGNORE if name in ignore else name) for name, color in colors.items()]
        images = first_folder(
            [folder / "JPEGImages", folder / "images"], "the images: export the dataset with 'Save images'"
        )
        masks = first_folder([folder / "SegmentationClass"], "the masks of dataset.root")
        image_of = by_key(image_files(images, self.notes), images)
        mask_of = by_key(image_files(masks, self.notes), masks)
        lists = folder / "ImageSets" / "Segmentation"
        pairs, owners = self._members(lists, image_of, mask_of, images, subsets)
        held = {index: owner for index, owner in enumerate(owners) if owner is not None}
        keys = [image.relative_to(images).as_posix() for image, _ in pairs]
        chosen = division.choose(pairs, keys, split, str(lists), self.notes, held)
        super().__init__(chosen, classes, Labels(classes, color_map=rows), value_range=value_range)
        self._label_map = folder / LABEL_MAP

    def _members(
        self,
        lists: Path,
        image_of: Mapping[str, Path],
        mask_of: Mapping[str, Path],
        images: Path,
        subsets: Mapping[str, Sequence[str]] | None,
    ) -> tuple[list[Pair], list[str | None]]:
        """Return the pairs of all subsets, and the split of each; None: divide them.

        Raises:
            DataError: an image in two subsets.
        """
        pairs: list[Pair] = []
        owners: list[str | None] = []
        listed: dict[Path, Path] = {}
        listings = subset_lists(lists)
        split_of = splits_of_subsets({listing.stem: listing for listing in listings}, subsets)
        for listing in listings:
            owner = split_of[listing.stem]
            if owner == UNUSED:
                self.notes.add(lists, "subset", "left out, dataset.subsets does not name it", listing.stem)
            for image, mask in named_pairs(listing, read_lines(listing), image_of, mask_of, images):
                if image in listed:
                    raise DataError(
                        f"{listing}: names '{image.stem}', and so does {listed[image].name}: keep it in one"
                    )
                listed[image] = listing
                if owner != UNUSED:
                    pairs.append((image, mask))
                    owners.append(owner)
        for key, image in image_of.items():
            if image not in listed:
                self.notes.add(images, "image", "left out, no subset names it", key)
        for key, mask in mask_of.items():
            if key not in image_of:
                self.notes.add(lists, "mask", "left out, it has no image", mask.name)
        return pairs, owners

    def files(self, index: int) -> Sequence[Path]:
        return (*super().files(index), self._label_map)


def read_label_map(path: Path) -> dict[str, tuple[int, int, int]]:
    """Return the labels of an export and their colors, in its order.

    Raises:
        DataError: a line that is not name:red,green,blue:parts:actions; two labels of one name or color.
    """
    colors: dict[str, tuple[int, int, int]] = {}
    for line in read_lines(path, "a label map"):
        if line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        values = [value.strip() for value in rest.split(":")[0].split(",")]
        if len(values) != 3 or not all(re.fullmatch("[0-9]{1,3}", value) and int(value) <= 255 for value in values):
            raise DataError(f"{path}: '{line}' is not name:red,green,blue:parts:actions with colors of 0-255")
        name, color = normal_form(name.strip()), (int(values[0]), int(values[1]), int(values[2]))
        if not name or name in colors:
            raise DataError(f"{path}: '{line}' has {'the name of another label' if name else 'no name'}")
        if color in colors.values():
            twin = next(other for other in colors if colors[other] == color)
            raise DataError(f"{path}: '{name}' and '{twin}' share the color {color}: give each label its own in CVAT")
        colors[name] = color
    if not colors:
        raise DataError(f"{path}: names no label")
    return colors

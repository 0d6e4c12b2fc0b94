"""Convert values of mask files to class ids: unchanged, by an id map, or by a color map. Every file is checked.

An id map assigns a class to each value, as in ``{0: ignore, 1: road, 255: 1}``: source id -> class (id or name) or
"ignore". The key "other" stands for all unlisted values; its target may also be "same", which keeps them. A color map
is a list of ``[red, green, blue, class]``, or "palette" for the classes' own colors.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.classes import Classes
from segnet.components import did_you_mean
from segnet.data.datasets.label_advice import color_map_advice, id_map_advice
from segnet.errors import NUM_LISTED, ConfigError, DataError
from segnet.images.formats import EXTENSIONS
from segnet.images.header import read_tiff_layouts
from segnet.images.masks import (
    ColoredMaskError,
    LabelValues,
    code_to_rgb,
    listed_values,
    read_label_values,
    read_mask_colors,
    rgb_to_code,
)
from segnet.images.partial import LazyPixels, lazy_ids

IGNORE, OTHER, SAME, PALETTE = "ignore", "other", "same", "palette"
NUM_VALUES = 65536  # values of a 16-bit mask: a lookup table is faster than a search
UNKNOWN = -1

Mask = NDArray[np.uint8 | np.int32]
ColorMap = Sequence[Sequence[int | str]] | str


class UnknownLabelError(DataError):
    """A mask contains unknown labels.

    Attributes:
        labels: all values of the mask -> number of pixels.
    """

    def __init__(self, message: str, labels: Mapping[int, int] | None = None) -> None:
        super().__init__(message)
        self.labels = dict(labels or {})


class Labels:
    """Reads masks of a dataset as class ids.

    Args:
        classes: the classes.
        id_map: source id -> class or "ignore" (see the module); None: the values are the class ids.
        color_map: list of [red, green, blue, class], or "palette"; None: masks contain ids, not colors.
        configurable: whether both maps are options of the dataset, which errors may suggest.

    Raises:
        ConfigError: a map with an invalid key or class, or both maps.
    """

    def __init__(
        self,
        classes: Classes,
        id_map: Mapping[Any, Any] | None = None,
        color_map: ColorMap | None = None,
        configurable: bool = False,
    ) -> None:
        if id_map is not None and color_map is not None:
            raise ConfigError("dataset.id_map and dataset.color_map exclude each other: masks contain ids or colors")
        self.classes = classes
        self.configurable = configurable
        self._table = None if id_map is None else id_table(id_map, classes)
        self._colors = None if color_map is None else color_table(color_map, classes)
        # A value in the id map is a label, even if the file declares it as nodata.
        self.kept = {int(key) for key in id_map or () if str(key).isdecimal()}

    def files(self, path: Path) -> list[Path]:
        """Return the files of a mask: itself."""
        return [path]

    def read(self, path: Path) -> Mask:
        """Read a mask: (H, W) class ids or `ignore_index`, in the smallest dtype for all of them.

        Raises:
            DataError: the file is not a mask, or contains unknown values; the message gives their pixel counts.
        """
        if self._colors is not None:
            return self._of_colors(read_mask_colors(path), path)
        try:
            found = read_label_values(path, self.kept)
        except ColoredMaskError as error:
            way_out = "set dataset.color_map" if self.configurable else "save class ids instead"
            raise ColoredMaskError(f"{error}: {way_out}", error.colors, error.num_colors) from None
        return self.apply(found, path)

    def lazy(self, path: Path) -> LazyPixels | None:
        """Open a mask whose parts are read as `read` reads the whole; None if it has to be read as a whole.

        Raises:
            DataError: the file cannot be read.
        """
        if self._colors is not None or path.suffix.lower() not in EXTENSIONS["PNG"]:
            return None
        found = lazy_ids(path)
        if found is None:
            return None
        dtype = np.dtype(mask_type(self.classes))
        return LazyPixels(found.shape, dtype, lambda rows, columns: self.convert(found[rows, columns], path))

    def apply(self, found: LabelValues, path: Path) -> Mask:
        """Convert the content of a mask file to class ids; nodata pixels become `ignore_index`.

        Raises:
            DataError: unknown values.
        """
        if found.no_data is None:
            return self.convert(found.ids, path)
        mask = np.full(found.ids.shape, self.classes.ignore_index, mask_type(self.classes))
        mask[~found.no_data] = self.convert(found.ids[~found.no_data], path)
        return mask

    def declared_nodata(self, path: Path) -> int:
        """Return the class id that is the nodata value of a mask's file, so that its pixels are ignored; -1: none."""
        if path.suffix.lower() not in EXTENSIONS["TIFF"] or self._colors is not None:
            return -1
        for layout in read_tiff_layouts(path, most=1, limited=False):
            value = layout.nodata
            if value is not None and value in range(len(self.classes.names)) and int(value) not in self.kept:
                return int(value)
        return -1

    def convert(self, values: NDArray[np.integer], path: Path) -> Mask:
        """Convert the values of a mask to class ids.

        Raises:
            DataError: unknown values.
        """
        if self._table is None:
            return checked_mask(values, self.classes, path, ", or set dataset.id_map" if self.configurable else "")
        wide = values.astype(np.int64)  # NUM_VALUES does not fit 8 or 16 bits
        ids = self._table[np.where((wide >= 0) & (wide < NUM_VALUES), wide, NUM_VALUES)]
        if (unknown := ids == UNKNOWN).any():
            listed = listed_values(values[unknown])
            way_out = " to dataset.id_map, or other: ignore" if self.configurable else ""
            raise DataError(f"{path}: label {listed} is not in the id map: {'add it' + way_out or 'correct the mask'}")
        return ids.astype(mask_type(self.classes))

    def doubt(self, present: Iterable[int]) -> str:
        """Return a question about masks that contain only these ids; empty if their meaning is clear.

        A mask of 0 and 255 may be binary, or contain class 0 and unlabeled pixels: only its author knows.
        """
        ignore_index = self.classes.ignore_index
        plain = self.configurable and self._table is None and self._colors is None
        if not plain or len(self.classes.names) > 2 or ignore_index != 255 or set(present) != {0, 255}:
            return ""
        name = self.classes.names[-1]
        names = "" if len(self.classes.names) == 2 else f' "dataset.class_names=[background,{name}]"'
        return (
            f"contain only 0 and 255, and 255 is ignore_index: no pixel would be '{name}'. If 255 is '{name}', "
            f'add{names} "dataset.id_map={{0:0,255:1}}"; if it is unlabeled, "dataset.id_map={{0:0,255:ignore}}"'
        )

    def _of_colors(self, colors: NDArray[np.uint8], path: Path) -> Mask:
        assert self._colors is not None
        known, targets = self._colors
        codes = rgb_to_code(colors)
        places = np.searchsorted(known, codes).clip(max=len(known) - 1)
        if (unknown := known[places] != codes).any():
            values, counts = np.unique(codes[unknown], return_counts=True)
            listed = ", ".join(
                f"{code_to_rgb(value)} ({count:,} pixels)"
                for value, count in zip(values[:NUM_LISTED], counts[:NUM_LISTED], strict=True)
            )
            more = f" and {len(values) - NUM_LISTED:,} more" if len(values) > NUM_LISTED else ""
            way_out = "correct the mask, or add [red, green, blue, class or ignore] to dataset.color_map"
            raise DataError(
                f"{path}: color {listed}{more} belongs to no class: "
                f"{way_out if self.configurable else 'correct the mask'}"
            )
        mask: NDArray[np.uint8 | np.int32] = targets[places].astype(mask_type(self.classes))
        return mask

    def advice(
        self, labels: Mapping[int, int], colors: Sequence[tuple[int, int, int]], num_colors: int
    ) -> dict[str, str]:
        """Suggest options for the unusable masks of a split.

        Args:
            labels: value -> number of pixels, of masks with unknown labels.
            colors: the first colors of color masks.
            num_colors: total number of colors.

        Returns:
            Text for "labels", for "colors", for both or for neither.
        """
        if not self.configurable or self._table is not None or self._colors is not None:
            return {}
        found = {"labels": id_map_advice(labels, self.classes)} if labels else {}
        return found | ({"colors": color_map_advice(colors, num_colors, self.classes)} if colors else {})


def id_table(id_map: Mapping[Any, Any], classes: Classes) -> NDArray[np.int32]:
    """Build the lookup table of an id map: the class id of source ids 0-65535, then of all others; -1 if unmapped.

    Raises:
        ConfigError: an invalid source id, or an unknown class.
    """
    table = np.full(NUM_VALUES + 1, UNKNOWN, np.int32)
    rest = id_map.get(OTHER)
    if rest == SAME:
        own = [*range(len(classes.names)), classes.ignore_index]
        table[own] = own
    elif rest is not None:
        table[:] = class_id(rest, classes, f"dataset.id_map.{OTHER}")
    for key, target in id_map.items():
        if key == OTHER:
            continue
        if not str(key).isdecimal() or int(key) >= NUM_VALUES:
            raise ConfigError(f"dataset.id_map: {key} must be an id of 0-{NUM_VALUES - 1}, or '{OTHER}'")
        table[int(key)] = class_id(target, classes, f"dataset.id_map.{key}")
    return table


def color_table(color_map: ColorMap, classes: Classes) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the sorted, packed colors of a color map, and the class id of each.

    Raises:
        ConfigError: an entry is not [red, green, blue, class], or a color has two classes.
    """
    if color_map == PALETTE:
        rows: list[Sequence[Any]] = [(*color, index) for index, color in enumerate(classes.palette)]
    elif isinstance(color_map, str) or not color_map:
        raise ConfigError(f"dataset.color_map={color_map} must be '{PALETTE}' or a list of [r, g, b, class]")
    else:
        rows = list(color_map)
    targets: dict[int, int] = {}
    for row in rows:
        color = row[:3]
        if len(row) != 4 or not all(isinstance(value, int) and 0 <= value <= 255 for value in color):
            raise ConfigError(f"dataset.color_map: {list(row)} must be [red, green, blue, class], colors of 0-255")
        code = int(rgb_to_code(np.array(color, np.int32)))
        target = class_id(row[3], classes, f"dataset.color_map: {list(row)}")
        if targets.setdefault(code, target) != target:
            raise ConfigError(f"dataset.color_map: color {list(color)} has two classes: remove one of the entries")
    order = sorted(targets)
    return np.array(order, np.int32), np.array([targets[code] for code in order], np.int32)


def class_id(target: int | str, classes: Classes, where: str) -> int:
    """Return the id of a class given by name or id, or `ignore_index` for "ignore".

    Raises:
        ConfigError: an unknown class; `where` is the option in the message.
    """
    if target in classes.names:
        return classes.names.index(str(target))
    if target == IGNORE or (isinstance(target, int) and target == classes.ignore_index):
        return classes.ignore_index
    if isinstance(target, int) and not isinstance(target, bool) and 0 <= target < len(classes.names):
        return target
    if isinstance(target, str):
        raise ConfigError(f"{where}: '{target}' is not a class.{did_you_mean(target, [*classes.names, IGNORE])}")
    raise ConfigError(f"{where}: {target} is none of the {len(classes.names)} classes (0-{len(classes.names) - 1})")


def checked_mask(mask: NDArray[np.integer], classes: Classes, path: Path | str, hint: str = "") -> Mask:
    """Check that a mask contains only class ids and `ignore_index`; return it in the smallest dtype for all ids.

    Raises:
        DataError: unknown labels; the message gives path, values and pixel counts, and ends with `hint`.
    """
    num_classes, ignore_index = len(classes.names), classes.ignore_index
    wrong = ((mask < 0) | (mask >= num_classes)) & (mask != ignore_index)
    if wrong.any():
        values, counts = np.unique(mask, return_counts=True)
        raise UnknownLabelError(
            f"{path}: label {listed_values(mask[wrong])} is none of the {num_classes} classes (0-{num_classes - 1}) "
            f"and not ignore_index={ignore_index}: correct the mask, the class names or ignore_index{hint}",
            dict(zip(values.tolist(), counts.tolist(), strict=True)),
        )
    return mask.astype(mask_type(classes))


def mask_type(classes: Classes) -> type[np.uint8] | type[np.int32]:
    """Return the smallest dtype for all class ids and `ignore_index`."""
    return np.uint8 if max(len(classes.names) - 1, classes.ignore_index) <= 255 else np.int32

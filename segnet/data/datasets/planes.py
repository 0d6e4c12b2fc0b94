"""Read multilabel masks: a plane of 0 and 1 per class, from a file with a channel per class or a file per class.

In each plane 0 is "no", and any other value is "yes", but only one: a plane with several is refused, because it could
be a mask of class ids, or 255 could mean "ignored". ``dataset.id_map`` then states the meaning of each value, as in
``{0: 0, 255: ignore, other: 1}``.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps

from segnet.classes import IGNORED_IN_PLANE, MULTILABEL, Classes
from segnet.data.datasets.labels import NUM_VALUES, UNKNOWN, id_table
from segnet.data.datasets.notes import Notes
from segnet.data.datasets.pairing import Pair
from segnet.data.datasets.plane_files import NPY, pair_planes
from segnet.errors import ConfigError, DataError, first_line
from segnet.images.formats import MASK_FORMATS
from segnet.images.header import decoding
from segnet.images.masks import (
    ColoredMaskError,
    LabelValues,
    listed_values,
    read_label_values,
    require_lossless,
    whole_labels,
)
from segnet.images.stored import read_stored

PLANE_VALUES = Classes.create(["no", "yes"])  # the targets of an id map: 0, 1 or ignore
WAY_OUT = 'state their meaning, as in "dataset.id_map={0:0,255:ignore,other:1}"'
NOT_IDS = "leave out task=multilabel if its values are class ids"

Planes = NDArray[np.uint8]  # (classes, H, W): 0, 1 or IGNORED_IN_PLANE


def require_plane_options(color_map: object, ignore_index: int) -> None:
    """Check options of masks of class ids, which multilabel masks do not have.

    Raises:
        ConfigError: one is set.
    """
    if color_map is not None:
        raise ConfigError(f"dataset.color_map is for masks of one class per pixel: leave it out with task={MULTILABEL}")
    if ignore_index != IGNORED_IN_PLANE:
        raise ConfigError(
            f"dataset.ignore_index={ignore_index} is for masks of class ids: with task={MULTILABEL}, write "
            f'"dataset.id_map={{0:0,{ignore_index}:ignore,other:1}}"'
        )


class PlaneLabels:
    """Reads the multilabel masks of a dataset; the interface of `segnet.data.datasets.labels.Labels`.

    Args:
        classes: the classes.
        id_map: value -> 0 (no), 1 (yes) or "ignore", the same for all planes; None: 0 is no, one other value is yes.

    Raises:
        ConfigError: a map with an invalid key or target.
    """

    def __init__(self, classes: Classes, id_map: Mapping[Any, Any] | None = None) -> None:
        self.classes = classes
        self._table = None if id_map is None else id_table(id_map, PLANE_VALUES)
        self._kept = {int(key) for key in id_map or () if str(key).isdecimal()}
        self._files_of: dict[Path, Sequence[Path | None]] = {}

    def pair(self, images: Path, masks: Path, notes: Notes, image_suffix: str, mask_suffix: str) -> list[Pair]:
        """Pair images and masks as `pair_planes` does, and remember the files of each class."""
        pairs, files_of = pair_planes(images, masks, self.classes.names, notes, image_suffix, mask_suffix)
        self._files_of |= files_of
        return pairs

    def files(self, path: Path) -> list[Path]:
        """Return all mask files of an image, given the one of its pair."""
        return [file for file in self._files_of.get(path, [path]) if file is not None]

    def read(self, path: Path) -> Planes:
        """Read a mask: (classes, H, W) uint8 of 0, 1 and `IGNORED_IN_PLANE`.

        Raises:
            DataError: a file that is no mask, planes of different sizes, or values without a meaning.
        """
        if path in self._files_of:
            return self._stacked(self._files_of[path])
        channels = read_planes(path, len(self.classes.names))
        pairs = zip(channels, self.classes.names, strict=True)
        return np.stack([self._plane(values, f"{path}: class '{name}'") for values, name in pairs])

    def _stacked(self, files: Sequence[Path | None]) -> Planes:
        planes: list[Planes | None] = []
        first: Path | None = None
        for file in files:
            if file is None:
                planes.append(None)
                continue
            plane = self._plane(read_one_plane(file, self._kept), str(file))
            known = next((other for other in planes if other is not None), plane)
            if plane.shape != known.shape:
                size, other = (f"{one.shape[1]} x {one.shape[0]}" for one in (plane, known))
                raise DataError(f"{file}: {size} pixels, but {first} has {other}: all masks of an image need its size")
            first = first or file
            planes.append(plane)
        shape = next(plane.shape for plane in planes if plane is not None)
        return np.stack([np.zeros(shape, np.uint8) if plane is None else plane for plane in planes])

    def _plane(self, found: LabelValues, where: str) -> Planes:
        """Convert the values of a plane (H, W) to 0, 1 and `IGNORED_IN_PLANE`."""
        values = found.ids
        if self._table is None:
            highest = values.max(initial=0)
            several = (values != 0) & (values != highest)
            if several.any() or values.min(initial=0) < 0:
                raise DataError(
                    f"{where}: has the values {listed_values(values[values != 0])} besides 0, a plane of one class has "
                    f"one: {WAY_OUT}; or {NOT_IDS}"
                )
            plane: Planes = (values != 0).astype(np.uint8)
        else:
            wide = values.astype(np.int64)
            ids = self._table[np.where((wide >= 0) & (wide < NUM_VALUES), wide, NUM_VALUES)]
            if (unknown := ids == UNKNOWN).any():
                listed = listed_values(values[unknown])
                raise DataError(f"{where}: value {listed} is not in dataset.id_map: add it, or other: 1")
            plane = ids.astype(np.uint8)
        if found.no_data is not None:
            plane[found.no_data] = IGNORED_IN_PLANE
        return plane

    def declared_nodata(self, path: Path) -> int:
        """Return -1: pixels without data are ignored in every plane, and no class id can be meant by them."""
        return -1

    def doubt(self, present: Iterable[int]) -> str:
        """Return no question: a plane with two meanings is refused when it is read."""
        return ""

    def advice(self, labels: Mapping[int, int], colors: Sequence[Any], num_colors: int) -> dict[str, str]:
        """Return no advice: the errors of multilabel masks name their way out."""
        return {}


def read_one_plane(path: Path, kept: Iterable[int] = ()) -> LabelValues:
    """Read the mask of one class.

    Raises:
        DataError: missing, damaged, lossy, or with colors.
    """
    if path.suffix.lower() == NPY:
        return whole_labels(_of_shape(_loaded(path), 1, path)[..., 0], None, path)
    try:
        return read_label_values(path, frozenset(kept))
    except ColoredMaskError as error:
        raise DataError(f"{error}: the mask of one class has one channel: save it as grayscale PNG") from None


def read_planes(path: Path, num_classes: int) -> list[LabelValues]:
    """Read a file with a channel or a page per class.

    Raises:
        DataError: missing, damaged, lossy, or of another number of channels.
    """
    if path.suffix.lower() == NPY:
        values = _of_shape(_loaded(path), num_classes, path)
        return [whole_labels(values[..., index], None, path) for index in range(num_classes)]
    if num_classes == 1:
        return [read_one_plane(path)]
    require_lossless(path, num_classes)
    stored = read_stored(path, pages_as_bands=num_classes)
    if stored is not None:
        values, nodata = stored.values, stored.kind.nodata
    else:
        with decoding(path, MASK_FORMATS) as image:
            ImageOps.exif_transpose(image, in_place=True)
            values, nodata = np.array(image), None
        values = values.reshape(*values.shape[:2], -1)
    values = _of_shape(values, num_classes, path)
    return [whole_labels(values[..., index], nodata, path) for index in range(num_classes)]


def _loaded(path: Path) -> NDArray[Any]:
    try:
        values: NDArray[Any] = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be read as a NumPy array ({first_line(error)})") from None
    return values


def _of_shape(values: NDArray[Any], num_classes: int, path: Path) -> NDArray[Any]:
    """Return the channels as (H, W, classes).

    Raises:
        DataError: another shape or number of channels.
    """
    if values.ndim == 2:
        values = values[..., None]
    is_npy = path.suffix.lower() == NPY
    if values.ndim == 3 and values.shape[2] != num_classes and values.shape[0] == num_classes and is_npy:
        return np.moveaxis(values, 0, 2)
    one_more = values.ndim == 3 and values.shape[2] == num_classes + 1 > 2 and values.dtype == np.uint8
    if one_more and not is_npy and (values[..., -1] == 255).all():  # opaque alpha of an RGBA image
        return values[..., :-1]
    if values.ndim != 3 or values.shape[2] != num_classes:
        given = f"shape {list(values.shape)}" if values.ndim != 3 else f"{values.shape[2]} channels"
        given = "one channel" if values.ndim == 3 and values.shape[2] == 1 else given
        raise DataError(
            f"{path}: has {given}, but there are {num_classes} classes: save a channel per class, or a file per class "
            f"(NAME_CLASS.png or CLASS/NAME.png); {NOT_IDS}"
        )
    return values

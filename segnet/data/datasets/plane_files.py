"""Find the mask files of multilabel datasets: a file with a channel per class, or a file per class.

Three layouts are detected, in this order:

* ``masks/CLASS/NAME.png``: a folder per class. Folder names match the class names without case, leading numbers, and
  with blanks, hyphens and underscores alike: ``1. Soft Exudates`` is the class ``soft_exudates``.
* ``masks/NAME_CLASS.png``: a file per class. Text may stand between both, such as ``NAME_attribute_CLASS.png``.
* ``masks/NAME.png``: a file with a channel per class.

In both layouts of a file per class, a missing file means that the image lacks the class. An image without any file is
an error: nobody may have labeled it.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from segnet.data.datasets.file_names import walk
from segnet.data.datasets.notes import Notes
from segnet.data.datasets.pairing import Pair, by_key, image_files, name_key, refuse
from segnet.errors import ConfigError, DataError, listed
from segnet.images.formats import image_suffixes

NPY = ".npy"
NAME_SEPARATORS = "_-. "  # between the name of an image and that of a class
LEADING_NUMBER = re.compile(r"^\d+[.)_ -]+")
MOST_NAMED = 8  # named in an error

PlaneFiles = Mapping[Path, Sequence[Path | None]]  # first file of an image -> the file of each class; None: no pixel


def pair_planes(
    images: Path, masks: Path, class_names: Sequence[str], notes: Notes, image_suffix: str = "", mask_suffix: str = ""
) -> tuple[list[Pair], PlaneFiles]:
    """Pair images with their mask files.

    Returns:
        The pairs, each with the first file of the image; and all files of those images that have a file per class.

    Raises:
        DataError: no image, an image without mask, a mask without image, or two files for one class of an image.
    """
    if images.resolve() == masks.resolve():
        raise ConfigError(f"images and masks share one folder, {images}: multilabel masks need a folder of their own")
    image_of = by_key(image_files(images, notes, image_suffix), images, image_suffix)
    finder = _Finder(masks, class_names, image_of, notes, mask_suffix)
    found = finder.by_folder() or finder.by_name()
    if found is None:
        single = by_key(finder.files, masks, mask_suffix)
        for key in sorted(single.keys() - image_of.keys()):
            refuse(f"{single[key]}: {finder.no_image(class_names)}")
        _refuse_unlabeled(image_of, single, masks)
        return [(path, single[key]) for key, path in image_of.items() if key in single], {}
    _refuse_unlabeled(image_of, found, masks)
    pairs, files_of = [], {}
    for key, path in image_of.items():
        if key in found:
            files = [found[key].get(name) for name in class_names]
            first = next(file for file in files if file is not None)
            pairs.append((path, first))
            files_of[first] = files
    return pairs, files_of


def _refuse_unlabeled(image_of: Mapping[str, Path], found: Mapping[str, object], masks: Path) -> None:
    lonely = [path for key, path in image_of.items() if key not in found]
    for path in lonely:
        more = f" (and {len(lonely) - 1:,} more)" if len(lonely) > 1 else ""
        refuse(f"{path}: image without a mask of any class in {masks}{more}: add an empty one if it shows no class")


class _Finder:
    """The mask files of a folder, and whose they are."""

    def __init__(
        self, masks: Path, class_names: Sequence[str], image_of: Mapping[str, Path], notes: Notes, suffix: str
    ) -> None:
        self._masks, self._image_of, self._notes, self._suffix = masks, image_of, notes, suffix
        self._classes = {_alike(name): name for name in class_names}
        if len(self._classes) < len(class_names):
            raise ConfigError("dataset.class_names: two names differ only in case, blanks or signs: rename one class")
        known = image_suffixes() | {NPY}
        paths = walk(masks, notes, lambda path: path.suffix.lower() in known)
        self.files = [path for path in paths if path.suffix.lower() in known and path.stem.endswith(suffix)]
        for path in paths:
            if path.suffix.lower() not in known:
                notes.add(masks, "file", "left out, no mask by its ending", path.relative_to(masks))
        if not self.files:
            raise DataError(f"{masks}: has no mask file (png, tif, npy, ...)")

    def by_folder(self) -> dict[str, dict[str, Path]] | None:
        """The files of each image by class, from a folder per class; None: no folder has the name of a class."""
        found: dict[str, dict[str, Path]] = {}
        rests: dict[str, tuple[str, Path]] = {}
        for path in self.files:
            top, *inner = path.relative_to(self._masks).parts
            name = self._classes.get(_alike(top)) if inner else None
            if name is None:
                continue
            owner = self._owner(path, self._masks / top)
            if owner is not None:
                _require_same_rest(rests, name, owner[1], path)
                self._add(found, owner[0], name, path)
        if found or rests:
            for path in self.files:
                top, *inner = path.relative_to(self._masks).parts
                if not inner or _alike(top) not in self._classes:
                    self._notes.add(self._masks, "file", "left out, in no folder of a class", path.name)
        return found or None

    def by_name(self) -> dict[str, dict[str, Path]] | None:
        """The files of each image by class, from the names of the files; None: no file names a class."""
        found: dict[str, dict[str, Path]] = {}
        middles: dict[str, tuple[str, Path]] = {}
        others = []
        for path in self.files:
            owner = self._owner(path, self._masks, quiet=True)
            name = self._named_class(owner[1]) if owner else None
            if owner is None or name is None:
                others.append(path)
                continue
            _require_same_rest(middles, "", _alike(owner[1]).removesuffix(_alike(name)).strip("_"), path)
            self._add(found, owner[0], name, path)
        if found:
            for path in others:
                if self._owner(path, self._masks, quiet=True) is None:
                    refuse(f"{path}: {self.no_image(list(self._classes.values()))}")
                inner = path.relative_to(self._masks)
                self._notes.add(self._masks, "file", "left out, its name ends in no class", inner)
        return found or None

    def no_image(self, class_names: Sequence[str]) -> str:
        """The reason why a mask file cannot be used, with the ways to name it."""
        return (
            "mask without image: multilabel masks are named NAME.png (a channel per class), NAME_CLASS.png or "
            f"CLASS/NAME.png, CLASS one of {listed(list(class_names), MOST_NAMED)}"
        )

    def _named_class(self, rest: str) -> str | None:
        """The class that the rest of a name ends in; the longest one if several fit."""
        words = _alike(rest)
        fitting = [key for key in self._classes if words == key or words.endswith(f"_{key}")]
        return self._classes[max(fitting, key=len)] if fitting else None

    def _owner(self, path: Path, folder: Path, quiet: bool = False) -> tuple[str, str] | None:
        """The image of a file, and the rest of the file's name: the image with the longest fitting name."""
        key = name_key(path.relative_to(folder).as_posix()).removesuffix(self._suffix)
        if key in self._image_of:
            return key, ""
        for place in range(len(key) - 1, 0, -1):
            if key[place] in NAME_SEPARATORS and key[:place] in self._image_of:
                return key[:place], key[place:]
        if not quiet:
            refuse(f"{path}: mask without image: no image is named '{key}' or as the beginning of it")
        return None

    def _add(self, found: dict[str, dict[str, Path]], key: str, name: str, path: Path) -> None:
        files = found.setdefault(key, {})
        if name in files:
            refuse(f"{path}: a second mask of class '{name}' of {self._image_of[key].name}, besides {files[name]}")
        else:
            files[name] = path


def _require_same_rest(rests: dict[str, tuple[str, Path]], group: str, rest: str, path: Path) -> None:
    """Check that files of a group differ from the names of their images in the same text: otherwise a mask may belong
    to an image that is missing.

    Raises:
        DataError: the text differs.
    """
    before, first = rests.setdefault(group, (rest, path))
    if rest != before:
        refuse(
            f"{path}: '{rest}' follows the name of its image, but '{before}' in {first.name}: name all masks alike, or "
            "add the missing image"
        )


def _alike(name: str) -> str:
    """A name for comparison: lower case, without leading number, with one underscore for blanks and signs."""
    return re.sub(r"[^\w]+|_+", "_", LEADING_NUMBER.sub("", name.lower())).strip("_")

"""Find images and masks in folders, and pair them by name."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from segnet.data.datasets.file_names import normal_form, walk
from segnet.data.datasets.notes import Notes
from segnet.errors import ConfigError, DataError
from segnet.images.formats import HEIF_SUFFIXES, INSTALL_HEIF, image_suffixes, pillow_formats

SPLITS = ("train", "val", "test")

COMPANIONS = frozenset({"_classes.csv"})  # known files next to images: Roboflow's table of classes

Pair = tuple[Path, Path]

_lost: ContextVar[list[str] | None] = ContextVar("lost", default=None)


@contextmanager
def lost_files() -> Iterator[list[str]]:
    """Collect problems of single files for an inspection, instead of raising the first one."""
    lost: list[str] = []
    token = _lost.set(lost)
    try:
        yield lost
    finally:
        _lost.reset(token)


def refuse(problem: str) -> None:
    """Raises:
    DataError: the problem, unless `lost_files` collects it.
    """
    if (lost := _lost.get()) is None:
        raise DataError(problem)
    lost.append(problem)


def require_split(split: str, splits: Sequence[str] = SPLITS) -> None:
    """Raises:
    ConfigError: an unknown split.
    """
    if split not in splits:
        raise ConfigError(f"split={split} is unknown: choose from {', '.join(splits)}")


def require_folder(folder: Path, what: str, hint: Callable[[], str] = str) -> Path:
    """Return `folder`.

    Args:
        what: description of the folder, for the error message.
        hint: returns the end of the message, beginning with "; ".

    Raises:
        DataError: it is missing, or not a folder.
    """
    if not folder.is_dir():
        state = "is a file, not a folder" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: {state} ({what}){hint()}")
    return folder


def require_root(root: str) -> Path:
    """Return the folder of the option dataset.root; ~ is the home folder.

    Raises:
        DataError: it is missing.
    """
    return require_folder(Path(os.path.expanduser(root)), "dataset.root")


def first_folder(candidates: Sequence[Path], what: str) -> Path:
    """Return the first existing folder.

    Raises:
        DataError: none exists; the first is named.
    """
    return require_folder(next((folder for folder in candidates if folder.is_dir()), candidates[0]), what)


def is_image(path: Path) -> bool:
    """Return True if a file has an image's suffix."""
    return path.suffix.lower() in image_suffixes()


def image_files(folder: Path, notes: Notes, suffix: str = "", without: str = "") -> list[Path]:
    """List all image files in `folder` and its subfolders, sorted; `notes` counts skipped files.

    Args:
        suffix: end of the names, before the ending, of those that count.
        without: end of the names of those that do not count.

    Raises:
        DataError: there is none.
    """
    found: list[Path] = []
    has_heif = False
    for path in walk(folder, notes, is_image):
        if path.name in COMPANIONS:
            continue
        if path.suffix.lower() in HEIF_SUFFIXES and not is_image(path):
            has_heif = True
            notes.add(folder, "image", f"left out, HEIC needs {INSTALL_HEIF}", path.relative_to(folder))
        elif not is_image(path):
            notes.add(folder, "file", "left out, no image by its ending", path.relative_to(folder))
        elif without and path.stem.endswith(without):
            continue
        elif not path.stem.endswith(suffix):
            notes.add(folder, "image", f"left out, its name does not end in '{suffix}'", path.relative_to(folder))
        else:
            found.append(path)
    if not found:
        heif = f"; its HEIC images need {INSTALL_HEIF}" if has_heif else ""
        raise DataError(f"{folder}: has no image ({', '.join(pillow_formats())}){heif}")
    return found


def pair_folders(
    images: Path,
    masks: Path,
    notes: Notes,
    image_suffix: str = "",
    mask_suffix: str = "",
    suggests_suffix: bool = False,
) -> list[Pair]:
    """Pair images and masks of two folders by relative path, without file type and suffix.

    With a suffix, files without it do not count. Both folders may be one: then images do not end in `mask_suffix`.

    Args:
        images, masks: the folders.
        notes: counts skipped files.
        image_suffix, mask_suffix: end of the names before the file ending.
        suggests_suffix: suggest dataset.image_suffix or mask_suffix if no name fits, for a reader that has them.

    Raises:
        DataError: no image, an image without mask, a mask without image, or two files of the same name.
    """
    together = images.resolve() == masks.resolve()
    if together and not mask_suffix:
        raise ConfigError(f"images and masks share one folder, {images}: set dataset.mask_suffix to distinguish them")
    without = mask_suffix if together else ""
    image_of = by_key(image_files(images, notes, image_suffix, without), images, image_suffix)
    # Masks without the suffix are of another kind, as in Cityscapes; images without a mask are refused below.
    mask_files = image_files(masks, Notes() if together else notes)
    mask_of = by_key([path for path in mask_files if path.stem.endswith(mask_suffix)], masks, mask_suffix)
    if suggests_suffix and (option := _suffix_option(image_of, mask_of, image_suffix, mask_suffix)):
        raise DataError(f"{images}: none of its images has a mask of the same name in {masks}: set {option}")
    _refuse_lonely("image", image_of, "mask", mask_of, masks, mask_suffix)
    _refuse_lonely("mask", mask_of, "image", image_of, images, image_suffix)
    pairs = [(path, mask_of[key]) for key, path in image_of.items() if key in mask_of]
    if not pairs:
        raise DataError(f"{images}: none of its images has a mask of the same name in {masks}")
    return pairs


def _suffix_option(images: Iterable[str], masks: Iterable[str], image_suffix: str, mask_suffix: str) -> str:
    """Return the option that pairs names of which none is equal, such as a and a_mask; empty if there is none."""
    image_keys, mask_keys = sorted(images), sorted(masks)
    if not image_keys or not mask_keys or set(image_keys) & set(mask_keys):
        return ""
    for option, shorter, longer, suffix in (
        ("mask_suffix", image_keys, mask_keys, mask_suffix),
        ("image_suffix", mask_keys, image_keys, image_suffix),
    ):
        if extra := next((key.removeprefix(shorter[0]) for key in longer if key.startswith(shorter[0])), ""):
            found = {key.removesuffix(extra) for key in longer if key.endswith(extra)}
            if found == set(shorter):
                return f"dataset.{option}={extra}{suffix}"
    return ""


def by_key(paths: Sequence[Path], folder: Path, suffix: str = "") -> dict[str, Path]:
    """Index files by relative path below `folder`, without file type and suffix, in the Unicode form NFC.

    Raises:
        DataError: two files of the same name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        key = name_key(path.relative_to(folder).as_posix()).removesuffix(suffix)
        if key in found:
            refuse(f"{path}: has the same name as {found[key].name}: files are paired by name")
        else:
            found[key] = path
    return found


def name_key(name: str) -> str:
    """Return the key for pairing: the path without file type, in the Unicode form NFC."""
    return normal_form(os.path.splitext(name)[0])


def _refuse_lonely(
    kind: str, paths: dict[str, Path], other: str, others: dict[str, Path], folder: Path, suffix: str
) -> None:
    lonely = [(key, path) for key, path in paths.items() if key not in others]
    if _lost.get() is not None:
        for key, path in lonely:
            refuse(f"{path}: {kind} without {other}: {_missing_partner(folder, key + suffix)}")
    elif lonely:
        more = f" (and {len(lonely) - 1:,} more)" if len(lonely) > 1 else ""
        key, path = lonely[0]
        raise DataError(f"{path}: {kind} without {other}{more}: {_missing_partner(folder, key + suffix)}")


def _missing_partner(folder: Path, stem: str) -> str:
    """Explain why a file was not found: it does not exist, or it is HEIC and cannot be read here."""
    endings = [*HEIF_SUFFIXES, *(suffix.upper() for suffix in HEIF_SUFFIXES)]
    heif = next((stem + ending for ending in sorted(endings) if (folder / (stem + ending)).is_file()), "")
    return f"{folder / heif} needs {INSTALL_HEIF}" if heif else f"{folder} has no '{stem}.*'"


def refuse_missing(pairs: Sequence[Pair], listing: Path) -> None:
    """Raises:
    DataError: files that a list names are missing; the first is named, the others are counted.
    """
    missing = [path for pair in pairs for path in pair if not path.is_file()]
    if missing and _lost.get() is None:  # an inspection reports each file when it is read
        more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
        raise DataError(f"{missing[0]}: no such file{more}, but {listing} names it: complete the folder or the list")

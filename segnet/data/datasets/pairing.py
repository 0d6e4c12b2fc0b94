"""Finds images and masks in folders and lists, and pairs them by name."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from segnet.errors import ConfigError, DataError
from segnet.images.files import IMAGE_SUFFIXES

SPLITS = ("train", "val", "test")

Pair = tuple[Path, Path]

_lost: ContextVar[list[str] | None] = ContextVar("lost", default=None)


@contextmanager
def lost_files() -> Iterator[list[str]]:
    """Within it files that find no partner are left out, and listed, instead of refused: for an inspection."""
    lost: list[str] = []
    token = _lost.set(lost)
    try:
        yield lost
    finally:
        _lost.reset(token)


def require_split(split: str, splits: Sequence[str] = SPLITS) -> None:
    """Raises:
    ConfigError: an unknown split.
    """
    if split not in splits:
        raise ConfigError(f"split={split} is unknown: choose from {', '.join(splits)}")


def require_folder(folder: Path, what: str) -> Path:
    """Gives `folder` back.

    Raises:
        DataError: it is not there, or not a folder.
    """
    if not folder.is_dir():
        state = "is a file, not a folder" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: {state} ({what})")
    return folder


def require_root(root: str) -> Path:
    """The folder that the option dataset.root names; ~ is the home folder.

    Raises:
        DataError: it is not there.
    """
    return require_folder(Path(root).expanduser(), "dataset.root")


def first_folder(candidates: Sequence[Path], what: str) -> Path:
    """The first of the folders that is there.

    Raises:
        DataError: none is; the first is named.
    """
    return require_folder(next((folder for folder in candidates if folder.is_dir()), candidates[0]), what)


def pictures(folder: Path, fits: Callable[[Path], bool] = lambda path: True) -> list[Path]:
    """All picture files in `folder` and the folders below it, by name, hidden ones left out.

    Links to folders are followed, each folder once.

    Raises:
        DataError: there is none that `fits`.
    """
    found: list[Path] = []
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(parent, name) for name in files if not name.startswith("."))
        found += [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and fits(path)]
    if not found:
        raise DataError(f"{folder}: holds no picture ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return sorted(found)


def pair_folders(images: Path, masks: Path, image_suffix: str = "", mask_suffix: str = "") -> list[Pair]:
    """Pairs the pictures of two folders by their paths below them, without ending and without these suffixes.

    With a suffix, files without it do not count. Both folders may be one: then images do not end in `mask_suffix`.

    Raises:
        DataError: no picture, an image without mask, a mask without image, or two files of one name.
    """
    together = images.resolve() == masks.resolve()

    def is_image(path: Path) -> bool:
        return path.stem.endswith(image_suffix) and not (together and path.stem.endswith(mask_suffix))

    if together and not mask_suffix:
        raise ConfigError(f"images and masks lie in one folder, {images}: set dataset.mask_suffix to tell them apart")
    image_of = by_key(pictures(images, is_image), images, image_suffix)
    mask_of = by_key(pictures(masks, lambda path: path.stem.endswith(mask_suffix)), masks, mask_suffix)
    _refuse_lonely("image", image_of, "mask", mask_of, masks, mask_suffix)
    _refuse_lonely("mask", mask_of, "image", image_of, images, image_suffix)
    pairs = [(path, mask_of[key]) for key, path in image_of.items() if key in mask_of]
    if not pairs:
        raise DataError(f"{images}: none of its pictures has a mask of the same name in {masks}")
    return pairs


def by_key(paths: Sequence[Path], folder: Path, suffix: str = "") -> dict[str, Path]:
    """Files by their path below `folder`, without ending and suffix.

    Raises:
        DataError: two files of one name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        key = path.relative_to(folder).with_suffix("").as_posix().removesuffix(suffix)
        if key in found:
            problem = f"{path}: has the same name as {found[key].name}: files are paired by name"
            if (lost := _lost.get()) is None:
                raise DataError(problem)
            lost.append(problem)
            continue
        found[key] = path
    return found


def _refuse_lonely(
    kind: str, paths: dict[str, Path], other: str, others: dict[str, Path], folder: Path, suffix: str
) -> None:
    lonely = [(key, path) for key, path in paths.items() if key not in others]
    if (lost := _lost.get()) is not None:
        lost += [f"{path}: {kind} without {other}: {folder} has no '{key}{suffix}.*'" for key, path in lonely]
    elif lonely:
        more = f" (and {len(lonely) - 1} more such)" if len(lonely) > 1 else ""
        key, path = lonely[0]
        raise DataError(f"{path}: {kind} without {other}{more}: {folder} has no '{key}{suffix}.*'")


def read_lines(listing: Path) -> list[str]:
    """The lines of a list file that are not empty.

    Raises:
        DataError: it cannot be read, or is empty.
    """
    try:
        lines = listing.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{listing}: cannot be read as a list of files ({error})") from None
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise DataError(f"{listing}: lists no image")
    return lines


def listed_pairs(listing: Path, root: Path, pairs: Callable[[], tuple[Path, list[Pair]]]) -> list[Pair]:
    """The pairs that a list file names, in its order.

    A line is an image and its mask, relative to `root`, with a tab or blanks between; or an image alone, by its path
    relative to `root` or to the folder of images, with or without ending.

    Args:
        listing: the list file.
        root: what may not be left.
        pairs: gives the folder of images and all pairs; asked for only where a line is an image alone.

    Raises:
        DataError: a line that names nothing, or leads out of `root`.
    """
    index: dict[str, Pair] | None = None
    found = []
    for line in read_lines(listing):
        both = _columns(line, root)
        if both is not None:
            found.append((below(root, both[0], listing), below(root, both[1], listing)))
            continue
        if index is None:
            folder, all_pairs = pairs()
            index = {}
            for pair in all_pairs:
                for base in (root, folder):
                    if pair[0].is_relative_to(base):
                        name = pair[0].relative_to(base)
                        index |= {name.as_posix(): pair, name.with_suffix("").as_posix(): pair}
        below(root, line, listing)
        if line not in index:
            raise DataError(f"{listing}: names '{line}', which is no image with a mask in {root}: correct the list")
        found.append(index[line])
    return found


def _columns(line: str, root: Path) -> tuple[str, str] | None:
    """Image and mask of a line, where it names two: at a tab, or at the blank that makes the left one a file."""
    if "\t" in line:
        image, _, mask = line.partition("\t")
        return image.strip(), mask.strip()
    blanks = [place for place, character in enumerate(line) if character == " "]
    for place in blanks:
        if (root / line[:place]).is_file() and line[place:].strip():
            return line[:place], line[place:].strip()
    return None


def below(folder: Path, name: str, source: Path) -> Path:
    """The path of a file that a list or an annotation file names, below `folder`.

    Raises:
        DataError: it is not below.
    """
    top = os.path.normpath(folder)
    path = Path(os.path.normpath(folder / name))
    if "\0" in name or not path.is_relative_to(top):
        raise DataError(f"{source}: {name!r} lies outside {folder}: it may only name files below")
    return path


def refuse_missing(pairs: Sequence[Pair], listing: Path) -> None:
    """Raises:
    DataError: files that a list names are not there; the first is named, the others are counted.
    """
    missing = [path for pair in pairs for path in pair if not path.is_file()]
    if missing and _lost.get() is None:  # else each is told when it is read
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(f"{missing[0]}: no such file{more}, but {listing} names it: complete the folder or the list")

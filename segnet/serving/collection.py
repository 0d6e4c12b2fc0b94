"""Collected images: uploaded images with corrected masks, in a folder that `dataset=folder` reads.

``images/NAME.jpg`` holds the bytes of the upload, ``masks/NAME.png`` the class ids of the upright image, and
``segnet.json`` the options that read them. A name is claimed by creating its mask, which fails if the file exists. So
nothing is overwritten, also not by another server that collects into the same folder.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.choices import FOLDER_OPTIONS
from segnet.classes import Classes
from segnet.errors import ConfigError, DataError, MachineError
from segnet.images.files import mask_image
from segnet.images.formats import EXTENSIONS, HEIF_SUFFIXES
from segnet.images.header import read_header
from segnet.images.masks import ColoredMaskError, listed_values, read_mask
from segnet.images.values import ValueRange
from segnet.serving.new_files import finish, hidden_file, placed, safe_name, storing
from segnet.system.files import is_hidden, replacing

IMAGE_FOLDER, MASK_FOLDER = "images", "masks"


class AlreadyCollectedError(Exception):
    """The folder holds the same image already.

    Attributes:
        name: its name in the folder.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"this image is collected already, as {name}: replace={name} replaces its mask")
        self.name = name


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved image.

    Attributes:
        name: its name in the folder, without ending.
        image, mask: its files, relative to the folder, with slashes.
        replaced: whether the mask replaced an earlier one.
        count: number of masks in the folder.
    """

    name: str
    image: str
    mask: str
    replaced: bool
    count: int


def require_writable(folder: Path) -> None:
    """Create a folder for collected images, and check that files can be created in it.

    Raises:
        ConfigError: it is a file. MachineError: it cannot be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--collect {folder}: is a file, not a folder: name a folder")
    try:
        for name in (IMAGE_FOLDER, MASK_FOLDER):
            (folder / name).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder / name, prefix="."):
                pass
    except OSError as error:
        raise MachineError(
            f"--collect {folder}: cannot be written to ({error.strerror}): name another folder"
        ) from None


def discard_empty(folder: Path) -> None:
    """Remove the folders that `require_writable` has created, if nothing is in them."""
    for path in (folder / IMAGE_FOLDER, folder / MASK_FOLDER, folder):
        with suppress(OSError):
            path.rmdir()


class Collection:
    """A folder of collected images. The caller saves one after another; other processes may save too.

    Args:
        folder: a folder that `require_writable` has accepted.
        classes, channels, value_range: those of the model, stored in segnet.json.

    Raises:
        ConfigError: the folder holds masks of other classes, or files without segnet.json.
        MachineError: segnet.json cannot be read or written.
    """

    def __init__(
        self, folder: Path, classes: Classes, channels: int = 3, value_range: ValueRange | None = None
    ) -> None:
        self.folder = folder
        self._classes = classes
        options = {"class_names": list(classes.names), "palette": [list(color) for color in classes.palette]}
        options |= {"ignore_index": classes.ignore_index, "channels": channels}
        options |= {"value_range": None if value_range is None else list(value_range)}
        path = folder / FOLDER_OPTIONS
        known = _read_options(path)
        if known is not None and {**options, "palette": 0} != {**known, "palette": 0}:  # colors do not change ids
            raise ConfigError(f"--collect {folder}: {_differing_option(known, options)}: name another folder")
        if known is None:
            if next(self._files(), None) is not None:
                raise ConfigError(
                    f"--collect {folder}: holds images or masks, but no {FOLDER_OPTIONS} with their classes: name a "
                    "new folder; a training takes several, as dataset.root=[A,B]"
                )
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(options, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @property
    def count(self) -> int:
        """The number of masks."""
        return sum(1 for path in self._files() if path.parent.name == MASK_FOLDER)

    def lonely(self) -> list[str]:
        """Files without their partner, left by a process that was killed between the two; relative to the folder."""
        stems = {
            name: {path.stem for path in self._files() if path.parent.name == name}
            for name in (IMAGE_FOLDER, MASK_FOLDER)
        }
        both = stems[IMAGE_FOLDER] & stems[MASK_FOLDER]
        return sorted(f"{path.parent.name}/{path.name}" for path in self._files() if path.stem not in both)

    def read_mask(self, path: Path, size: tuple[int, int]) -> NDArray[np.integer]:
        """Read and check an uploaded mask.

        Args:
            size: (height, width) of the upright image [pixels].

        Raises:
            DataError: not a PNG of class ids, another size, an id that is no class, or no labeled pixel.
        """
        header = read_header(path)
        if header.format != "PNG":
            raise DataError(f"{path}: is {header.format}: a mask is a PNG of class ids")
        _require_size(path, (header.height, header.width), size)  # before decoding
        try:
            mask = read_mask(path)
        except ColoredMaskError:
            raise DataError(f"{path}: has colors: a mask is a single-channel PNG of class ids") from None
        _require_size(path, mask.shape, size)  # after its EXIF orientation
        ignored = mask == self._classes.ignore_index
        wrong = (mask >= len(self._classes.names)) & ~ignored
        if wrong.any():
            last, ignore = len(self._classes.names) - 1, self._classes.ignore_index
            raise DataError(
                f"{path}: label {listed_values(mask[wrong])} is no class: use 0-{last}, or {ignore} to ignore"
            )
        if ignored.all():
            raise DataError(f"{path}: all pixels are ignored: label some of them")
        return mask

    def save(self, image: Path, mask: NDArray[np.integer], name: str, replace: str | None = None) -> Saved:
        """Save an image with its mask.

        Args:
            image: the uploaded file, which is copied byte by byte.
            mask: (H, W), as `read_mask` returns it.
            name: name of the image's file, from any system; becomes a safe and unused name.
            replace: name in the folder of the same image, whose mask is replaced.

        Raises:
            AlreadyCollectedError: the image is there, and `replace` is not given.
            DataError: `replace` does not name this image. MachineError: the files cannot be written.
        """
        labels = mask_image(mask, self._classes.palette)
        if replace is not None:
            known = self._files_of(replace)
            if not any(
                _same(path, image) for path in known.get(IMAGE_FOLDER, ())
            ):  # only names of files in the folder match
                raise DataError(f"replace={replace}: the folder has no such image with this content: save it as new")
            target = self.folder / MASK_FOLDER / f"{replace}.png"
            with replacing(target) as temporary:
                labels.save(temporary, "PNG")
            return self._saved(known[IMAGE_FOLDER][0], target, replaced=True)
        suffix = suffix_of(image)
        with hidden_file(self.folder / MASK_FOLDER) as new_mask, hidden_file(self.folder / IMAGE_FOLDER) as new_image:
            with storing():
                labels.save(new_mask, "PNG")
                new_image.write_bytes(image.read_bytes())
                for path in (new_mask, new_image):
                    finish(path)
            for stem in self._unused(safe_name(name), image):
                target = self.folder / MASK_FOLDER / f"{stem}.png"
                with storing():
                    if not placed(new_mask, target):
                        continue  # another process was faster
                    place = self.folder / IMAGE_FOLDER / f"{stem}{suffix}"
                    try:
                        if placed(new_image, place):
                            return self._saved(place, target, replaced=False)
                    except BaseException:
                        target.unlink()
                        raise
                    target.unlink()
        raise AssertionError("names are never used up")

    def _saved(self, image: Path, mask: Path, replaced: bool) -> Saved:
        return Saved(mask.stem, f"{IMAGE_FOLDER}/{image.name}", f"{MASK_FOLDER}/{mask.name}", replaced, self.count)

    def _unused(self, stem: str, image: Path) -> Iterator[str]:
        """Unused names: NAME, NAME-2, NAME-3, ...

        Raises:
            AlreadyCollectedError: a used one of them is the same image.
        """
        used = {path.stem.casefold(): path.stem for path in self._files()}
        number = 1
        while True:
            name = stem if number == 1 else f"{stem}-{number}"
            if name.casefold() not in used:
                yield name
            elif any(_same(path, image) for path in self._files_of(used[name.casefold()]).get(IMAGE_FOLDER, ())):
                raise AlreadyCollectedError(used[name.casefold()])
            number += 1

    def _files_of(self, stem: str) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path in self._files():
            if path.stem == stem:
                found.setdefault(path.parent.name, []).append(path)
        return found

    def _files(self) -> Iterator[Path]:
        for name in (IMAGE_FOLDER, MASK_FOLDER):
            with storing():
                found = [path for path in (self.folder / name).iterdir() if not is_hidden(path.name)]
            yield from found


def _require_size(path: Path, found: tuple[int, ...], size: tuple[int, int]) -> None:
    if found != size:
        pixels = [f"{width} x {height}" for height, width in (found, size)]
        raise DataError(f"{path}: has {pixels[0]} pixels, but the upright image has {pixels[1]}")


def _read_options(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}): repair it, or name another folder") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: must be an object {{...}}: repair it, or name another folder")
    return found


def _differing_option(known: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    key = next(key for key in options if key != "palette" and known.get(key) != options[key])
    return f"its {FOLDER_OPTIONS} has {key}={json.dumps(known.get(key))}, the model has {json.dumps(options[key])}"


def suffix_of(image: Path) -> str:
    """The usual ending of an image's format, which readers go by; the uploaded name may have another."""
    image_format = read_header(image).format
    return (
        sorted(HEIF_SUFFIXES)[0]
        if image_format == "HEIF"
        else EXTENSIONS[{"MPO": "JPEG"}.get(image_format, image_format)][0]
    )


def _same(path: Path, other: Path) -> bool:
    """Whether two files have the same content."""
    with suppress(OSError):
        return path.stat().st_size == other.stat().st_size and path.read_bytes() == other.read_bytes()
    return False

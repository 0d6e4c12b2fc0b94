"""What every dataset is: images with masks of class ids, checked when they are read.

The contract: a dataset class takes ``split`` and its options, has ``classes`` and gives samples by index. Errors in the
files are `DataError` with the path, the value and how many pixels have it.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segnet.classes import Classes
from segnet.errors import DataError
from segnet.images import IMAGE_SUFFIXES, read_image, read_mask


@dataclass(slots=True)
class Sample:
    """An image with its mask.

    Attributes:
        image: (H, W, 3) uint8 RGB, 0-255.
        mask: (H, W) class ids or `ignore_index`; uint8 where they fit, else int32.
        name: path or number, as messages name it.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8 | np.int32]
    name: str


class SegmentationDataset(ABC):
    """Base of all datasets: `classes`, `len(dataset)` and `dataset.load(index)`."""

    classes: Classes

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def load(self, index: int) -> Sample:
        """Reads the sample at `index`, 0 to len - 1.

        Raises:
            DataError: a file that cannot be read, or a mask that does not fit.
        """


class FileDataset(SegmentationDataset):
    """A dataset of image files, each with a mask file."""

    def __init__(self, pairs: Sequence[tuple[Path, Path]], classes: Classes) -> None:
        self.pairs = list(pairs)
        self.classes = classes

    def __len__(self) -> int:
        return len(self.pairs)

    def load(self, index: int) -> Sample:
        image_path, mask_path = self.pairs[index]
        image = read_image(image_path)
        mask = checked_mask(read_mask(mask_path), self.classes, mask_path)
        if mask.shape != image.shape[:2]:
            raise DataError(
                f"{mask_path}: {mask.shape[1]} x {mask.shape[0]} pixels, but its image {image_path} has "
                f"{image.shape[1]} x {image.shape[0]}: a mask must have the size of its image"
            )
        return Sample(image, mask, str(image_path))


def require_folder(folder: Path, what: str) -> Path:
    """Gives `folder` back.

    Raises:
        DataError: it is not there, or not a folder.
    """
    if not folder.is_dir():
        state = "is a file, not a folder" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: {state} ({what})")
    return folder


def pictures(folder: Path) -> list[Path]:
    """All picture files in `folder`, by name, hidden ones left out.

    Raises:
        DataError: there is none.
    """
    found = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    if not found:
        raise DataError(f"{folder}: holds no picture ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def pair_up(images: Sequence[Path], masks: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Pairs images and masks by their names without ending.

    Raises:
        DataError: an image without mask, a mask without image, or two files of one name.
    """
    image_of, mask_of = _by_stem(images), _by_stem(masks)
    _refuse_lonely("image", image_of, "mask", mask_of)
    _refuse_lonely("mask", mask_of, "image", image_of)
    return [(path, mask_of[stem]) for stem, path in image_of.items()]


def _by_stem(paths: Sequence[Path]) -> dict[str, Path]:
    stems: dict[str, Path] = {}
    for path in paths:
        if path.stem in stems:
            raise DataError(f"{path}: has the same name as {stems[path.stem].name}: files are paired by name")
        stems[path.stem] = path
    return stems


def _refuse_lonely(kind: str, paths: dict[str, Path], other: str, others: dict[str, Path]) -> None:
    lonely = [path for stem, path in paths.items() if stem not in others]
    if lonely:
        more = f" (and {len(lonely) - 1} more such)" if len(lonely) > 1 else ""
        folder = next(iter(others.values())).parent
        raise DataError(f"{lonely[0]}: {kind} without {other}{more}: {folder} has no '{lonely[0].stem}.*'")


def checked_mask(mask: NDArray[np.integer], classes: Classes, path: Path) -> NDArray[np.uint8 | np.int32]:
    """Refuses labels that are no class and not `ignore_index`; gives the mask in the smallest type that holds all ids.

    Raises:
        DataError: with the path, the values and their pixel counts.
    """
    num_classes, ignore_index = len(classes.names), classes.ignore_index
    wrong = ((mask < 0) | (mask >= num_classes)) & (mask != ignore_index)
    if wrong.any():
        values, counts = np.unique(mask[wrong], return_counts=True)
        listed = ", ".join(f"{v} ({n} pixels)" for v, n in zip(values[:5], counts[:5], strict=True))
        more = f" and {len(values) - 5} more values" if len(values) > 5 else ""
        raise DataError(
            f"{path}: label {listed}{more} is none of the {num_classes} classes (0-{num_classes - 1}) "
            f"and not ignore_index={ignore_index}: correct the mask, the class names or ignore_index"
        )
    return mask.astype(np.uint8 if max(num_classes - 1, ignore_index) <= 255 else np.int32)


def check_dataset(dataset: SegmentationDataset, split: str) -> None:
    """Reads every file once, on all cores, so that what is wrong is said before the first step.

    Raises:
        DataError: the first problem found, and how many more there are; or no labelled pixel at all.
    """

    def problem_of(index: int) -> tuple[str, bool]:
        try:
            return "", bool((dataset.load(index).mask != dataset.classes.ignore_index).any())
        except DataError as error:
            return str(error), False

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(problem_of, range(len(dataset))))
    problems = [problem for problem, _ in results if problem]
    if problems:
        more = f" (and {len(problems) - 1} more files with problems)" if len(problems) > 1 else ""
        raise DataError(problems[0] + more)
    if not any(labelled for _, labelled in results):
        raise DataError(
            f"the {split} split has no labelled pixel: all of its {len(dataset)} masks are "
            f"ignore_index={dataset.classes.ignore_index} throughout"
        )

"""What every dataset is: images with masks of class ids, checked when they are read.

The contract: a dataset class takes ``split`` and its options, has ``classes`` and gives samples by index. Errors in the
files are `DataError` with the path, the value and how many pixels have it.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segnet.bands import read_bands
from segnet.classes import Classes
from segnet.data.labels import Labels, Mask
from segnet.errors import DataError

Image = NDArray[np.uint8 | np.float32]


@dataclass(slots=True)
class Sample:
    """An image with its mask.

    Attributes:
        image: (H, W, channels), 0-255: uint8 RGB, or what `segnet.bands` reads, which may be float32.
        mask: (H, W) class ids or `ignore_index`; uint8 where they fit, else int32.
        name: path or number, as messages name it.
    """

    image: Image
    mask: Mask
    name: str


class SegmentationDataset(ABC):
    """Base of all datasets: `classes`, `channels`, `len(dataset)` and `dataset.load(index)`."""

    classes: Classes
    channels: int = 3  # of the images

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def load(self, index: int) -> Sample:
        """Reads the sample at `index`, 0 to len - 1.

        Raises:
            DataError: a file that cannot be read, or a mask that does not fit.
        """

    def doubt(self, present: Iterable[int]) -> str:
        """What is doubtful about masks in which only these ids are present, and what to do; empty: nothing."""
        return ""


class FileDataset(SegmentationDataset):
    """A dataset of image files, each with a mask file.

    Args:
        pairs: image and mask.
        classes: what the ids mean.
        labels: how the masks are read; None: they hold the ids of `classes`.
        channels: of the images; with other than 3 they are read as `segnet.bands` says.
    """

    def __init__(
        self, pairs: Sequence[tuple[Path, Path]], classes: Classes, labels: Labels | None = None, channels: int = 3
    ) -> None:
        self.pairs = list(pairs)
        self.classes = classes
        self.labels = labels or Labels(classes)
        self.channels = channels

    def __len__(self) -> int:
        return len(self.pairs)

    def load(self, index: int) -> Sample:
        image_path, mask_path = self.pairs[index]
        image = read_bands(image_path, self.channels)
        mask = self.labels.read(mask_path)
        refuse_other_size(mask, image, mask_path, image_path)
        return Sample(image, mask, str(image_path))

    def doubt(self, present: Iterable[int]) -> str:
        return self.labels.doubt(present)


def refuse_other_size(mask: Mask, image: Image, mask_path: Path, image_path: Path) -> None:
    """Raises:
    DataError: the mask has not the size of its image.
    """
    if mask.shape != image.shape[:2]:
        raise DataError(
            f"{mask_path}: {mask.shape[1]} x {mask.shape[0]} pixels, but its image {image_path} has "
            f"{image.shape[1]} x {image.shape[0]}: a mask must have the size of its image"
        )


def check_dataset(dataset: SegmentationDataset, split: str) -> None:
    """Reads every file once, on all cores, so that what is wrong is said before the first step.

    Raises:
        DataError: the first problem found, and how many more there are; or no labelled pixel at all.
    """

    ignore_index = dataset.classes.ignore_index

    def problem_of(index: int) -> tuple[str, set[int]]:
        try:
            counts = np.bincount(dataset.load(index).mask.ravel())
            return "", set(np.flatnonzero(counts).tolist())
        except DataError as error:
            return str(error), set()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(problem_of, range(len(dataset))))
    problems = [problem for problem, _ in results if problem]
    if problems:
        more = f" (and {len(problems) - 1} more files with problems)" if len(problems) > 1 else ""
        raise DataError(problems[0] + more)
    present = set().union(*(ids for _, ids in results))
    if present <= {ignore_index}:
        raise DataError(
            f"the {split} split has no labelled pixel: all of its {len(dataset)} masks are "
            f"ignore_index={ignore_index} throughout"
        )
    if doubt := dataset.doubt(present):
        raise DataError(f"the {len(dataset)} masks of the {split} split {doubt}")

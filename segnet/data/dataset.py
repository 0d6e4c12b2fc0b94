"""What every dataset is: images with masks of class ids, checked when they are read.

The contract: a dataset class takes ``split`` and its options, has ``classes`` and gives samples by index. Errors in the
files are `DataError` with the path, the value and how many pixels have it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segnet.classes import Classes
from segnet.data.datasets.labels import Labels, Mask
from segnet.data.datasets.notes import Notes
from segnet.data.scan.report import Finding
from segnet.errors import DataError
from segnet.images.bands import read_bands

Image = NDArray[np.uint8 | np.float32]


@dataclass(slots=True)
class Sample:
    """An image with its mask.

    Attributes:
        image: (H, W, channels), 0-255: uint8 RGB, or what `segnet.images.bands` reads, which may be float32.
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
    classes_from_files: bool = False  # whether the files of each split name the classes, each in an order of its own

    @cached_property
    def notes(self) -> Notes:
        """What was left out when the dataset was put together."""
        return Notes()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def load(self, index: int) -> Sample:
        """Reads the sample at `index`, 0 to len - 1.

        Raises:
            DataError: a file that cannot be read, or a mask that does not fit.
        """

    def load_many(self, indices: Sequence[int]) -> Iterator[Sample]:
        """Reads several samples, in that order; a dataset that is far away asks for all of them at once."""
        return map(self.load, indices)

    def findings(self) -> Sequence[Finding] | None:
        """What the samples hold, where it was stored with them; None: it is not known before they are read.

        A training then need not read all of them before its first step.
        """
        return None

    def files(self, index: int) -> Sequence[Path | str]:
        """All that the sample at `index` is read from: files, and what else tells it from other samples of them.

        Empty: no files alone, so that what was found in them cannot be remembered.
        """
        return ()

    def doubt(self, present: Iterable[int]) -> str:
        """What is doubtful about masks in which only these ids are present, and what to do; empty: nothing."""
        return ""


class FileDataset(SegmentationDataset):
    """A dataset of image files, each with a mask file.

    Args:
        pairs: image and mask.
        classes: what the ids mean.
        labels: how the masks are read; None: they hold the ids of `classes`.
        channels: of the images; with other than 3 they are read as `segnet.images.bands` says.
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

    def files(self, index: int) -> Sequence[Path]:
        return self.pairs[index]

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

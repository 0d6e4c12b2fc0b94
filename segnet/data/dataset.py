"""The contract of datasets: images with masks of class ids, checked when they are read.

A dataset class takes ``split`` and its options, has ``classes``, and returns samples by index. Errors in files are a
`DataError` with the path, the value and its number of pixels.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.classes import Classes
from segnet.data.datasets.labels import Labels, Mask
from segnet.data.datasets.notes import Notes
from segnet.data.datasets.planes import PlaneLabels
from segnet.data.scan.finding import Finding
from segnet.errors import ConfigError, DataError
from segnet.images.bands import nodata_pixels, read_bands, read_channels
from segnet.images.masks import ALL_LABELS, LabelValues, read_label_values, read_mask_colors
from segnet.images.partial import LazyPixels, lazy_rgb
from segnet.images.values import ValueRange

Image = NDArray[np.uint8 | np.float32]


@dataclass(slots=True)
class Sample:
    """An image with its mask.

    Attributes:
        image: (H, W, channels), 0-255: uint8 RGB, or uint8 or float32 as `segnet.images.bands` reads it.
        mask: (H, W) class ids or `ignore_index`; uint8 where they fit, else int32. With multilabel classes, planes
            (classes, H, W) uint8 of 0, 1 and 255, which is ignored.
        name: path or number, for messages.
    """

    image: Image
    mask: Mask
    name: str


@dataclass(slots=True)
class LazySample:
    """A sample whose image and mask are decoded when a crop of them is used, where their files allow it."""

    image: Image | LazyPixels
    mask: Mask | LazyPixels
    name: str


class SegmentationDataset(ABC):
    """Base of all datasets: `classes`, `channels`, `len(dataset)` and `dataset.load(index)`."""

    classes: Classes
    channels: int = 3  # image channels
    value_range: ValueRange | None = None  # stored values that become 0 and 255
    has_value_range = False  # whether value_range is an option of the dataset
    classes_from_files: bool = False  # whether the files of each split name the classes, each in an order of its own

    @cached_property
    def notes(self) -> Notes:
        """Notes about files and labels that were left out when the dataset was built."""
        return Notes()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def load(self, index: int) -> Sample:
        """Read the sample at `index`, 0 to len - 1.

        Raises:
            DataError: a file that cannot be read, or a mask that does not fit.
        """

    def load_many(self, indices: Sequence[int]) -> Iterator[Sample]:
        """Read several samples, in that order. A remote dataset overrides this to request all of them at once."""
        return map(self.load, indices)

    def open_many(self, indices: Sequence[int]) -> Iterator[Sample | LazySample]:
        """Open several samples for training crops, in that order; by default they are read as a whole.

        Slices of their pixels are those of `load`, and raise its errors for what they show.
        """
        return self.load_many(indices)

    def findings(self) -> Sequence[Finding] | None:
        """The findings of a scan that are stored with the samples; None: there are none.

        With them, a training need not read all samples before its first step.
        """
        return None

    def files(self, index: int) -> Sequence[Path | str]:
        """Return the sources of a sample: its files, and text that distinguishes samples of one file.

        Without a path the sample does not come from local files, so its findings cannot be cached.
        """
        return ()

    def doubt(self, present: Iterable[int]) -> str:
        """Return a question about masks that contain only these ids, with the options that answer it; empty: none."""
        return ""

    def stored_values(self, index: int) -> tuple[NDArray[Any], float]:
        """Return a sample's image as stored in its file, (H, W, channels), and the value of white.

        Only for datasets with `has_value_range`.
        """
        found = read_channels(Path(self.files(index)[0]), self.channels)
        return found.values, found.full

    def stored_labels(self, index: int) -> LabelValues:
        """Return a sample's mask as stored in its file; nodata values are kept.

        Only for datasets with mask files of values, and the option class_names.

        Raises:
            ColoredMaskError: in colors, see `stored_colors`.
            DataError: a mask that cannot be read.
        """
        raise NotImplementedError

    def stored_colors(self, index: int) -> NDArray[np.uint8]:
        """Return a sample's mask as the colors of its file: (H, W, 3) uint8 RGB, 0-255.

        Raises:
            DataError: a mask that cannot be read.
        """
        raise NotImplementedError

    def declared_nodata(self, index: int) -> int:
        """Return the class id that is the nodata value of the mask's file; -1: none."""
        return -1

    def nodata_pixels(self, index: int) -> NDArray[np.bool_] | None:
        """Return the nodata pixels of the image's file that `load` reads as data: (H, W); None: none.

        Raises:
            DataError: an image that cannot be read.
        """
        file = next(iter(self.files(index)), None)
        return nodata_pixels(file, self.channels) if self.has_value_range and isinstance(file, Path) else None

    def take_value_range(self, value_range: ValueRange | None, model: object) -> None:
        """Adopt a model's value range.

        Args:
            value_range: the model's value range.
            model: path of the model, for messages.

        Raises:
            ConfigError: the dataset has another value range, or does not support the option.
        """
        if self.value_range is None and self.has_value_range:
            self.value_range = value_range
        if self.value_range != value_range:
            own, other = ([*limits] if limits else None for limits in (self.value_range, value_range))
            raise ConfigError(f"dataset.value_range={own}, but {model} was trained with {other}: set it so")

    def advice(
        self, labels: Mapping[int, int], colors: Sequence[tuple[int, int, int]], num_colors: int
    ) -> dict[str, str]:
        """Suggest options for unusable masks, see `Labels.advice`."""
        return {}


class FileDataset(SegmentationDataset):
    """A dataset of image files, each with a mask file.

    Args:
        pairs: paths of image and mask of each sample.
        classes: the classes.
        labels: reader of the masks, with its own pairing of several files to one image; None: masks contain the ids of
            `classes`.
        channels: image channels; `segnet.images.bands` describes numbers other than 3.
        value_range: the stored values that become 0 and 255; None: 0 and the largest value of their dtype.
    """

    has_value_range = True

    def __init__(
        self,
        pairs: Sequence[tuple[Path, Path]],
        classes: Classes,
        labels: Labels | PlaneLabels | None = None,
        channels: int = 3,
        value_range: ValueRange | None = None,
    ) -> None:
        self.pairs = list(pairs)
        self.classes = classes
        self.labels = labels or Labels(classes)
        self.channels, self.value_range = channels, value_range

    def __len__(self) -> int:
        return len(self.pairs)

    def load(self, index: int) -> Sample:
        image_path, mask_path = self.pairs[index]
        image = read_bands(image_path, self.channels, self.value_range)
        mask = self.labels.read(mask_path)
        refuse_other_size(mask, image, mask_path, image_path)
        return Sample(image, mask, str(image_path))

    def open_many(self, indices: Sequence[int]) -> Iterator[Sample | LazySample]:
        return map(self._open, indices)

    def _open(self, index: int) -> LazySample:
        image_path, mask_path = self.pairs[index]
        image = lazy_rgb(image_path) if self.channels == 3 and self.value_range is None else None
        mask = self.labels.lazy(mask_path) if isinstance(self.labels, Labels) else None
        opened = LazySample(
            read_bands(image_path, self.channels, self.value_range) if image is None else image,
            self.labels.read(mask_path) if mask is None else mask,
            str(image_path),
        )
        refuse_other_size(opened.mask, opened.image, mask_path, image_path)
        return opened

    def files(self, index: int) -> Sequence[Path]:
        image_path, mask_path = self.pairs[index]
        return [image_path, *self.labels.files(mask_path)]

    def stored_labels(self, index: int) -> LabelValues:
        return read_label_values(self.pairs[index][1], ALL_LABELS)

    def stored_colors(self, index: int) -> NDArray[np.uint8]:
        return read_mask_colors(self.pairs[index][1])

    def declared_nodata(self, index: int) -> int:
        return self.labels.declared_nodata(self.pairs[index][1])

    def doubt(self, present: Iterable[int]) -> str:
        return self.labels.doubt(present)

    def advice(
        self, labels: Mapping[int, int], colors: Sequence[tuple[int, int, int]], num_colors: int
    ) -> dict[str, str]:
        return self.labels.advice(labels, colors, num_colors)


class WrappedDataset(SegmentationDataset):
    """Base of datasets that change how another dataset's samples are read; everything else is delegated to it.

    Args:
        dataset: the wrapped dataset.
    """

    def __init__(self, dataset: SegmentationDataset) -> None:
        self._dataset = dataset
        self.classes, self.channels, self.notes = dataset.classes, dataset.channels, dataset.notes
        self.has_value_range, self.value_range = dataset.has_value_range, dataset.value_range

    def __len__(self) -> int:
        return len(self._dataset)

    def files(self, index: int) -> Sequence[Path | str]:
        return self._dataset.files(index)

    def doubt(self, present: Iterable[int]) -> str:
        return self._dataset.doubt(present)

    def stored_values(self, index: int) -> tuple[NDArray[Any], float]:
        return self._dataset.stored_values(index)

    def declared_nodata(self, index: int) -> int:
        return self._dataset.declared_nodata(index)

    def nodata_pixels(self, index: int) -> NDArray[np.bool_] | None:
        return self._dataset.nodata_pixels(index)

    def take_value_range(self, value_range: ValueRange | None, model: object) -> None:
        self._dataset.take_value_range(value_range, model)
        self.value_range = self._dataset.value_range

    def advice(
        self, labels: Mapping[int, int], colors: Sequence[tuple[int, int, int]], num_colors: int
    ) -> dict[str, str]:
        return self._dataset.advice(labels, colors, num_colors)


def refuse_other_size(mask: Mask | LazyPixels, image: Image | LazyPixels, mask_path: Path, image_path: Path) -> None:
    """Check that mask and image have the same size.

    Raises:
        DataError: they differ in size.
    """
    if mask.shape[-2:] != image.shape[:2]:
        raise DataError(
            f"{mask_path}: {mask.shape[-1]} x {mask.shape[-2]} pixels, but its image {image_path} has "
            f"{image.shape[1]} x {image.shape[0]}: a mask must have the size of its image"
        )

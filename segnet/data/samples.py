"""Samples for the data loaders, as tensors: augmented crops for training, whole images for evaluation."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from segnet.data.augment.mixing import CutMix
from segnet.data.augment.transforms import TrainTransform
from segnet.data.dataset import LazySample, Sample, SegmentationDataset

# "image" (B, channels, H, W) uint8 or float32; "mask" (B, H, W) integer, or (B, classes, H, W) uint8; "name" list
Batch = dict[str, Any]


class TrainSamples(Dataset[Batch]):
    """Augmented training samples, addressed by (epoch, number) from `EpochSampler`."""

    def __init__(self, dataset: SegmentationDataset, transform: TrainTransform, mix: CutMix | None = None) -> None:
        self._dataset = dataset
        self.transform = transform
        self._mix = mix

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> list[Batch]:
        """The samples of a batch. DataLoader prefers this method; the dataset can then read them all at once.

        Files are decoded only as far as the crops need them, see `segnet.images.partial`.
        """
        samples = self._dataset.open_many([number % len(self._dataset) for _, number in keys])
        crops = [self._augmented(sample, *key) for sample, key in zip(samples, keys, strict=True)]
        return [to_tensors(crop) for crop in (self._mix(crops, keys) if self._mix else crops)]

    def _augmented(self, sample: Sample | LazySample, epoch: int, number: int) -> Sample:
        image, mask = self.transform(sample.image, sample.mask, epoch=epoch, index=number)
        return Sample(image, mask, sample.name)


class WholeSamples(Dataset[Batch]):
    """Samples without augmentation, in their own size."""

    def __init__(self, dataset: SegmentationDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Batch:
        return to_tensors(self._dataset.load(index))


def to_tensors(sample: Sample) -> Batch:
    """Copy a sample into tensors: image (channels, H, W), mask (H, W) or (classes, H, W)."""
    height, width, channels = sample.image.shape
    planes = np.empty((channels, height, width), sample.image.dtype)
    cv2.split(sample.image, list(planes))  # several times faster than a transposed copy
    return {
        "image": torch.from_numpy(planes),
        "mask": torch.from_numpy(np.array(sample.mask)),
        "name": sample.name,
    }

"""Batches of labeled and unlabeled images: the order of the unlabeled images, their views, and the collation.

The unlabeled images form an endless stream: one random order of all of them after another. A batch takes the next ones.
Their place in the stream follows from epoch and batch, so a resumed run needs no further state.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler, default_collate

from segnet.config import ConsistencyConfig, DataConfig
from segnet.data.augment.presets import complete_augment
from segnet.data.augment.strong import StrongView, draw_box
from segnet.data.augment.transforms import TrainTransform
from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.sampler import EpochSampler
from segnet.data.samples import Batch, TrainSamples, to_tensors
from segnet.data.scan.report import SplitReport
from segnet.data.unlabeled import UnlabeledImages, check_unlabeled
from segnet.errors import ConfigError

log = logging.getLogger(__name__)

NUM_STRONG = 2  # strong views of an image (UniMatch, section 3.3)
PADDED = 1  # mask value of padding in the views of unlabeled images; their pixels are 0
ORDER, VIEWS = 2, 3  # separate random streams of a seed


class UnlabeledKey(NamedTuple):
    """An image of the unlabeled stream: the pass over all images, counted from 0, and the image's number."""

    cycle: int
    image: int


class SemiSupervisedSampler(Sampler[tuple[int, int]]):
    """Yield the keys of each batch: those of its labeled images, then those of its unlabeled ones.

    Args:
        labeled: order of the labeled images.
        labeled_size, unlabeled_size: images in a batch, per process.
        num_images: number of unlabeled images.
        seed: seed of the order of the unlabeled images.
    """

    def __init__(
        self, labeled: EpochSampler, labeled_size: int, unlabeled_size: int, num_images: int, seed: int
    ) -> None:
        self._labeled = labeled
        self._labeled_size, self._unlabeled_size = labeled_size, unlabeled_size
        self._num_images = num_images
        self._seed = seed
        self._order = lru_cache(maxsize=2)(self._permutation)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self._labeled.set_epoch(epoch)

    @property
    def _num_batches(self) -> int:
        return len(self._labeled) // self._labeled_size

    def __len__(self) -> int:
        return self._num_batches * (self._labeled_size + self._unlabeled_size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        labeled = list(self._labeled)  # fewer in an epoch that is resumed
        first = self._num_batches - len(labeled) // self._labeled_size
        for batch in range(first, self._num_batches):
            yield from labeled[(batch - first) * self._labeled_size :][: self._labeled_size]
            yield from self._unlabeled(self._labeled.epoch * self._num_batches + batch)

    def _unlabeled(self, batch: int) -> Iterator[UnlabeledKey]:
        """The unlabeled images of a batch, counted from the start of the run; each of n processes takes every n-th."""
        for place in range(batch * self._unlabeled_size, (batch + 1) * self._unlabeled_size):
            cycle, within = divmod(self._labeled.of_all(place), self._num_images)
            yield UnlabeledKey(cycle, int(self._order(cycle)[within]))

    def _permutation(self, cycle: int) -> NDArray[np.int64]:
        return np.random.default_rng([self._seed, ORDER, cycle]).permutation(self._num_images)


class UnlabeledViews:
    """A weak view and two strong views of unlabeled images, and the rectangles of CutMix.

    Args:
        images: the images.
        weak: scale, crop and flip, with `PADDED` as the mask value of padding.
        options: strength of the strong views.
        seed: the only source of randomness, together with the key of each image.
    """

    def __init__(
        self, images: SegmentationDataset, weak: TrainTransform, options: ConsistencyConfig, seed: int
    ) -> None:
        self._images, self._weak, self._seed = images, weak, seed
        self._strong = StrongView(options.color_jitter)
        self._cutmix = options.cutmix

    def __call__(self, keys: Sequence[UnlabeledKey]) -> list[Batch]:
        """Return for each key "weak" (channels, H, W), "strong" (2, channels, H, W), "is_image" (H, W) bool, False in
        padding, "boxes" (2, 4) and "name".
        """
        samples = self._images.load_many([key.image for key in keys])
        return [self._views(sample, key) for sample, key in zip(samples, keys, strict=True)]

    def _views(self, sample: Sample, key: UnlabeledKey) -> Batch:
        blank = np.zeros(sample.mask.shape, np.uint8)
        image, padding = self._weak(sample.image, blank, epoch=key.cycle, index=key.image)
        rng = np.random.default_rng([self._seed, VIEWS, *key])
        weak = to_tensors(Sample(image, padding, sample.name))
        strong = [to_tensors(Sample(self._strong(image, rng), padding, ""))["image"] for _ in range(NUM_STRONG)]
        height, width = padding.shape
        boxes = np.stack([draw_box(rng, height, width, self._cutmix) for _ in range(NUM_STRONG)])
        return {
            "weak": weak["image"],
            "strong": torch.stack(strong),
            "is_image": weak["mask"] != PADDED,
            "boxes": torch.from_numpy(boxes),
            "name": sample.name,
        }


class SemiSupervisedSamples(Dataset[Batch]):
    """Labeled samples and views of unlabeled images, addressed by keys from `SemiSupervisedSampler`."""

    def __init__(self, labeled: TrainSamples, unlabeled: UnlabeledViews) -> None:
        self._labeled, self._unlabeled = labeled, unlabeled

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> list[Batch]:
        """The labeled samples of a batch, then the unlabeled ones."""
        labeled = [key for key in keys if not isinstance(key, UnlabeledKey)]
        unlabeled = [key for key in keys if isinstance(key, UnlabeledKey)]
        return [*self._labeled.__getitems__(labeled), *self._unlabeled(unlabeled)]


def collated(samples: Sequence[Batch]) -> Batch:
    """Collate a batch: "image", "mask" and "name" of the labeled samples, and "unlabeled", the views of the others.

    The names of the unlabeled images follow those of the labeled ones in "name".
    """
    labeled: Batch = default_collate([sample for sample in samples if "mask" in sample])
    unlabeled: Batch = default_collate([sample for sample in samples if "weak" in sample])
    return {**labeled, "name": [*labeled["name"], *unlabeled.pop("name")], "unlabeled": unlabeled}


def weak_options(data: DataConfig) -> DataConfig:
    """Return the options of weak views: scale, crop and flip of labeled crops."""
    return replace(complete_augment(data), augment=None, color_jitter=0.0, category_max_ratio=1.0)


@dataclass(frozen=True)
class UnlabeledStream:
    """The unlabeled images of a training, and how they are used.

    Attributes:
        images: the images.
        options: batch size and strength of the views.

    Raises:
        ConfigError: an option out of range.
    """

    images: UnlabeledImages
    options: ConsistencyConfig

    def __post_init__(self) -> None:
        if self.options.batch_size is not None and self.options.batch_size < 1:
            raise ConfigError(f"consistency.batch_size={self.options.batch_size} must be 1 or more")
        StrongView(self.options.color_jitter)
        if not 0 <= self.options.cutmix <= 1:
            raise ConfigError(f"consistency.cutmix={self.options.cutmix} must be a probability between 0 and 1")

    def size(self, batch_size: int) -> int:
        """Return the number of unlabeled images in a batch with `batch_size` labeled ones, per process."""
        return self.options.batch_size or batch_size

    def views(self, read: SegmentationDataset, weak: TrainTransform, seed: int) -> UnlabeledViews:
        """Return the views; `read` has the images, from a cache if there is one."""
        return UnlabeledViews(read, weak, self.options, seed)

    def batches(
        self, labeled: TrainSamples, order: EpochSampler, views: UnlabeledViews, batch_size: int, seed: int
    ) -> dict[str, Any]:
        """Return the arguments of a DataLoader of batches with labeled and unlabeled images.

        Args:
            labeled, order: labeled samples and their order.
            views: views of the unlabeled images.
            batch_size: labeled images in a batch, per process.
            seed: seed of the order of the unlabeled images.
        """
        more = self.size(batch_size)
        return {
            "dataset": SemiSupervisedSamples(labeled, views),
            "sampler": SemiSupervisedSampler(order, batch_size, more, len(self.images), seed),
            "batch_size": batch_size + more,
            "drop_last": True,
            "collate_fn": collated,
        }

    def check(
        self, splits: Mapping[str, SegmentationDataset], val: SplitReport | None, fixed_order: bool, is_rank_zero: bool
    ) -> None:
        """Check the images before the first step, and log warnings.

        Args:
            splits: the datasets that are read, with the unlabeled images.
            val: the scan of the val split; None: files are not read.
            fixed_order: whether the run overfits its first batches.
            is_rank_zero: whether this process logs.

        Raises:
            ConfigError: an option that does not fit.
            DataError: an image that cannot be used.
        """
        if fixed_order:
            raise ConfigError("unlabeled does not work with trainer.overfit_batches: leave one of them out")
        for line in check_unlabeled(self.images, splits, val, progress=is_rank_zero):
            if is_rank_zero:
                log.info("look at your data: %s", line)

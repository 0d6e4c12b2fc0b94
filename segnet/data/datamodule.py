"""Data loaders for Lightning. Order and augmentation of the samples depend on (seed, epoch, index) only."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch.utils.data import DataLoader, Dataset

from segnet.classes import Classes
from segnet.config import DataConfig, known
from segnet.data import build_dataset
from segnet.data.augment.listed import checked_augment
from segnet.data.augment.mixing import CutMix
from segnet.data.augment.presets import complete_augment
from segnet.data.augment.transforms import TrainTransform
from segnet.data.cache.decoded import with_cache
from segnet.data.dataset import SegmentationDataset
from segnet.data.requirements import require_enough_images, require_model_channels
from segnet.data.sampler import EpochSampler, class_factors, repeat_factors
from segnet.data.samples import Batch, TrainSamples, WholeSamples
from segnet.data.scan.report import DatasetReport, SplitReport
from segnet.data.scan.scan import ScanCache, scan_split
from segnet.data.semi_supervised import PADDED, UnlabeledStream, weak_options
from segnet.data.unlabeled import OPTION
from segnet.errors import ConfigError
from segnet.system.machine import num_cores
from segnet.system.memory import keep_freed_memory
from segnet.system.signals import shield_worker

log = logging.getLogger(__name__)

NUM_SIZES = 32  # samples read for their sizes if not all are checked
LARGEST_ARRAY, KEPT_MEMORY = 2**25, 2**28  # that each worker keeps for its next images [bytes]


def _prepare_worker(_: int) -> None:
    cv2.setNumThreads(0)  # workers are the parallelism
    keep_freed_memory(LARGEST_ARRAY, KEPT_MEMORY)
    shield_worker()


class SegmentationDataModule(pl.LightningDataModule):
    """Train, val and test loaders of a dataset; `classes` are the dataset's classes.

    Evaluation uses one whole image at a time, so its result depends on neither the batch size nor the number of
    processes.

    Args:
        dataset: spec from `segnet.data.DATASETS`.
        data: batch size, augmentation and workers.
        mean: mean per channel, 0-1: the color of padded pixels.
        seed: seed of order and augmentation.
        classes: a checkpoint's classes; None: the train split's. They are matched by name if the files of each split
            name the classes.
        fixed_order: repeat the first epoch's order in every epoch, to overfit its first batches.
        splits: datasets that are built already.
        unlabeled: images without masks; their views become a part of the training batches.

    Raises:
        ConfigError: an impossible option.
        DataError: a dataset that is missing or too small.
    """

    def __init__(
        self,
        dataset: Mapping[str, Any],
        data: DataConfig,
        mean: Sequence[float],
        seed: int,
        classes: Classes | None = None,
        *,
        fixed_order: bool = False,
        splits: Mapping[str, SegmentationDataset] | None = None,
        unlabeled: UnlabeledStream | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= data.oversample_rare <= 1:
            raise ConfigError(f"data.oversample_rare={data.oversample_rare} must lie between 0 and 1")
        self._mix = CutMix(data.cutmix, seed)
        self._spec = dict(dataset)
        self.use(data)
        self._mean = mean
        self._seed = seed
        self._fixed_order = fixed_order
        self._resumed: tuple[int, int] | None = None  # epoch, batches
        self._built = splits or {}
        self._splits: dict[str, SegmentationDataset] = {}
        self._reports: dict[str, SplitReport] = {}
        self._scan_cache: ScanCache | None = None
        self._given_classes = classes
        self.unlabeled = unlabeled
        self.classes = self.split("train").classes

    def split(self, name: str) -> SegmentationDataset:
        """The dataset of "train", "val" or "test"."""
        if name not in self._splits:
            if name in self._built:
                self._splits[name] = self._built[name]
            else:
                classes = self._given_classes or (None if name == "train" else self.classes)
                self._splits[name] = build_dataset(self._spec, name, classes)
            if self._is_rank_zero:
                for note in self._splits[name].notes.lines():
                    log.info("look at your data: %s: %s", name, note)
        return self._splits[name]

    def use(self, data: DataConfig) -> None:
        """Replace the options of loading and augmentation, for example when defaults that depend on data are known.

        Raises:
            ConfigError: an impossible batch size or augmentation.
        """
        if data.batch_size is not None and data.batch_size < 1:
            raise ConfigError(f"data.batch_size={data.batch_size} must be 1 or more")
        self._data = checked_augment(data)

    def sizes(self, split: str) -> Counter[tuple[int, int]]:
        """Count image sizes (height, width) of a split: all images if `data.check` reads them, otherwise a sample.

        Empty if no image can be read; `check` reports the reason.
        """
        dataset = self.split(split)
        if self._data.check or self.knows_sizes(split) or dataset.findings() is not None:
            return self.report(split).sizes
        count = min(NUM_SIZES, len(dataset))
        samples = dataset.load_many([index * len(dataset) // count for index in range(count)])
        return Counter((sample.image.shape[0], sample.image.shape[1]) for sample in samples)

    def knows_sizes(self, split: str) -> bool:
        """Whether the sizes of a split's images are known without reading them."""
        return split in self._reports

    def report(self, split: str) -> SplitReport:
        """The scan of a split. Its files are read once, unless the findings are stored with them."""
        if split not in self._reports:
            self._reports[split] = self._read_report(split)
        return self._reports[split]

    def _read_report(self, split: str) -> SplitReport:
        dataset = self.split(split)
        findings = dataset.findings()
        if findings is not None:
            return SplitReport(split, dataset.classes, findings)
        self._scan_cache = self._scan_cache or ScanCache(self._spec, self.classes)
        return scan_split(self._read_splits.get(split) or dataset, split, self._scan_cache, progress=self._is_rank_zero)

    @cached_property
    def _read_splits(self) -> Mapping[str, SegmentationDataset]:
        """The splits that a training reads every epoch, with a cache if one is configured."""
        unlabeled = {OPTION: self.unlabeled.images} if self.unlabeled is not None else {}
        splits = {name: self.split(name) for name in ("train", "val")} | unlabeled
        if self._data.cache is None:
            return splits
        return with_cache(splits, self._data.cache, self._data.cache_size, self._spec, log_size=self._is_rank_zero)

    def resume(self, epoch: int, batches: int) -> None:
        """Let the next train loader resume within an epoch, after the batches that each process has trained on."""
        self._resumed = (epoch, batches)

    def check_options(self, num_processes: int = 1) -> None:
        """Check what needs no file: channels, augmentation, cache, and the number of images; raises as `check` does."""
        train, val = self.split("train"), self.split("val")
        require_model_channels(train, len(self._mean))
        # refuses an impossible augmentation or cache
        self.train_samples(self._data).transform.try_listed(self.classes.num_ids)
        require_enough_images(len(train), len(val), known(self._data.batch_size), num_processes)

    def require_sound(self) -> None:
        """Check all files of train and val if `data.check` is set; raises as `check` does."""
        if self._data.check:
            DatasetReport([self.report("train"), self.report("val")]).require_sound()

    def check(self, num_processes: int = 1) -> None:
        """Check for what would fail later: unreadable files, wrong labels, fewer images than a batch.

        Raises:
            ConfigError: an impossible augmentation, or images of other channels than the model takes.
            DataError: names the file, or the numbers.
        """
        self.check_options(num_processes)
        if self._data.check:
            report = DatasetReport([self.report("train"), self.report("val")], data=self._data)
            report.require_sound()
            if self._is_rank_zero:
                for warning in report.warnings:
                    log.info("look at your data: %s", warning)
        if self.unlabeled is not None:
            val = self.report("val") if self._data.check else None
            self.unlabeled.check(self._read_splits, val, self._fixed_order, self._is_rank_zero)

    def train_dataloader(self) -> DataLoader[Batch]:
        length = len(self.split("train"))
        sampler = EpochSampler(length, self._seed, self._rank, self._num_processes, self._repeats(), self._fixed_order)
        if self._resumed:
            epoch, batches = self._resumed
            sampler.resume(epoch, batches * known(self._data.batch_size))
        samples, size = self.train_samples(self._data), known(self._data.batch_size)
        if self.unlabeled is None:
            return self._loader(samples, sampler=sampler, batch_size=size, drop_last=True)
        weak = train_transform(weak_options(self._data), self._mean, PADDED, self._seed)
        views = self.unlabeled.views(self._read_splits[OPTION], weak, self._seed)
        return self._loader(**self.unlabeled.batches(samples, sampler, views, size, self._seed))

    def train_samples(self, data: DataConfig) -> TrainSamples:
        """The augmented train images, with the crops of a configuration.

        Raises:
            ConfigError: an impossible augmentation.
        """
        transform = train_transform(data, self._mean, self.classes.ignore_index, self._seed)
        return TrainSamples(self._read_splits["train"], transform, self._mix)

    def _repeats(self) -> NDArray[np.float64] | None:
        """Repeat factor of each training image; None: each comes once per epoch."""
        threshold = self._data.oversample_rare
        if threshold == 0:
            return None
        report = self.report("train")
        ignored = self.classes.ignore_index
        present = [[label for label in finding.pixels if label != ignored] for finding in report.findings]
        rare = {label: factor for label, factor in sorted(class_factors(present, threshold).items()) if factor > 1}
        if self._is_rank_zero:
            factors = ", ".join(f"{self.classes.names[label]} {factor:.3g}" for label, factor in rare.items())
            log.info("data.oversample_rare=%g: %s", threshold, f"times {factors}" if rare else "no class is rare")
        return repeat_factors(present, threshold) if rare else None

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._whole_images(self._read_splits["val"])

    def test_dataloader(self) -> DataLoader[Batch]:
        return self.evaluation_dataloader("test")

    def evaluation_dataloader(self, split: str) -> DataLoader[Batch]:
        """Whole images of a split, one at a time, divided among the processes without padding."""
        return self._whole_images(self.split(split))

    def _whole_images(self, dataset: SegmentationDataset) -> DataLoader[Batch]:
        mine = range(self._rank, len(dataset), self._num_processes)
        return self._loader(WholeSamples(dataset), sampler=mine, batch_size=1)

    @property
    def num_workers(self) -> int:
        """Processes that load data; 0: the training process loads it."""
        chosen = self._data.num_workers
        return min(8, max(1, num_cores() // 2)) if chosen is None else chosen

    def _loader(self, dataset: Dataset[Batch], **options: Any) -> DataLoader[Batch]:
        num_workers = self.num_workers
        return DataLoader(
            dataset,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_prepare_worker,
            generator=torch.Generator().manual_seed(self._seed),
            timeout=self._data.timeout if num_workers > 0 else 0,
            **options,
        )

    @property
    def _is_rank_zero(self) -> bool:
        return bool(rank_zero_only.rank == 0)  # type: ignore[attr-defined]  # Lightning sets it so

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    @property
    def _num_processes(self) -> int:
        return self.trainer.world_size if self.trainer else 1


def train_transform(data: DataConfig, mean: Sequence[float], ignore_index: int, seed: int) -> TrainTransform:
    """The augmentation of a configuration; padded pixels have the mean color.

    Raises:
        ConfigError: an impossible option.
    """
    data = complete_augment(data)
    return TrainTransform(
        crop_size=known(data.crop_size),
        scale_range=known(data.scale_range),
        flip=known(data.flip),
        color_jitter=known(data.color_jitter),
        category_max_ratio=data.category_max_ratio,
        fill=[round(255 * value) for value in mean],
        ignore_index=ignore_index,
        seed=seed,
        augment=data.augment,
    )

"""Warnings about evaluated images that are one color to the model: clipped by its value range, or almost black."""

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from segnet.data.dataset import SegmentationDataset
from segnet.errors import counted
from segnet.images.little_range import LittleRange
from segnet.images.values import clipping_warning
from segnet.training.task import SegmentationTask

log = logging.getLogger(__name__)


class ClippingWarning(Callback):
    """Warns at the end about images that the value range clips to one color, or that are almost black without one.

    Args:
        samples: the evaluated samples, in the order of the batches.
        little_range: finds the first image that is almost black; None: no such warning.
    """

    def __init__(self, samples: SegmentationDataset, little_range: LittleRange | None = None) -> None:
        self._samples, self._little_range = samples, little_range
        self._warnings: list[str] = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        samples, image = self._samples, batch["image"]
        assert isinstance(pl_module, SegmentationTask)
        if self._little_range and (text := dark_sample(samples, batch_idx, image.max().item(), self._little_range)):
            log.warning("%s: %s", batch["name"][0], text)
        is_labeled = bool((batch["mask"] != pl_module.classes.ignore_index).any())  # a window without data is even
        if not samples.has_value_range or samples.value_range is None or not is_labeled:
            return
        limits = image.min().item(), image.max().item()
        if text := clipping_warning(*limits, samples.value_range, lambda: samples.stored_values(batch_idx)[0]):
            self._warnings.append(f"{batch['name'][0]}: {text}")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._warnings:
            more = len(self._warnings) - 1
            also = f" (and {counted(more, 'more image')} like it)" if more else ""
            log.warning("%s%s", self._warnings[0], also)


def dark_sample(samples: SegmentationDataset, index: int, brightest: float, little_range: LittleRange) -> str:
    """Return the warning about a sample that is almost black to a model without a value range; empty without one.

    Args:
        brightest: the largest value of its scaled image, 0-255.
        little_range: finds the first image that is almost black.
    """
    if not samples.has_value_range or samples.value_range is not None:
        return ""
    if not little_range.may_warn(Path(samples.files(index)[0]), brightest):
        return ""
    stored, full = samples.stored_values(index)
    return little_range.of_stored(stored.max().item(), full)

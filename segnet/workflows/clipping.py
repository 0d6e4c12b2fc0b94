"""A warning about images that a model's value range clips to one color."""

import logging
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from segnet.data.dataset import SegmentationDataset
from segnet.errors import counted
from segnet.images.values import clipping_warning
from segnet.training.task import SegmentationTask

log = logging.getLogger(__name__)


class ClippingWarning(Callback):
    """Warns at the end about images that the value range clips to one color.

    Args:
        samples: the evaluated samples, in the order of the batches.
    """

    def __init__(self, samples: SegmentationDataset) -> None:
        self._samples = samples
        self._warnings: list[str] = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        samples, image = self._samples, batch["image"]
        assert isinstance(pl_module, SegmentationTask)
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

"""What a recipe adds to Lightning's Trainer: average of the weights, early stopping, validation of the last step."""

import logging
import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, WeightAveraging
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segnet.config import Config, EarlyStoppingConfig, EmaConfig
from segnet.errors import ConfigError
from segnet.training.metrics import MONITOR

log = logging.getLogger(__name__)

MIN_IMAGES = 4  # of a batch norm's statistics; below, their noise costs accuracy (arXiv 1803.08494, figure 1)


def recipe_callbacks(config: Config) -> list[Callback]:
    """The callbacks that a configuration asks for.

    Raises:
        ConfigError: an impossible option.
    """
    callbacks: list[Callback] = [AdviseOnBatchNorm(config.data.batch_size)]
    max_steps = config.trainer.get("max_steps")
    if isinstance(max_steps, int) and max_steps > 0:
        callbacks.append(ValidateLastStep(max_steps))
    if config.ema.decay is not None:
        callbacks.append(ExponentialAverage(config.ema))
    if config.early_stopping.patience is not None:
        callbacks.append(StopWithoutProgress(config.early_stopping))
    return callbacks


class ExponentialAverage(WeightAveraging):
    """An exponential moving average of weights and running statistics, in whose place validation finds it.

    Checkpoints hold the average as the model's weights, and beside it the weights to resume from. After n steps the
    average keeps at most (1 + n) / (10 + n) of itself, as in TensorFlow's ExponentialMovingAverage with num_updates, so
    that a short run is not held back by its first weights.

    Raises:
        ConfigError: a decay outside [0, 1).
    """

    def __init__(self, ema: EmaConfig) -> None:
        decay = ema.decay
        if decay is None or not 0 <= decay < 1:
            raise ConfigError(f"ema.decay={decay} is the share of the old average that stays: in [0, 1), as 0.999")

        @torch.no_grad()
        def update(averages: list[Tensor], values: list[Tensor], num_averaged: Tensor) -> None:
            count = float(num_averaged)
            weight = 1 - min(decay, (1 + count) / (10 + count))
            if averages[0].is_floating_point():
                torch._foreach_lerp_(averages, values, weight)  # keeps what is constant to the last bit
            else:  # counters
                torch._foreach_copy_(averages, values)

        super().__init__(multi_avg_fn=update)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device  # the module itself is moved there only later
        super().setup(trainer, pl_module, stage)


class StopWithoutProgress(EarlyStopping):
    """Ends the run where val mIoU has stopped rising, and says so.

    Raises:
        ConfigError: a patience below 1, or a negative min_delta.
    """

    def __init__(self, options: EarlyStoppingConfig) -> None:
        if options.patience is None or options.patience < 1:
            raise ConfigError(f"early_stopping.patience={options.patience} is not a number of validations, 1 or more")
        if not 0 <= options.min_delta < math.inf:
            raise ConfigError(f"early_stopping.min_delta={options.min_delta} must be 0 or more")
        # Not check_finite: a validation without a labeled pixel has no mIoU, and that is no reason to end.
        super().__init__(
            MONITOR, options.min_delta, options.patience, mode="max", check_finite=False, check_on_train_epoch_end=False
        )

    def _evaluate_stopping_criteria(self, current: Tensor) -> tuple[bool, str | None]:
        if torch.isnan(current):  # it says nothing about progress: not counted
            return False, None
        return super()._evaluate_stopping_criteria(current)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.wait_count >= self.patience and trainer.is_global_zero:
            log.info(
                "the run ends at step %d: %d validations without a higher mIoU", trainer.global_step, self.patience
            )


class ValidateLastStep(Callback):
    """Validates after the last of `max_steps`, wherever in an epoch or interval that falls."""

    def __init__(self, max_steps: int) -> None:
        self._max_steps = max_steps

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._demand(trainer)  # of a run that was cut off in that very validation

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._demand(trainer)

    def _demand(self, trainer: pl.Trainer) -> None:
        if trainer.global_step >= self._max_steps:
            trainer.val_check_batch = 1  # batches between validations
            trainer.check_val_every_n_epoch = 1


class AdviseOnBatchNorm(Callback):
    """Warns where batch norm estimates its statistics from too few images.

    Args:
        batch_size: images of one process.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        num_images = images_per_statistic(pl_module, self._batch_size, trainer.world_size)
        if num_images < MIN_IMAGES and trainer.is_global_zero:
            log.warning(
                "batch norm estimates its statistics from %d image%s: use data.batch_size=%d or more, "
                "norm.name=group, or norm_eval=true with pretrained weights",
                num_images,
                "" if num_images == 1 else "s",
                MIN_IMAGES,
            )


def images_per_statistic(module: nn.Module, batch_size: int, num_processes: int) -> float:
    """The fewest images from which a batch norm that is in training estimates its statistics; inf without any.

    Args:
        batch_size: images of one process.
    """
    counts = [math.inf]
    for layer in module.modules():
        if isinstance(layer, _BatchNorm) and layer.training:
            together = isinstance(layer, nn.SyncBatchNorm)
            counts.append(batch_size * (num_processes if together else 1))
    return min(counts)

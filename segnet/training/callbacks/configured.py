"""Callbacks that options select: EMA weights, early stopping, validation of the last step, batch norm advice."""

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

MIN_IMAGES = 4  # per batch norm statistic; noise lowers accuracy with fewer (arXiv 1803.08494, figure 1)


def configured_callbacks(config: Config) -> list[Callback]:
    """Build the callbacks that a configuration selects.

    Raises:
        ConfigError: an impossible option.
    """
    callbacks: list[Callback] = [AdviseOnBatchNorm(config.data.batch_size or 1)]
    max_steps = config.trainer.get("max_steps")
    if isinstance(max_steps, int) and max_steps > 0:
        callbacks.append(ValidateLastStep(max_steps))
    if config.ema.decay:
        callbacks.append(ExponentialAverage(config.ema))
    if config.early_stopping.patience is not None:
        callbacks.append(StopWithoutProgress(config.early_stopping))
    return callbacks


class ExponentialAverage(WeightAveraging):
    """EMA weights: an exponential moving average of weights and running statistics, used in validation.

    Checkpoints store the EMA weights as the model's weights, and separately the weights to resume from. After n steps
    the decay is at most (1 + n) / (10 + n), as in TensorFlow's ExponentialMovingAverage with num_updates. The first
    weights therefore do not dominate a short run.

    Raises:
        ConfigError: a decay outside [0, 1).
    """

    def __init__(self, ema: EmaConfig) -> None:
        decay = ema.decay
        if decay is None or not 0 <= decay < 1:
            raise ConfigError(f"ema.decay={decay} must be in [0, 1): the fraction of the average kept; 0: no EMA")

        @torch.no_grad()
        def update(averages: list[Tensor], values: list[Tensor], num_averaged: Tensor) -> None:
            count = float(num_averaged)
            weight = 1 - min(decay, (1 + count) / (10 + count))
            if averages[0].is_floating_point():
                torch._foreach_lerp_(averages, values, weight)  # bit-exact for constant values
            else:  # counters
                torch._foreach_copy_(averages, values)

        super().__init__(multi_avg_fn=update)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device  # the module itself moves there later
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the EMA teach the unlabeled images."""
        consistency = getattr(pl_module, "consistency", None)
        if consistency is not None and consistency.uses_ema and self._average_model is not None:
            average = self._average_model.module
            assert isinstance(average.model, nn.Module)
            consistency.teacher = average.model.eval()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        consistency = getattr(pl_module, "consistency", None)
        if trainer.world_size > 1 and consistency is not None and consistency.teacher is not None:
            # Each process has running statistics of its own, but checkpoints store those of rank zero.
            for buffer in consistency.teacher.buffers():
                torch.distributed.broadcast(buffer, 0)


class StopWithoutProgress(EarlyStopping):
    """Early stopping: ends the run when val mIoU stops improving, and logs it.

    Raises:
        ConfigError: a patience below 1, or a negative min_delta.
    """

    def __init__(self, options: EarlyStoppingConfig) -> None:
        if options.patience is None or options.patience < 1:
            raise ConfigError(f"early_stopping.patience={options.patience} must be 1 or more validations")
        if not 0 <= options.min_delta < math.inf:
            raise ConfigError(f"early_stopping.min_delta={options.min_delta} must be 0 or more")
        # check_finite=False: a validation without a labeled pixel has no mIoU, and must not end the run.
        super().__init__(
            MONITOR, options.min_delta, options.patience, mode="max", check_finite=False, check_on_train_epoch_end=False
        )

    def _evaluate_stopping_criteria(self, current: Tensor) -> tuple[bool, str | None]:
        if torch.isnan(current):  # no labeled pixel: the validation does not count
            return False, None
        return super()._evaluate_stopping_criteria(current)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.wait_count >= self.patience and trainer.is_global_zero:
            log.info(
                "early stopping at step %d: %d validations without a higher mIoU", trainer.global_step, self.patience
            )


class ValidateLastStep(Callback):
    """Validates after the last step of `max_steps`, even within an epoch or a validation interval."""

    def __init__(self, max_steps: int) -> None:
        self._max_steps = max_steps

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._request_validation(trainer)  # the run may have stopped within its last validation

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._request_validation(trainer)

    def _request_validation(self, trainer: pl.Trainer) -> None:
        if trainer.global_step >= self._max_steps:
            trainer.val_check_batch = 1  # batches between validations
            trainer.check_val_every_n_epoch = 1


class AdviseOnBatchNorm(Callback):
    """Warns if batch norm estimates its statistics from too few images.

    Args:
        batch_size: images per process.
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
    """Return the smallest number of images per batch norm statistic; inf without a training batch norm.

    Args:
        batch_size: images per process.
        num_processes: world size; synchronized batch norms count the images of all processes.
    """
    counts = [math.inf]
    for layer in module.modules():
        if isinstance(layer, _BatchNorm) and layer.training:
            synchronized = isinstance(layer, nn.SyncBatchNorm)
            counts.append(batch_size * (num_processes if synchronized else 1))
    return min(counts)

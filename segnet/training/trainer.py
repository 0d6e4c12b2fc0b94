"""Build Lightning's Trainer: atomic checkpoints, the callbacks of training, and filtered warnings."""

import logging
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, ProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.plugins.layer_sync import TorchSyncBatchNorm
from pytorch_lightning.strategies import ParallelStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from segnet.config import Config, default_trainer
from segnet.errors import ConfigError, SegnetError, first_line
from segnet.models.checkpoint import read_checkpoint, save_checkpoint
from segnet.models.norms import num_processes
from segnet.system.files import replacing
from segnet.training.callbacks.largest_image import TryLargestImage
from segnet.training.callbacks.last_checkpoint import LastCheckpoint, MetricsLogger
from segnet.training.callbacks.nonfinite import NonFiniteLoss
from segnet.training.callbacks.profiling import StepProfiler
from segnet.training.callbacks.progress import progress_callbacks
from segnet.training.callbacks.unlabeled import UnlabeledCrops
from segnet.training.epoch_loop import validate_at_step_ends
from segnet.training.metrics import MONITOR
from segnet.training.run_folder import require_run_folder
from segnet.training.trainer_options import check_trainer_options, precision_option, resolve_trainer_options

log = logging.getLogger(__name__)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoint IO with atomic writes; reading never runs code from a checkpoint.

    Lightning's own write is atomic only if the temporary folder is on the target's file system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        require_run_folder(Path(path).parent)  # saving would create a deleted folder again, without its other files
        save_checkpoint(checkpoint, path)

    def load_checkpoint(self, path: Any, map_location: Any | None = None, weights_only: bool | None = None) -> Any:
        return read_checkpoint(path)


class SyncBatchNorms(TorchSyncBatchNorm):
    """Synchronized batch norm when several processes train on GPUs.

    torch has no synchronized batch norm for CPUs, and a single process does not need it.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        on_gpu = all(parameter.device.type == "cuda" for parameter in model.parameters())
        return super().apply(model) if on_gpu and num_processes() > 1 else model


def training_trainer(
    config: Config, output_dir: Path, callbacks: Sequence[Callback] = (), loggers: Sequence[Logger] = ()
) -> pl.Trainer:
    """Build the Trainer of a training run: checkpoints and metrics.csv in `output_dir`, and progress output.

    Args:
        callbacks: additional callbacks; they run before checkpoints are written.
        loggers: additional loggers besides metrics.csv.

    Raises:
        ConfigError: an unknown or impossible option.
    """
    check_trainer_options(config.trainer)
    defaults: dict[str, Any] = {"num_sanity_val_steps": 0, "enable_model_summary": False}
    if config.deterministic:
        defaults["deterministic"] = True
    if config.profile and "profiler" in config.trainer:
        own = config.trainer["profiler"]
        raise ConfigError(f"profile=true uses its own profiler: leave out trainer.profiler={own}")
    if config.profile:
        defaults["profiler"] = StepProfiler(output_dir)
    progress = progress_callbacks()
    last = LastCheckpoint(output_dir, config.checkpoint_every, config.checkpoint_minutes)
    trainer = _trainer(
        {**defaults, **default_trainer(), **config.trainer, **precision_option(config)},
        logger=[MetricsLogger(output_dir, name="", version=""), *loggers],
        # LastCheckpoint first: it records the end of a validation before BestCheckpoint writes
        callbacks=[
            *callbacks,
            last,
            BestCheckpoint(output_dir),
            NonFiniteLoss(config.non_finite),
            UnlabeledCrops(),
            TryLargestImage(),
            *progress,
        ],
        plugins=[AtomicCheckpointIO(), *([] if "sync_batchnorm" in config.trainer else [SyncBatchNorms()])],
        default_root_dir=output_dir,
        use_distributed_sampler=False,
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in progress),
    )
    validate_at_step_ends(trainer)
    return trainer


def evaluation_trainer(options: Mapping[str, Any], callbacks: Sequence[Callback] = ()) -> pl.Trainer:
    """Build the Trainer of an evaluation: one device, no checkpoints, no progress bar.

    Raises:
        ConfigError: an unknown or impossible option.
    """
    check_trainer_options(options, evaluates=True)
    defaults = {"devices": 1, "enable_checkpointing": False, "enable_model_summary": False}
    return _trainer({**defaults, **options}, logger=False, callbacks=list(callbacks), enable_progress_bar=False)


def _trainer(options: Mapping[str, Any], **own: Any) -> pl.Trainer:
    quieten_lightning()
    try:
        return pl.Trainer(**resolve_trainer_options(options), **own)
    except SegnetError:
        raise
    except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(f"trainer: Lightning rejects the options: {first_line(error)}") from None


def fit(trainer: pl.Trainer, task: pl.LightningModule, data: pl.LightningDataModule, checkpoint: Path | None) -> None:
    """Train, resuming from a checkpoint if one is given.

    Raises:
        ConfigError: options that Lightning rejects only when training starts.
    """
    try:
        trainer.fit(task, datamodule=data, ckpt_path=checkpoint)
    except MisconfigurationException as error:
        raise ConfigError(f"trainer: {first_line(error)}") from None
    except ValueError as error:
        if "`val_check_interval`" not in str(error):
            raise
        raise ConfigError(
            f"trainer.val_check_interval={trainer.val_check_interval} is above the {trainer.num_training_batches} "
            "batches of an epoch: leave out trainer.check_val_every_n_epoch to count batches across epochs"
        ) from None


def require_gpus_for_sync_batch_norm(trainer: pl.Trainer, task: pl.LightningModule) -> None:
    """Check that several processes do not use synchronized batch norm on CPUs, before any process starts.

    Raises:
        ConfigError: they do; torch supports it on GPUs only.
    """
    strategy = trainer.strategy
    if not isinstance(strategy, ParallelStrategy) or strategy.root_device.type != "cpu":
        return
    synchronized = any(isinstance(layer, nn.SyncBatchNorm) for layer in task.modules())
    if synchronized or not isinstance(strategy._layer_sync, SyncBatchNorms | None):
        raise ConfigError(
            "synchronized batch norm in several processes needs GPUs: use norm.name=group, or leave out "
            "norm.name=sync_batch and trainer.sync_batchnorm"
        )


class BestCheckpoint(ModelCheckpoint):
    """Writes best.ckpt, the checkpoint with the highest val/miou.

    A val split without a labeled pixel has no mIoU. Lightning would count its NaN as the lowest value and keep it;
    this class ignores it.

    Attributes:
        saw_no_labels: True after a validation without a labeled pixel.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder,
            "best",
            monitor=MONITOR,
            mode="max",
            save_top_k=1,
            enable_version_counter=False,
            auto_insert_metric_name=False,
            save_on_train_epoch_end=False,  # save after validation, so that the epoch's last.ckpt records it
        )
        self.saw_no_labels = False

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        if current is not None and torch.isnan(current):
            self.saw_no_labels = True
            return False
        return super().check_monitor_top_k(trainer, current)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "saw_no_labels": self.saw_no_labels}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.saw_no_labels = state_dict["saw_no_labels"]


def best_checkpoint(trainer: pl.Trainer, folder: Path) -> Path:
    """Return the best checkpoint of a finished run.

    A run that ended before its first validation gets a copy of last.ckpt as best.ckpt. If no validation had a labeled
    pixel, there is no best checkpoint: last.ckpt is returned.

    Raises:
        ConfigError: the run wrote no checkpoint.
    """
    best, last = folder / "best.ckpt", folder / "last.ckpt"
    callbacks = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, BestCheckpoint)]
    if any(callback.best_model_score is not None for callback in callbacks):
        return best
    if not last.exists():
        raise ConfigError("no checkpoint was written: the run ended before the end of its first epoch")
    if any(callback.saw_no_labels for callback in callbacks):
        log.warning(
            "no best checkpoint: the val split has no labeled pixel, so mIoU is undefined (see segnet inspect); "
            "the evaluation uses last.ckpt"
        )
        return last
    log.info("the run ended before its first validation: best.ckpt is a copy of last.ckpt")
    with replacing(best) as temporary:
        shutil.copyfile(last, temporary)
    return best


def quieten_lightning() -> None:
    """Hide Lightning's advertisements and warnings that do not concern segnet's users."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    for harmless in (
        ".*does not have many workers.*",
        ".*number of training batches.*smaller than the logging interval.*",
        ".*[Dd]irectory .* exists and is not empty.*",
        ".*could not find the monitored key.*",
        ".*recommended to use .*sync_dist=True.*",  # these metrics come from counts that are reduced already
        ".*Trying to infer the `batch_size`.*",
        ".*GPU available but not used.*",
        ".*LeafSpec.*deprecated.*",
        ".*lr_scheduler.step.*before.*optimizer.step.*",  # fp16: the scaler may skip the first steps
        ".*your dataloader is not resumable.*",  # last.ckpt stores the sampler's state
    ):
        warnings.filterwarnings("ignore", harmless)

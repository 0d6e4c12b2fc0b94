"""Lightning's Trainer as segnet uses it: whole checkpoints, a quiet terminal, and a stop where the loss is lost."""

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


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints whole or not at all, and reads them without running what they contain.

    Lightning's own is atomic only where the temporary folder is on the target's file system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        require_run_folder(Path(path).parent)  # or the folder would be created again, without what it held
        save_checkpoint(checkpoint, path)

    def load_checkpoint(self, path: Any, map_location: Any | None = None, weights_only: bool | None = None) -> Any:
        return read_checkpoint(path)


class SyncBatchNorms(TorchSyncBatchNorm):
    """Batch norms over the images of all processes, exactly where several train together on GPUs.

    A CPU has none, and a single process needs none.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        on_gpu = all(parameter.device.type == "cuda" for parameter in model.parameters())
        return super().apply(model) if on_gpu and num_processes() > 1 else model


def training_trainer(
    config: Config, output_dir: Path, callbacks: Sequence[Callback] = (), loggers: Sequence[Logger] = ()
) -> pl.Trainer:
    """The Trainer of a configuration: it writes checkpoints and metrics.csv into `output_dir` and shows progress.

    Args:
        callbacks: further ones; they see each event before the checkpoints are written.
        loggers: besides metrics.csv.

    Raises:
        ConfigError: an unknown or impossible option.
    """
    check_trainer_options(config.trainer)
    defaults: dict[str, Any] = {"num_sanity_val_steps": 0, "enable_model_summary": False}
    if config.deterministic:
        defaults["deterministic"] = True
    if config.profile and "profiler" in config.trainer:
        own = config.trainer["profiler"]
        raise ConfigError(f"profile=true brings a profiler of its own: leave out trainer.profiler={own}")
    if config.profile:
        defaults["profiler"] = StepProfiler(output_dir)
    progress = progress_callbacks()
    last = LastCheckpoint(output_dir, config.checkpoint_every, config.checkpoint_minutes)
    trainer = _trainer(
        {**defaults, **default_trainer(), **config.trainer, **precision_option(config)},
        logger=[MetricsLogger(output_dir, name="", version=""), *loggers],
        # last.ckpt first: it takes note of a validation's end before the best checkpoint is written there
        callbacks=[
            *callbacks,
            last,
            BestCheckpoint(output_dir),
            NonFiniteLoss(config.non_finite),
            UnlabeledCrops(),
            TryLargestImage(),
            *progress,
        ],
        plugins=[WholeCheckpointIO(), *([] if "sync_batchnorm" in config.trainer else [SyncBatchNorms()])],
        default_root_dir=output_dir,
        use_distributed_sampler=False,
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in progress),
    )
    validate_at_step_ends(trainer)
    return trainer


def evaluation_trainer(options: Mapping[str, Any], callbacks: Sequence[Callback] = ()) -> pl.Trainer:
    """A Trainer that only runs.

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
        raise ConfigError(f"trainer: Lightning refuses the options: {first_line(error)}") from None


def fit(trainer: pl.Trainer, task: pl.LightningModule, data: pl.LightningDataModule, checkpoint: Path | None) -> None:
    """Train, from a checkpoint on where there is one.

    Raises:
        ConfigError: options that Lightning refuses only now.
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
            "batches of an epoch: leave out trainer.check_val_every_n_epoch, and it counts across epochs"
        ) from None


def require_gpus_for_sync_batch_norm(trainer: pl.Trainer, task: pl.LightningModule) -> None:
    """Refuse what torch cannot do, before it starts processes that end in its error.

    Raises:
        ConfigError: several processes would synchronize batch norms on CPUs.
    """
    strategy = trainer.strategy
    if not isinstance(strategy, ParallelStrategy) or strategy.root_device.type != "cpu":
        return
    synchronized = any(isinstance(layer, nn.SyncBatchNorm) for layer in task.modules())
    if synchronized or not isinstance(strategy._layer_sync, SyncBatchNorms | None):
        raise ConfigError(
            "sync batch norm of several processes needs GPUs: use norm.name=group, or leave out norm.name=sync_batch "
            "and trainer.sync_batchnorm"
        )


class BestCheckpoint(ModelCheckpoint):
    """Writes best.ckpt, of the highest val/miou.

    A val split without a labeled pixel has no mIoU: Lightning would take its NaN for the lowest there is, and keep it.

    Attributes:
        saw_no_labels: whether there was such a validation.
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
            save_on_train_epoch_end=False,  # but with the validation: the epoch's last.ckpt has to know of it
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
    """best.ckpt of a finished run; of a run that ended before its first validation, a copy of last.ckpt.

    Where no validation had a labeled pixel nothing says which weights are best, and it is last.ckpt itself.

    Raises:
        ConfigError: nothing was written.
    """
    best, last = folder / "best.ckpt", folder / "last.ckpt"
    callbacks = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, BestCheckpoint)]
    if any(callback.best_model_score is not None for callback in callbacks):
        return best
    if not last.exists():
        raise ConfigError("no checkpoint was written: the run ended before its first epoch did")
    if any(callback.saw_no_labels for callback in callbacks):
        log.warning(
            "no best checkpoint could be chosen: the val split has no labeled pixel, hence no mIoU (segnet inspect "
            "tells more); what follows is of last.ckpt"
        )
        return last
    log.info("the run ended before its first validation: its last weights count as its best")
    with replacing(best) as temporary:
        shutil.copyfile(last, temporary)
    return best


def quieten_lightning() -> None:
    """Hides Lightning's advertisements and the warnings that say nothing to our users."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    for harmless in (
        ".*does not have many workers.*",
        ".*number of training batches.*smaller than the logging interval.*",
        ".*[Dd]irectory .* exists and is not empty.*",
        ".*could not find the monitored key.*",
        ".*recommended to use .*sync_dist=True.*",  # what is logged so comes from counts that are summed already
        ".*Trying to infer the `batch_size`.*",
        ".*GPU available but not used.*",
        ".*LeafSpec.*deprecated.*",
        ".*lr_scheduler.step.*before.*optimizer.step.*",  # fp16: the scaler may skip the first steps
        ".*your dataloader is not resumable.*",  # what the sampler needs is in last.ckpt's position
    ):
        warnings.filterwarnings("ignore", harmless)

"""last.ckpt: exact resumption, as if the run had never stopped.

A checkpoint is written before a batch, before a validation, or after an epoch. It contains the weights, the optimizer
and the callbacks. It also contains the resume point (next epoch and batch, whether a validation is due), the random
number generator state of every process, and the rows of metrics.csv. Sample order and augmentation need no state: they
are functions of (seed, epoch, index).
"""

import csv
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from segnet.errors import ConfigError, Interrupted, MachineError
from segnet.system.files import replacing
from segnet.system.signals import StopRequest, name_of
from segnet.training.callbacks.resume_point import ResumePoint, resume_point_of, set_counters
from segnet.training.distributed import all_gather_states, all_reduce_max
from segnet.training.run_folder import require_run_folder

log = logging.getLogger(__name__)


class MetricsLogger(CSVLogger):
    """Lightning's CSV logger with a single file, which a resumed run continues."""

    def rows(self) -> str:
        """Return the file's text: the header and all logged rows."""
        self.save()
        path = Path(self.experiment.metrics_file_path)
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def restore_rows(self, rows: str) -> None:
        """Replace the file's rows with those of a checkpoint, and append from there."""
        if rows:
            with replacing(Path(self.experiment.metrics_file_path)) as temporary:
                temporary.write_text(rows, encoding="utf-8")
            self.experiment.metrics_keys = next(csv.reader([rows.splitlines()[0]]))


class LastCheckpoint(Checkpoint):
    """Writes last.ckpt before each validation, at the end of each epoch, and at intervals within an epoch.

    After SIGTERM or another signal to stop, all processes stop together at the next batch.

    Args:
        folder: the run folder.
        every: steps between checkpoints within an epoch; None disables them.
        minutes: time between checkpoints [min]; None disables them.

    Raises:
        ConfigError: an interval of 0 or less.
    """

    def __init__(self, folder: Path, every: int | None = None, minutes: float | None = None) -> None:
        for option, value in (("checkpoint_every", every), ("checkpoint_minutes", minutes)):
            if value is not None and value <= 0:
                raise ConfigError(f"{option}={value} must be above 0, or null")
        self.path = folder / "last.ckpt"
        self._every, self._minutes = every, minutes
        self._request = StopRequest()
        self._phase = "batch"  # the last hook: it determines the meaning of the loops' counters
        self._saved_at, self._saved_step = time.monotonic(), 0
        self._common_batches = 0  # validation batches that every process has
        self._restored: Mapping[str, Any] | None = None
        self._max_steps: int | None = None  # original value while a validation is due
        self._trainer: pl.Trainer | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._trainer = trainer
        self.path = Path(trainer.strategy.broadcast(str(self.path)))  # rank zero's folder

    # Saving: the hooks

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._request.listen()  # replaces Lightning's handlers, which hang or exit with 0
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._phase = "batch"
        self._restore_rng_state(trainer)
        signum, due = all_reduce_max(trainer, [self._request.signum, self._is_due(trainer)])
        if batch_idx % trainer.accumulate_grad_batches:
            return  # within a gradient accumulation: a checkpoint does not contain accumulated gradients
        if signum:
            self._save(trainer)
        elif due:
            self._save_or_warn(trainer)
        self._end_if(signum, trainer)

    def _is_due(self, trainer: pl.Trainer) -> bool:
        if trainer.global_step == self._saved_step:
            return False
        if self._every is not None and trainer.global_step % self._every == 0:
            return True
        return self._minutes is not None and time.monotonic() - self._saved_at >= 60 * self._minutes

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if _validates_during_training(trainer):
            self._phase = "validation"
            self._restore_rng_state(trainer)
            self._save(trainer)
            batches = int(sum(trainer.num_val_batches))
            self._common_batches = -all_reduce_max(trainer, [-batches])[0]

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if _validates_during_training(trainer) and batch_idx < self._common_batches:
            # last.ckpt was saved when the validation began
            self._end_if(all_reduce_max(trainer, [self._request.signum])[0], trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if _validates_during_training(trainer):
            self._phase = "validated"
            if self._max_steps is not None:
                trainer.fit_loop.epoch_loop.max_steps, self._max_steps = self._max_steps, None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._phase = "epoch"
        clocked = math.isinf(trainer.estimated_stepping_batches) and not trainer.should_stop
        if not clocked or self._is_due(trainer):  # with a budget, short epochs write no checkpoint
            self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end_if(all_reduce_max(trainer, [self._request.signum])[0], trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step

    def _save_or_warn(self, trainer: pl.Trainer) -> None:
        """Save within an epoch. If the disk is full, log a warning: the next save may succeed."""
        try:
            self._save(trainer)
        except MachineError as error:  # in rank zero; the other processes wait at the barrier after their save
            require_run_folder(self.path.parent)
            log.warning("%s; the run continues, and the previous checkpoint is unchanged", error)
            trainer.strategy.barrier()
            self._saved_at, self._saved_step = time.monotonic(), trainer.global_step

    def _end_if(self, signum: int, trainer: pl.Trainer) -> None:
        if signum:
            message = f"{name_of(signum)} at step {trainer.global_step}: resume with checkpoint={self.path}"
            raise Interrupted(signum, message if trainer.is_global_zero else "")

    # Saving: the state

    def state_dict(self) -> dict[str, Any]:
        trainer = self._trainer
        assert trainer is not None
        return {
            **asdict(self._resume_point(trainer)),
            "randomness": all_gather_states(trainer, _rng_state(trainer)),
            "metrics": "".join(logger.rows() for logger in _metrics_loggers(trainer)),
        }

    def _resume_point(self, trainer: pl.Trainer) -> ResumePoint:
        loop = trainer.fit_loop
        epoch: int = loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        batches = loop.epoch_loop.batch_progress.current.completed
        logged_steps = loop.epoch_loop._batches_that_stepped
        if self._phase == "validation":
            return ResumePoint(epoch, batches, True, logged_steps)
        if self._phase == "validated" and not loop.epoch_loop._should_accumulate():
            logged_steps += 1  # Lightning increments its counter right after this hook
        if self._phase == "epoch":
            epoch -= 1  # Lightning has counted this epoch already
        if batches >= trainer.num_training_batches:
            epoch, batches = epoch + 1, 0
        return ResumePoint(epoch, batches, False, logged_steps, trainer.should_stop)

    # Resuming

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        state = checkpoint["callbacks"].get(self.state_key)
        loops = checkpoint["loops"]["fit_loop"]
        point = ResumePoint(**{key: state[key] for key in ResumePoint.__slots__}) if state else resume_point_of(loops)
        max_epochs = trainer.max_epochs
        if max_epochs is not None and 0 <= max_epochs < point.epoch:
            raise ConfigError(
                f"trainer.max_epochs={max_epochs} is below the {point.epoch} epochs that the checkpoint has completed"
            )
        steps = loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]["completed"]
        at_the_end = 0 <= trainer.max_steps <= steps
        if at_the_end and point.owes_validation:
            self._max_steps = trainer.max_steps  # otherwise Lightning would stop before the validation
            trainer.fit_loop.epoch_loop.max_steps = steps + 1
        elif at_the_end and point.batches:  # Lightning counts an epoch that max_steps cut short
            point = replace(point, epoch=point.epoch + 1, batches=0)
        set_counters(loops, point)
        self._restored = {**(state or {}), "point": point}
        if point.stopped:
            trainer.should_stop = True
        trainer.datamodule.resume(point.epoch, point.batches)  # type: ignore[attr-defined]  # it is ours
        _adopt_best(trainer, checkpoint["callbacks"])
        for logger in _metrics_loggers(trainer):
            logger.restore_rows(state["metrics"] if state else "")

    def _restore_rng_state(self, trainer: pl.Trainer) -> None:
        """Restore the generators before the first batch or validation of a resumed run, after everything else."""
        if self._restored is None:
            return
        restored, self._restored = self._restored, None
        if not restored["point"].owes_validation:
            trainer.fit_loop.epoch_loop._batches_that_stepped = restored["point"].logged_steps
        states = restored.get("randomness")
        if states is not None and len(states) == trainer.world_size:
            _set_rng_state(trainer, states[trainer.global_rank])


def _adopt_best(trainer: pl.Trainer, states: dict[str, Any]) -> None:
    """Keep the best checkpoint of a moved run folder, although Lightning expects the same path."""
    for callback in trainer.checkpoint_callbacks:
        state = states.get(callback.state_key)
        if not isinstance(callback, ModelCheckpoint) or state is None or state["dirpath"] == callback.dirpath:
            continue
        best = Path(str(callback.dirpath)) / Path(state["best_model_path"]).name
        if not best.is_file():
            del states[callback.state_key]
            continue
        state |= {"dirpath": callback.dirpath, "best_model_path": str(best), "kth_best_model_path": str(best)}
        state["best_k_models"] = {str(best): state["best_model_score"]}


def _validates_during_training(trainer: pl.Trainer) -> bool:
    return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking


def _metrics_loggers(trainer: pl.Trainer) -> list[MetricsLogger]:
    """Return rank zero's metrics.csv loggers; the other processes log nothing."""
    return [logger for logger in trainer.loggers if isinstance(logger, MetricsLogger) and trainer.is_global_zero]


def _rng_state(trainer: pl.Trainer) -> Tensor:
    """Return the state of this process's random number generators, uint8; dropout and stochastic depth use them."""
    states = [torch.get_rng_state()]
    if trainer.strategy.root_device.type == "cuda":
        states.append(torch.cuda.get_rng_state(trainer.strategy.root_device))
    return torch.cat(states)


def _set_rng_state(trainer: pl.Trainer, state: Tensor) -> None:
    size = len(torch.get_rng_state())
    torch.set_rng_state(state[:size].clone())
    if trainer.strategy.root_device.type == "cuda" and len(state) > size:
        torch.cuda.set_rng_state(state[size:].clone(), trainer.strategy.root_device)

"""last.ckpt: written between steps, and read so that a run resumes as if it had never stopped.

A checkpoint is written before a batch, before a validation, or after an epoch. With the weights, the optimizer and the
callbacks it holds the position (which batch of which epoch comes next, and whether a validation is still owed), the
state of every process's random numbers, and the rows of metrics.csv. Order and augmentation need no state: they are
functions of (seed, epoch, index).
"""

import csv
import logging
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
from segnet.training.callbacks.position import Position, set_counters, told_by
from segnet.training.distributed import agreed, gathered
from segnet.training.run_folder import require_run_folder

log = logging.getLogger(__name__)


class MetricsLogger(CSVLogger):
    """Lightning's CSV logger in one file, whose rows can be taken up again."""

    def rows(self) -> str:
        """All that was logged, as it stands in the file."""
        self.save()
        path = Path(self.experiment.metrics_file_path)
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def take_up(self, rows: str) -> None:
        """Continue behind these rows instead of those in the file."""
        if rows:
            with replacing(Path(self.experiment.metrics_file_path)) as temporary:
                temporary.write_text(rows, encoding="utf-8")
            self.experiment.metrics_keys = next(csv.reader([rows.splitlines()[0]]))


class LastCheckpoint(Checkpoint):
    """Writes last.ckpt: before each validation, at the end of each epoch, and within it as often as asked.

    A signal that asks the run to end is obeyed at the next batch, by all processes together.

    Args:
        folder: of the run.
        every: steps between checkpoints within an epoch; None: none by steps.
        minutes: time between checkpoints; None: none by time.

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
        self._phase = "batch"  # the hook that was called last: it tells what the loops' counters mean
        self._saved_at, self._saved_step = time.monotonic(), 0
        self._common_batches = 0  # of a validation: the batches that every process has
        self._restored: Mapping[str, Any] | None = None
        self._max_steps: int | None = None  # set aside while a validation is owed
        self._trainer: pl.Trainer | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._trainer = trainer
        self.path = Path(trainer.strategy.broadcast(str(self.path)))  # the first process's folder is everyone's

    # When to write

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._request.listen()  # only now: Lightning's own handlers hang, or exit with 0
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._phase = "batch"
        self._take_up_randomness(trainer)
        signum, due = agreed(trainer, [self._request.signum, self._is_due(trainer)])
        if batch_idx % trainer.accumulate_grad_batches:
            return  # gradients are held back for the next step: they are in no checkpoint
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
        if _validates_a_training(trainer):
            self._phase = "validation"
            self._take_up_randomness(trainer)
            self._save(trainer)
            batches = int(sum(trainer.num_val_batches))
            self._common_batches = -agreed(trainer, [-batches])[0]

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if _validates_a_training(trainer) and batch_idx < self._common_batches:
            self._end_if(agreed(trainer, [self._request.signum])[0], trainer)  # saved when it began

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if _validates_a_training(trainer):
            self._phase = "validated"
            if self._max_steps is not None:
                trainer.fit_loop.epoch_loop.max_steps, self._max_steps = self._max_steps, None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._phase = "epoch"
        self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end_if(agreed(trainer, [self._request.signum])[0], trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step

    def _save_or_warn(self, trainer: pl.Trainer) -> None:
        """Within an epoch a full disk is no reason to end: the next save may find space again."""
        try:
            self._save(trainer)
        except MachineError as error:  # in the first process: the others wait for it behind their save
            require_run_folder(self.path.parent)
            log.warning("%s; the run continues, and the checkpoint before is unchanged", error)
            trainer.strategy.barrier()
            self._saved_at, self._saved_step = time.monotonic(), trainer.global_step

    def _end_if(self, signum: int, trainer: pl.Trainer) -> None:
        if signum:
            message = f"{name_of(signum)} at step {trainer.global_step}: resume with checkpoint={self.path}"
            raise Interrupted(signum, message if trainer.is_global_zero else "")

    # What is written

    def state_dict(self) -> dict[str, Any]:
        trainer = self._trainer
        assert trainer is not None
        return {
            **asdict(self._position(trainer)),
            "randomness": gathered(trainer, _randomness(trainer)),
            "metrics": "".join(logger.rows() for logger in _metrics_loggers(trainer)),
        }

    def _position(self, trainer: pl.Trainer) -> Position:
        loop = trainer.fit_loop
        epoch: int = loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        batches = loop.epoch_loop.batch_progress.current.completed
        logged_steps = loop.epoch_loop._batches_that_stepped
        if self._phase == "validation":
            return Position(epoch, batches, True, logged_steps)
        if self._phase == "validated" and not loop.epoch_loop._should_accumulate():
            logged_steps += 1  # Lightning does it next
        if self._phase == "epoch":
            epoch -= 1  # counted already
        if batches >= trainer.num_training_batches:
            epoch, batches = epoch + 1, 0
        return Position(epoch, batches, False, logged_steps, trainer.should_stop)

    # How a run resumes

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        state = checkpoint["callbacks"].get(self.state_key)
        loops = checkpoint["loops"]["fit_loop"]
        position = Position(**{key: state[key] for key in Position.__slots__}) if state else told_by(loops)
        max_epochs = trainer.max_epochs
        if max_epochs is not None and 0 <= max_epochs < position.epoch:
            raise ConfigError(f"trainer.max_epochs={max_epochs}, but the checkpoint has had {position.epoch} epochs")
        steps = loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]["completed"]
        at_the_end = 0 <= trainer.max_steps <= steps
        if at_the_end and position.owes_validation:
            self._max_steps = trainer.max_steps  # or Lightning would end before the validation
            trainer.fit_loop.epoch_loop.max_steps = steps + 1
        elif at_the_end and position.batches:  # Lightning counts an epoch that was cut short
            position = replace(position, epoch=position.epoch + 1, batches=0)
        set_counters(loops, position)
        self._restored = {**(state or {}), "position": position}
        if position.stopped:
            trainer.should_stop = True
        trainer.datamodule.resume(position.epoch, position.batches)  # type: ignore[attr-defined]  # it is ours
        _adopt_best(trainer, checkpoint["callbacks"])
        for logger in _metrics_loggers(trainer):
            logger.take_up(state["metrics"] if state else "")

    def _take_up_randomness(self, trainer: pl.Trainer) -> None:
        """Before the first batch or validation of a resumed run, when all else is in place."""
        if self._restored is None:
            return
        restored, self._restored = self._restored, None
        if not restored["position"].owes_validation:
            trainer.fit_loop.epoch_loop._batches_that_stepped = restored["position"].logged_steps
        states = restored.get("randomness")
        if states is not None and len(states) == trainer.world_size:
            _set_randomness(trainer, states[trainer.global_rank])


def _adopt_best(trainer: pl.Trainer, states: dict[str, Any]) -> None:
    """Lets a run whose folder was moved keep its best checkpoint: Lightning wants the very same path."""
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


def _validates_a_training(trainer: pl.Trainer) -> bool:
    return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking


def _metrics_loggers(trainer: pl.Trainer) -> list[MetricsLogger]:
    """Of the first process; the others have nothing to log."""
    return [logger for logger in trainer.loggers if isinstance(logger, MetricsLogger) and trainer.is_global_zero]


def _randomness(trainer: pl.Trainer) -> Tensor:
    """State of this process's generators, uint8: dropout and stochastic depth draw from them."""
    states = [torch.get_rng_state()]
    if trainer.strategy.root_device.type == "cuda":
        states.append(torch.cuda.get_rng_state(trainer.strategy.root_device))
    return torch.cat(states)


def _set_randomness(trainer: pl.Trainer, state: Tensor) -> None:
    size = len(torch.get_rng_state())
    torch.set_rng_state(state[:size].clone())
    if trainer.strategy.root_device.type == "cuda" and len(state) > size:
        torch.cuda.set_rng_state(state[size:].clone(), trainer.strategy.root_device)

"""The clock of a run with a time budget: it drives the learning rate schedule, and ends the run.

Progress is the fraction of the training time that is used. The training time is what the budget leaves after the
validations to come, the final evaluation and the report, whose durations are estimated first and then measured. The
time used is in every checkpoint, so that a killed run resumes within what is left.
"""

import math
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

now = time.monotonic  # tests put another clock here
VALIDATION_TIME = 0.12  # largest fraction of the time between two validations that one of them takes
NEVER = 2**31  # batches
RESERVE = 1.1  # factor on durations that are still to come


class BudgetClock(Callback):
    """Measures the time that a run uses, over all its parts.

    Args:
        budget: time of the whole run [s].
        elapsed: time that this process has used before the clock was made [s].

    Attributes:
        validation: duration of a validation with its checkpoints [s].
        ending: duration of what follows the last validation: the final evaluation and the report [s].
        planned_steps: optimizer steps that are expected.
        warmup_share: fraction of the training time after which the warm-up has ended; 1: its steps alone count.
        interval: batches between two validations, which grows if they take long; None: after epochs.
    """

    def __init__(self, budget: float, elapsed: float = 0.0) -> None:
        self.budget = budget
        self.validation = self.ending = 0.0
        self.planned_steps = 0
        self.warmup_share = 1.0
        self._last_part = False  # no validation but the last one is to come
        self.interval: int | None = None
        self._start = now() - elapsed
        self._used_before = 0.0  # by earlier parts of the run
        self._trained = 0.0  # time of training steps, over all parts
        self._steps = 0  # of those
        self._mark: float | None = None
        self._validation_start: float | None = None
        self._progress = 0.0

    @property
    def used(self) -> float:
        """Time used so far, over all parts of the run [s]."""
        return self._used_before + now() - self._start

    @property
    def left(self) -> float:
        """Time left of the budget [s]; negative once it is exceeded."""
        return self.budget - self.used

    @property
    def step(self) -> float:
        """Mean duration of a batch [s]; 0 before the first."""
        return self._trained / self._steps if self._steps else 0.0

    def training_left(self) -> float:
        """Time left for training steps, without the validations to come [s]."""
        remaining = self.left - RESERVE * (self.validation + self.ending)
        others = self.interval and self.step and not self._last_part
        share = self.validation / (self.interval * self.step) if self.interval and others else 0.0
        return remaining / (1 + share)

    def progress(self) -> float:
        """Fraction of the training time that is used, 0-1; it never decreases."""
        remaining = self.training_left()
        done = self._trained / (self._trained + remaining) if remaining > 0 else 1.0
        self._progress = max(self._progress, min(1.0, done))
        return self._progress

    # Lightning's hooks

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.training_left() <= 0:
            self._stop(trainer)
        elif trainer.should_stop:  # an earlier, smaller budget ended it
            trainer.should_stop = False
        interval = trainer.val_check_batch
        if isinstance(interval, int) and trainer.check_val_every_n_epoch is None and not trainer.should_stop:
            self.interval = trainer.val_check_batch = max(interval, self.interval or 0)
        self._mark = now()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._validation_start is not None:
            self._mark = now()
            self.validation = self._mark - self._validation_start
            self._validation_start = None
            if self.interval and self.step:
                steps = math.ceil(self.validation / (VALIDATION_TIME * self.step * trainer.accumulate_grad_batches))
                self.interval = trainer.val_check_batch = max(self.interval, steps * trainer.accumulate_grad_batches)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        end = now()
        self._trained += end - (end if self._mark is None else self._mark)
        self._steps += 1
        self._mark = end
        left = self.training_left()
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and left < self.step / 2:
            self._stop(trainer)
        elif self.interval and left < max(self.validation, self.interval * self.step / 2):
            self._last_part = True
            trainer.val_check_batch = NEVER

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validation_start = now()

    def _stop(self, trainer: pl.Trainer) -> None:
        """End the run with a validation, whatever its interval."""
        trainer.should_stop = True
        trainer.val_check_batch = 1
        trainer.check_val_every_n_epoch = 1

    def state_dict(self) -> dict[str, Any]:
        return {
            "used": self.used,
            "trained": self._trained,
            "steps": self._steps,
            "validation": self.validation,
            "ending": self.ending,
            "interval": self.interval,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._used_before = float(state_dict["used"])
        self._trained, self._steps = float(state_dict["trained"]), int(state_dict["steps"])
        self.interval = state_dict["interval"]
        self.validation, self.ending = float(state_dict["validation"]), float(state_dict["ending"])


def budget_clock(trainer: pl.Trainer) -> BudgetClock | None:
    """Return the clock among a Trainer's callbacks; None for a run without a budget."""
    return next((found for found in getattr(trainer, "callbacks", ()) if isinstance(found, BudgetClock)), None)

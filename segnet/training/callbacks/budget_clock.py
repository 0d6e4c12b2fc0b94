"""Clock of a run with a time budget: drive the learning rate schedule, and end the run in time.

Progress is the used fraction of the training time. The training time is the budget without the remaining validations,
the final evaluation and the report; their durations are first estimated, then measured. If the last steps take longer
than the steps at the time of that measurement, the machine has become busier, and the durations grow as much.

Every checkpoint stores the time used, and a small file in the run folder stores it every few seconds. A killed run
resumes with the rest of its budget: what it did after its last checkpoint is lost, but its time counts.
"""

import contextlib
import logging
import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from segnet.errors import MachineError
from segnet.system.files import replacing

log = logging.getLogger(__name__)

USED_TIME = "used_time.txt"  # the time used [s], in the run folder
USED_TIME_INTERVAL = 5.0  # time between two writes of this file [s]
now = time.monotonic  # tests replace it by a simulated clock
VALIDATION_TIME = 0.12  # largest duration of a validation, as a fraction of the time between two
NEVER = 2**31  # validation interval without any validation [batches]
RESERVE = 1.25  # safety factor on estimated durations, which covers a machine that becomes a quarter slower
FIRST_STEPS = 10  # steps after which their duration is that of the probe's time
RECENT_WEIGHT = 0.2  # weight of the last step in the recent duration of a step
MAX_RESERVE = 4.0  # limit on the factor, if the machine has become even slower


class BudgetClock(Callback):
    """Measure the time that a run uses, and stop the run before its budget is exceeded.

    Args:
        budget: duration of the whole run [s].
        elapsed: time that the process used before the clock was created [s].

    Attributes:
        validation: duration of a validation and its checkpoints [s].
        ending: duration of the final evaluation and the report [s].
        planned_steps: expected number of optimizer steps.
        warmup_fraction: fraction of the training time after which the warm-up ends at the latest; 1: no limit.
        interval: batches between two validations; it grows if validations are slow. None: validation after epochs.
    """

    def __init__(self, budget: float, elapsed: float = 0.0) -> None:
        self.budget = budget
        self.validation = self.ending = 0.0
        self.planned_steps = 0
        self.warmup_fraction = 1.0
        self._last_part = False  # only the final validation remains
        self.interval: int | None = None
        self._start = now() - elapsed
        self._used_before = 0.0  # before the run was resumed [s]
        self._trained = 0.0  # duration of all training steps of the run [s]
        self._steps = 0  # number of these training steps
        self._recent = 0.0  # duration of the last steps, exponentially averaged [s]
        self._recent_then = 0.0  # the same when `validation` and `ending` were estimated [s]; 0: unknown
        self._mark: float | None = None
        self._validation_start: float | None = None
        self._progress = 0.0
        self._is_resumed = False
        self._noted = -math.inf  # when the used time was last written

    @property
    def used(self) -> float:
        """Time used so far, including the time before the run was resumed [s]."""
        return self._used_before + now() - self._start

    @property
    def left(self) -> float:
        """Remaining time of the budget [s]; negative if it is exceeded."""
        return self.budget - self.used

    @property
    def step(self) -> float:
        """Mean duration of a batch [s]; 0 before the first."""
        return self._trained / self._steps if self._steps else 0.0

    def training_left(self) -> float:
        """Return the time left for training steps, without the remaining validations [s]."""
        remaining = self.left - self._reserve() * (self.validation + self.ending)
        others = self.interval and self.step and not self._last_part
        share = self.validation / (self.interval * self.step) if self.interval and others else 0.0
        return remaining / (1 + share)

    def _reserve(self) -> float:
        """Return the factor on estimated durations: `RESERVE`, or how much slower the machine has become since."""
        slowdown = self._recent / self._recent_then if self._recent_then else 1.0
        return min(max(RESERVE, slowdown), MAX_RESERVE)

    def progress(self) -> float:
        """Return the used fraction of the training time, 0-1; it never decreases."""
        remaining = self.training_left()
        done = self._trained / (self._trained + remaining) if remaining > 0 else 1.0
        self._progress = max(self._progress, min(1.0, done))
        return self._progress

    # Lightning's hooks

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._is_resumed:
            self._used_before = max(self._used_before, noted_time(Path(trainer.default_root_dir)))
            log.info("budget: %.0f of %.0f s used, with the time before the run stopped", self.used, self.budget)
        self._note(trainer)
        if self.training_left() <= 0:
            self._stop(trainer)
        elif trainer.should_stop:  # stopped before by a smaller budget
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
            self.ending = max(0.0, self.ending + self._mark - self._validation_start - self.validation)
            self.validation = self._mark - self._validation_start
            self._validation_start = None
            self._recent_then = self._recent
            if self.interval and self.step:
                steps = math.ceil(self.validation / (VALIDATION_TIME * self.step * trainer.accumulate_grad_batches))
                self.interval = trainer.val_check_batch = max(self.interval, steps * trainer.accumulate_grad_batches)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        end = now()
        if self._mark is not None:
            duration = end - self._mark
            self._trained += duration
            self._recent += (RECENT_WEIGHT if self._recent else 1.0) * (duration - self._recent)
        self._steps += 1
        if self._steps == FIRST_STEPS and not self._recent_then:
            self._recent_then = self._recent  # the probe estimated the durations just before
        self._mark = end
        left = self.training_left()
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and left < self.step / 2:
            self._stop(trainer)
        elif self.interval and left < max(self.validation, self.interval * self.step / 2):
            self._last_part = True
            trainer.val_check_batch = NEVER
        self._note(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validation_start = now()

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._note(trainer)

    def _note(self, trainer: pl.Trainer) -> None:
        """Write the used time, unless it was written just before; the disk may be full, and the folder deleted."""
        if now() - self._noted < USED_TIME_INTERVAL:
            return
        self._noted = now()
        path = Path(trainer.default_root_dir) / USED_TIME
        if path.parent.is_dir():
            with contextlib.suppress(MachineError), replacing(path, durable=False) as temporary:
                temporary.write_text(f"{self.used:.1f}\n", encoding="utf-8")

    def _stop(self, trainer: pl.Trainer) -> None:
        """Stop the run after a final validation, regardless of the validation interval."""
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
        self._is_resumed = True
        self._used_before = float(state_dict["used"])
        self._trained, self._steps = float(state_dict["trained"]), int(state_dict["steps"])
        self.interval = state_dict["interval"]
        self.validation, self.ending = float(state_dict["validation"]), float(state_dict["ending"])


def noted_time(folder: Path) -> float:
    """Return the used time that the file in a run folder stores [s]; 0 if there is none, or it is damaged."""
    try:
        seconds = float((folder / USED_TIME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0


def budget_clock(trainer: pl.Trainer) -> BudgetClock | None:
    """Return the clock among a Trainer's callbacks; None for a run without a budget."""
    return next((found for found in getattr(trainer, "callbacks", ()) if isinstance(found, BudgetClock)), None)

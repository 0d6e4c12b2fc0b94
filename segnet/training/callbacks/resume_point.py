"""Resume point of a run, and its translation to the loop counters of Lightning 2.6 (`pytorch_lightning.loops`).

Lightning's counters alone do not resume exactly: Lightning repeats or skips the validation after the last batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """The point from which a run resumes. The checkpoint stores these fields by name.

    Attributes:
        epoch: the current or next epoch, from 0.
        batches: completed batches of this epoch per process.
        owes_validation: whether the validation after these batches is still due.
        logged_steps: Lightning's step count for loggers.
        stopped: whether the run ended early, for example by early stopping.
    """

    epoch: int
    batches: int = 0
    owes_validation: bool = False
    logged_steps: int = 0
    stopped: bool = False


def resume_point_of(loops: Mapping[str, Any]) -> ResumePoint:
    """Derive the resume point from Lightning's counters, for checkpoints that do not store it.

    Such checkpoints were written after an epoch or after its validation.
    """
    epochs, last = loops["epoch_progress"]["current"], loops["epoch_loop.batch_progress"]["is_last_batch"]
    under_way = epochs["ready"] != epochs["processed"]
    logged_steps = loops["epoch_loop.state_dict"]["_batches_that_stepped"]
    if under_way and last:
        return ResumePoint(epochs["processed"] + 1, logged_steps=logged_steps + 1)
    return ResumePoint(epochs["processed"], logged_steps=logged_steps)


def set_counters(loops: dict[str, Any], point: ResumePoint) -> None:
    """Set Lightning's counters so that it resumes at the given point.

    Lightning continues an epoch that was started and not processed. It skips the validation after the completed
    batches, unless that validation was started and not processed.
    """

    def counts(done: int, under_way: int = 0) -> dict[str, int]:
        return {"ready": done + under_way, "started": done + under_way, "processed": done, "completed": done}

    epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
    epochs["total"] = epochs["current"] = counts(point.epoch, 1)
    batches["total"] = counts(batches["total"]["completed"])
    batches["current"] = counts(point.batches)
    batches["is_last_batch"] = point.owes_validation and batches["is_last_batch"]
    loops["epoch_loop.state_dict"]["_batches_that_stepped"] = point.logged_steps
    validation = loops["epoch_loop.val_loop.batch_progress"]
    validation["total"], validation["current"] = counts(0, int(point.owes_validation)), counts(0)
    validation["is_last_batch"] = False

"""Where a run stands, and Lightning's counters (of `pytorch_lightning.loops`, 2.6) that say the same.

Lightning does not resume exactly from its counters alone: it repeats or skips the validation behind the last batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run stands.

    Attributes:
        epoch: the epoch that comes next or is under way, from 0.
        batches: how many of its batches each process has had.
        owes_validation: whether the validation after those comes first.
        logged_steps: Lightning's count of steps for the loggers.
        stopped: whether the run ended before its time, as by early stopping.
    """

    epoch: int
    batches: int = 0
    owes_validation: bool = False
    logged_steps: int = 0
    stopped: bool = False


def told_by(loops: Mapping[str, Any]) -> Position:
    """The position in a checkpoint without one, written after an epoch or its validation."""
    epochs, last = loops["epoch_progress"]["current"], loops["epoch_loop.batch_progress"]["is_last_batch"]
    under_way = epochs["ready"] != epochs["processed"]
    logged_steps = loops["epoch_loop.state_dict"]["_batches_that_stepped"]
    if under_way and last:
        return Position(epochs["processed"] + 1, logged_steps=logged_steps + 1)
    return Position(epochs["processed"], logged_steps=logged_steps)


def set_counters(loops: dict[str, Any], position: Position) -> None:
    """Sets Lightning's counters so that it resumes at a position.

    It takes an epoch as under way if it was started and not processed; it skips the validation after the batches that
    it had, unless the validation was started and not processed.
    """

    def counts(done: int, under_way: int = 0) -> dict[str, int]:
        return {"ready": done + under_way, "started": done + under_way, "processed": done, "completed": done}

    epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
    epochs["total"] = epochs["current"] = counts(position.epoch, 1)
    batches["total"] = counts(batches["total"]["completed"])
    batches["current"] = counts(position.batches)
    batches["is_last_batch"] = position.owes_validation and batches["is_last_batch"]
    loops["epoch_loop.state_dict"]["_batches_that_stepped"] = position.logged_steps
    validation = loops["epoch_loop.val_loop.batch_progress"]
    validation["total"], validation["current"] = counts(0, int(position.owes_validation)), counts(0)
    validation["is_last_batch"] = False

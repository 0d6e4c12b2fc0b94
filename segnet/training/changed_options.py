"""Options of the optimizer that changed when a run resumes."""

import logging

import pytorch_lightning as pl
from torch.optim.lr_scheduler import LambdaLR

from segnet.training.callbacks.budget_clock import budget_clock
from segnet.training.optim import Groups, apply_hyperparameters

log = logging.getLogger(__name__)


def apply_changed_options(trainer: pl.Trainer, configured: Groups) -> None:
    """Replace the restored options of the optimizer by the configured ones, and log a change of the learning rate.

    Args:
        trainer: the Trainer of a resumed run, after it has restored its checkpoint.
        configured: the options of each parameter group, see `segnet.training.optim.hyperparameters`.
    """
    schedule, num_steps = trainer.lr_scheduler_configs[0].scheduler, trainer.estimated_stepping_batches
    assert isinstance(schedule, LambdaLR)
    if schedule.last_epoch + 1 >= num_steps:  # only a validation is left, for which one more step is counted
        return
    before, now = apply_hyperparameters(schedule, configured)
    if before != now and trainer.is_global_zero and budget_clock(trainer) is None:
        log.warning(
            "the learning rate changes from %.3g to %.3g at step %d of %d: the options differ from the run's start",
            before,
            now,
            trainer.global_step,
            num_steps,
        )

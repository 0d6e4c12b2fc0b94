"""Lightning's training epoch loop with validations between optimizer steps only.

With ``accumulate_grad_batches`` a validation can be due between two accumulated batches. The checkpoint written before
it would lack their gradients, and a resumed run could not repeat the step. segnet delays such a validation to the step.
"""

import pytorch_lightning as pl
from pytorch_lightning.loops.fetchers import _DataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop


class StepAlignedEpochLoop(_TrainingEpochLoop):
    """Epoch loop that delays validations during gradient accumulation to the next optimizer step.

    The batch counters alone decide when a validation is due. A resumed run therefore validates at the same steps.
    """

    def _should_check_val_fx(self, data_fetcher: _DataFetcher) -> bool:
        if self._should_accumulate():
            return False
        if super()._should_check_val_fx(data_fetcher):
            return True
        return self._should_check_val_epoch() and self._was_due_since_the_last_step()

    def _was_due_since_the_last_step(self) -> bool:
        interval = self.trainer.val_check_batch
        if interval is None or interval == float("inf"):  # a dataset without a length is validated after its last batch
            return False
        done = self.batch_progress.current.ready
        accumulated = (done - 1) % self.trainer.accumulate_grad_batches + 1
        if self.trainer.check_val_every_n_epoch is None:  # the interval counts batches across epochs
            done = self.total_batch_idx + 1
        return done // interval > (done - accumulated) // interval


def validate_at_step_ends(trainer: pl.Trainer) -> None:
    """Replace the epoch loop of a Trainer before it starts."""
    loop = trainer.fit_loop.epoch_loop
    trainer.fit_loop.epoch_loop = StepAlignedEpochLoop(trainer, loop.min_steps, loop.max_steps)

"""Lightning's training epoch loop with validations between optimizer steps only.

With ``accumulate_grad_batches`` a validation can be due between two accumulated batches. The checkpoint written before
it would lack their gradients, so that a resumed run could not repeat the step. Such a validation waits for the step.
"""

import pytorch_lightning as pl
from pytorch_lightning.loops.fetchers import _DataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop


class StepAlignedEpochLoop(_TrainingEpochLoop):
    """Runs a validation that is due within an accumulation right after the optimizer step that ends it.

    Whether a validation is due depends on the batch counters alone, so that a resumed run validates at the same steps.
    """

    def _should_check_val_fx(self, data_fetcher: _DataFetcher) -> bool:
        if self._should_accumulate():
            return False
        if super()._should_check_val_fx(data_fetcher):
            return True
        return self._should_check_val_epoch() and self._was_due_since_the_last_step()

    def _was_due_since_the_last_step(self) -> bool:
        interval = self.trainer.val_check_batch
        if interval is None or interval == float("inf"):  # a dataset without a length: validated after its last batch
            return False
        done = self.batch_progress.current.ready
        accumulated = (done - 1) % self.trainer.accumulate_grad_batches + 1
        if self.trainer.check_val_every_n_epoch is None:  # the interval counts batches across epochs
            done = self.total_batch_idx + 1
        return done // interval > (done - accumulated) // interval


def validate_at_step_ends(trainer: pl.Trainer) -> None:
    """Replaces the epoch loop of a Trainer that has not started."""
    loop = trainer.fit_loop.epoch_loop
    trainer.fit_loop.epoch_loop = StepAlignedEpochLoop(trainer, loop.min_steps, loop.max_steps)

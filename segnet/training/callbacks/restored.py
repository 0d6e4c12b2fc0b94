"""A resumed run whose stored training state cannot be restored: one line that names the checkpoint."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from segnet.errors import CheckpointError, SegnetError, first_line

# What Lightning, an optimizer or a callback raises for a state of other types, keys or shapes.
MALFORMED = (LookupError, TypeError, ValueError, AttributeError, AssertionError)


class Restored(Callback):
    """Takes note of the moment when a run has its state back and begins to train."""

    def __init__(self) -> None:
        self._begun = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begun = True

    def explain(self, error: BaseException, checkpoint: Path | None) -> None:
        """Name the checkpoint if an error came while its state was restored.

        Raises:
            CheckpointError: it did.
        """
        unfit = isinstance(error, RuntimeError) and "loading state_dict" in str(error)
        if checkpoint is None or self._begun or isinstance(error, SegnetError):
            return
        if unfit or isinstance(error, MALFORMED):
            raise CheckpointError(
                f"{checkpoint}: the state of its training cannot be restored ({type(error).__name__}: "
                f"{first_line(error)}): start from its weights with init_from={checkpoint}"
            ) from error

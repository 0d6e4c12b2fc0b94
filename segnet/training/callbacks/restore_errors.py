"""Errors while a resumed run restores its training state: one line that names the checkpoint."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from segnet.errors import CheckpointError, SegnetError, first_line

# Exceptions of Lightning, optimizers and callbacks for a state of wrong types, keys or shapes.
MALFORMED = (LookupError, TypeError, ValueError, AttributeError, AssertionError)


class RestoreErrors(Callback):
    """Records when training starts, to distinguish errors of restoring from errors of training."""

    def __init__(self) -> None:
        self._begun = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begun = True

    def explain(self, error: BaseException, checkpoint: Path | None) -> None:
        """Raise an error that names the checkpoint if `error` occurred while its state was restored.

        Raises:
            CheckpointError: the state is malformed; all other errors are left to the caller.
        """
        unfit = isinstance(error, RuntimeError) and "loading state_dict" in str(error)
        if checkpoint is None or self._begun or isinstance(error, SegnetError):
            return
        if unfit or isinstance(error, MALFORMED):
            raise CheckpointError(
                f"{checkpoint}: its training state cannot be restored ({type(error).__name__}: "
                f"{first_line(error)}): start from its weights with init_from={checkpoint}"
            ) from error

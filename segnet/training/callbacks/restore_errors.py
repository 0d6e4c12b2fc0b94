"""Errors while a resumed run restores its training state: one line that names the checkpoint."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

from segnet.errors import CheckpointError, SegnetError, first_line

# Exceptions of Lightning, optimizers and callbacks for a state of wrong types, keys or shapes.
MALFORMED = (LookupError, TypeError, ValueError, AttributeError, AssertionError)

AVERAGES = {
    "momentum_buffer",
    "exp_avg",
    "exp_avg_sq",
    "max_exp_avg_sq",
}  # torch's names of the averages of SGD and Adam
UNFIT = ("loading state_dict", "The size of tensor", "Tensors of the same index")  # in a RuntimeError of torch


class RestoreErrors(Callback):
    """Records when training starts, to distinguish errors of restoring from errors of training.

    The first optimizer step counts as restoring: it is the first to use the values in the optimizer's state.
    """

    def __init__(self) -> None:
        self._restoring, self._stepped = True, False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for optimizer in trainer.optimizers:
            require_shapes(optimizer)
        self._restoring = False

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        self._restoring = not self._stepped

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._stepped = self._stepped or self._restoring
        self._restoring = False

    def explain(self, error: BaseException, checkpoint: Path | None) -> None:
        """Raise an error that names the checkpoint if `error` occurred while its state was restored.

        Raises:
            CheckpointError: the state is malformed; all other errors are left to the caller.
        """
        unfit = isinstance(error, RuntimeError) and any(words in str(error) for words in UNFIT)
        if checkpoint is None or not self._restoring or isinstance(error, SegnetError):
            return
        if unfit or isinstance(error, MALFORMED):
            raise CheckpointError(
                f"{checkpoint}: its training state cannot be restored ({type(error).__name__}: "
                f"{first_line(error)}): start from its weights with init_from={checkpoint}"
            ) from error


def require_shapes(optimizer: Optimizer) -> None:
    """Check the shapes of an optimizer's averages: torch does not, and a step with wrong shapes corrupts memory.

    Raises:
        ValueError: an average and its weight have different shapes.
    """
    for weight, state in optimizer.state.items():
        for name in AVERAGES & state.keys():
            value = state[name]
            if value is not None and (not isinstance(value, Tensor) or value.shape != weight.shape):
                raise ValueError(f"{name} does not fit a weight of shape {tuple(weight.shape)}")

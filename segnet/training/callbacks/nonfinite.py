"""Non-finite loss: stop and report the batch's files, or skip the step."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

from segnet.errors import ConfigError, listed

log = logging.getLogger(__name__)

NON_FINITE_ACTIONS = ("stop", "skip")
MOST_IN_A_ROW = 10  # consecutive skipped steps before the run stops
MOST_FILES = 8  # files of a batch named in a message


class NonFiniteLoss(Callback):
    """Check that every training loss is finite.

    Args:
        action: "stop" the run, or "skip" the step, which leaves weights, momentum and running statistics unchanged.

    Raises:
        ConfigError: an unknown action.
    """

    def __init__(self, action: str = "stop") -> None:
        if action not in NON_FINITE_ACTIONS:
            raise ConfigError(f"non_finite={action} is unknown: choose from {', '.join(NON_FINITE_ACTIONS)}")
        self._skips = action == "skip"
        self._in_a_row = 0
        self._lost = False  # whether a loss since the last step was not finite
        self._names: Sequence[str] = ()
        self._statistics: list[tuple[Tensor, Tensor]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"in_a_row": self._in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._in_a_row = int(state_dict["in_a_row"])

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._names = batch["name"]
        if self._skips and batch_idx % trainer.accumulate_grad_batches == 0:
            buffers = [buffer for buffer in pl_module.buffers() if buffer.numel()]
            self._statistics = [(buffer, buffer.detach().clone()) for buffer in buffers]

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        value = float(loss.detach())
        if self._skips:
            self._lost |= not math.isfinite(value)
        elif not math.isfinite(value):
            problem = self._describe(value, trainer)
            raise ConfigError(f"{problem}: lower optim.lr, or set trainer.gradient_clip_val=1")

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if not self._skips:
            return
        lost, self._lost = _any_process(self._lost, trainer), False
        if not lost:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if self._in_a_row > MOST_IN_A_ROW:
            raise ConfigError(
                f"{self._describe(math.nan, trainer)}, after {MOST_IN_A_ROW} skipped steps in a row: lower optim.lr, "
                "or set trainer.gradient_clip_val=1"
            )
        log.warning("%s: the step is skipped", self._describe(math.nan, trainer))
        optimizer.zero_grad(set_to_none=True)  # a step without gradients changes nothing
        for buffer, before in self._statistics:
            buffer.copy_(before)

    def _describe(self, value: float, trainer: pl.Trainer) -> str:
        loss = "not finite" if self._skips else value
        place = f"step {trainer.global_step} (epoch {trainer.current_epoch})"
        return f"the loss is {loss} at {place}, in the batch {listed(self._names, most=MOST_FILES)}"


def _any_process(lost: bool, trainer: pl.Trainer) -> bool:
    """All-reduce: whether the loss of any process is not finite, since the processes share gradients."""
    if trainer.world_size == 1:
        return lost
    flag = torch.tensor(int(lost), device=trainer.strategy.root_device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag.item())

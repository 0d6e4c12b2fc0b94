"""Warn about many training crops without a labeled pixel: they cost time and contribute no gradient."""

import logging
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor

log = logging.getLogger(__name__)

WINDOW_STEPS = 50  # steps per measurement
MOST = 0.2  # fraction of unlabeled crops above which the warning is logged


class UnlabeledCrops(Callback):
    """Counts unlabeled crops, and warns once per run if a window of steps has too many.

    The count stays on the device and is read once per window, so no step waits for a GPU. Only rank zero counts.
    """

    def __init__(self) -> None:
        self._warned = False
        self._start_window()

    def _start_window(self) -> None:
        self._num_steps = self._num_crops = 0
        self._num_unlabeled: Tensor | int = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._warned or not trainer.is_global_zero:
            return
        mask = batch["mask"]
        ignored = mask == pl_module.classes.ignore_index  # type: ignore[union-attr]  # it is our task
        self._num_unlabeled = self._num_unlabeled + ignored.flatten(1).all(1).sum()
        self._num_crops += len(mask)
        self._num_steps += 1
        if self._num_steps == WINDOW_STEPS:
            self._end_window()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end_window()

    def _end_window(self) -> None:
        unlabeled = int(self._num_unlabeled)
        if not self._warned and unlabeled > MOST * self._num_crops:
            self._warned = True
            log.warning(
                "%d of the %d training crops of the last %d steps have no labeled pixel and do not train the model: "
                "raise data.crop_size, narrow data.scale_range, or check the masks with segnet inspect",
                unlabeled,
                self._num_crops,
                self._num_steps,
            )
        self._start_window()

    def state_dict(self) -> dict[str, Any]:
        return {
            "warned": self._warned,
            "num_steps": self._num_steps,
            "num_crops": self._num_crops,
            "num_unlabeled": int(self._num_unlabeled),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._warned = state_dict["warned"]
        self._num_steps = state_dict["num_steps"]
        self._num_crops = state_dict["num_crops"]
        self._num_unlabeled = state_dict["num_unlabeled"]

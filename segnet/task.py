"""SegmentationTask: step, log, optimise. What the network is, it reads off the spec that the checkpoint stores."""

import math
from dataclasses import asdict
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from segnet.classes import Classes
from segnet.components import build
from segnet.config import OptimConfig
from segnet.errors import ConfigError
from segnet.losses import LOSSES
from segnet.metrics import ConfusionMatrix, Scores
from segnet.model import SegmentationModel
from segnet.optim import build_optimizer, build_schedule, check_optim


class SegmentationTask(pl.LightningModule):
    """Trains and measures a SegmentationModel.

    All arguments are builtins and become the checkpoint's ``hyper_parameters``: the single store of what was trained.

    Args:
        model: keyword arguments of SegmentationModel.
        classes: keyword arguments of Classes.create.
        loss: spec from `segnet.losses.LOSSES`.
        optim: keyword arguments of OptimConfig.

    Raises:
        ConfigError: an unknown or impossible option.
    """

    def __init__(
        self, model: dict[str, Any], classes: dict[str, Any], loss: dict[str, Any], optim: dict[str, Any]
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.classes = Classes.create(**classes)
        self.model = SegmentationModel(**model)
        self.loss = build("loss", LOSSES, loss, ignore_index=self.classes.ignore_index)
        self.optim = OptimConfig(**optim)
        check_optim(self.optim)
        self.confusion = ConfusionMatrix(len(self.classes.names), self.classes.ignore_index)
        self.scores: Scores | None = None  # of the last evaluation

    @classmethod
    def create(
        cls, *, model: dict[str, Any], classes: Classes, loss: dict[str, Any], optim: OptimConfig
    ) -> "SegmentationTask":
        """Builds the task of a configuration; the classes fix the number of channels."""
        model = {**model, "num_classes": len(classes.names)}
        return cls(model=model, classes=classes.to_dict(), loss=dict(loss), optim=asdict(optim))

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss = self.loss(self.model(batch["image"]), batch["mask"])
        self.log("train/loss", loss, prog_bar=True)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"], prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.confusion.reset()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        logits = self.model(batch["image"])
        self.confusion.update(logits.argmax(dim=1), batch["mask"])
        self.log("val/loss", self.loss(logits, batch["mask"]), batch_size=len(batch["image"]), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        self.scores = Scores.from_matrix(self.confusion.compute())
        self.log("val/miou", self.scores.miou, prog_bar=True)
        self.log("val/pixel_accuracy", self.scores.pixel_accuracy)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = build_optimizer(self.parameters(), self.optim)
        num_steps = self.trainer.estimated_stepping_batches
        if num_steps == math.inf:
            raise ConfigError("the poly schedule needs an end: set trainer.max_epochs or trainer.max_steps")
        schedule = build_schedule(optimizer, self.optim, int(num_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

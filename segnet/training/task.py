"""SegmentationTask, the LightningModule: training and validation steps, logging and optimizers."""

import math
from dataclasses import asdict
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segnet.classes import Classes
from segnet.components import build
from segnet.config import OptimConfig
from segnet.errors import ConfigError
from segnet.images.windows import Window
from segnet.inference.decisions import decision_of
from segnet.inference.refinement import Refinement
from segnet.inference.refining import Refiner
from segnet.inference.tta import Inference
from segnet.losses import build_loss
from segnet.models.auxiliary import AUXILIARY_HEADS, FCNHead
from segnet.models.segmentation_model import SegmentationModel
from segnet.training.boundary_metrics import BoundaryCounts
from segnet.training.calibration import ConfidenceMetrics, label_and_count
from segnet.training.callbacks.budget_clock import budget_clock
from segnet.training.changed_options import apply_changed_options
from segnet.training.consistency import Consistency
from segnet.training.freezing import frozen_parts
from segnet.training.label_metrics import ProbabilityHistogram, metric_of
from segnet.training.metrics import Scores, iou_metric
from segnet.training.optim import (
    backbone_depths,
    build_optimizer,
    build_schedule,
    check_optim,
    hyperparameters,
    parameter_groups,
)
from segnet.training.teacher import TEACHER_KEY, Distillation


class SegmentationTask(pl.LightningModule):
    """LightningModule that trains and evaluates a SegmentationModel.

    All arguments are builtins. They become the checkpoint's ``hyper_parameters``, the only description of the model.

    Args:
        model: keyword arguments of SegmentationModel.
        classes: keyword arguments of Classes.create.
        loss: spec from `segnet.losses.LOSSES`.
        optim: keyword arguments of OptimConfig.
        frozen_stages: number of backbone stages frozen together with the stem, running statistics included: 0 freezes
            the stem alone, 1 also the first stage, and so on; None freezes nothing.
        norm_eval: freeze the running statistics of the backbone's batch norms; their scale and bias still train.
        auxiliary_head: spec from `segnet.models.auxiliary.AUXILIARY_HEADS`; None: no auxiliary loss.

    Raises:
        ConfigError: an unknown or impossible option.
    """

    def __init__(
        self,
        model: dict[str, Any],
        classes: dict[str, Any],
        loss: dict[str, Any],
        optim: dict[str, Any],
        frozen_stages: int | None = None,
        norm_eval: bool = False,
        auxiliary_head: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.classes = Classes.create(**classes)
        self.model = SegmentationModel(**model)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster; all layers preserve it
        self.loss = build_loss(loss, self.classes)
        self.auxiliary_head: FCNHead | None = None
        if auxiliary_head:
            channels, number = self.model.backbone.channels, len(self.classes.names)
            self.auxiliary_head = build(
                "auxiliary_head", AUXILIARY_HEADS, auxiliary_head, backbone_channels=channels, num_classes=number
            )
        self.optim = OptimConfig(**optim)
        check_optim(self.optim)
        backbone_depths(self.model.backbone, self.optim)  # refuses a backbone without stages before any data is read
        self.use_classes(self.classes)
        self.thresholds: list[float] = []  # chosen by the last validation, with several classes per pixel
        self.scores: Scores | None = None  # scores of the last evaluation
        self.boundary: BoundaryCounts | None = None  # counted by an evaluation that asks for it
        self.confidence: ConfidenceMetrics | None = None  # counted by evaluations, not by validations
        self.inference = Inference()  # inference options of validations
        self.distillation: Distillation | None = None  # set for a training; no part of the state dict
        self.others = nn.ModuleList()  # models whose probabilities an evaluation averages with this one's
        self.consistency: Consistency | None = None  # loss of unlabeled images
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        for part in frozen_parts(self.model.backbone, frozen_stages):
            part.requires_grad_(False)
        self.train()  # Lightning keeps the mode that a module has when training starts

    def use_classes(self, classes: Classes, refinement: Refinement | None = None) -> None:
        """Decide about pixels and count them by these classes, which differ from the task's in thresholds at most."""
        self.refiner, self.refused = Refiner(refinement or Refinement(), classes), 0  # labeled pixels without a class
        self.classes = self.refiner.classes
        self.decision, self.confusion = decision_of(self.classes), metric_of(self.classes)

    @classmethod
    def create(
        cls,
        *,
        model: dict[str, Any],
        classes: Classes,
        loss: dict[str, Any],
        optim: OptimConfig,
        frozen_stages: int | None = None,
        norm_eval: bool = False,
        auxiliary_head: dict[str, Any] | None = None,
    ) -> "SegmentationTask":
        """Build the task from typed options; the classes determine the number of output channels."""
        model = {**model, "num_classes": len(classes.names)}
        return cls(
            model=model,
            classes=classes.to_dict(),
            loss=dict(loss),
            optim=asdict(optim),
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            auxiliary_head=dict(auxiliary_head) if auxiliary_head else None,
        )

    def train(self, mode: bool = True) -> "SegmentationTask":
        """Switch between train and eval mode; frozen parts always stay in eval mode."""
        super().train(mode)
        for part in frozen_parts(self.model.backbone, self.frozen_stages):
            part.eval()
        if self.norm_eval:
            for layer in self.model.backbone.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits

    def compile_network(self) -> None:
        """Compile the training step's network with torch.compile; evaluation of any image size stays uncompiled."""
        self._network = torch.compile(self._network)  # type: ignore[method-assign]
        if self.distillation is not None:
            self.distillation.compile_teacher()

    def _network(self, images: Tensor, num_decoded: int | None = None) -> tuple[list[Tensor], Tensor]:
        features = self.model.encode(images)
        return features, self.model.decoder([feature[:num_decoded] for feature in features])

    def losses(
        self, images: Tensor, mask: Tensor, unlabeled: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total loss of a batch, and the unweighted losses that are added to that of the masks, by name.

        Args:
            images: uint8 (batch, channels, height, width).
            mask: class ids (batch, height, width), or planes (batch, classes, height, width).
            unlabeled: views of unlabeled images, see `segnet.training.consistency`; None: without them.
        """
        count, weak, decoded = len(images), images[:0], None
        if unlabeled is not None and self.consistency is not None:
            weak = unlabeled["weak"] if self.consistency.needs_weak_features else weak
            decoded = None if self.consistency.teacher is None else count
        features, logits = self._network(torch.cat([images, weak]) if len(weak) else images, decoded)
        features, weak_features = [[part[:count] for part in features], [part[count:] for part in features]]
        # The loss resizes the logits itself, which avoids logits at full image size.
        loss = self.loss(logits[:count], mask, self.model.decoder.align_corners)
        added: dict[str, Tensor] = {}
        if (head := self.auxiliary_head) is not None:
            added["auxiliary_loss"] = self.loss(head(features), mask, head.align_corners)
            loss = loss + head.weight * added["auxiliary_loss"]
        if self.distillation is not None:
            added["distillation_loss"] = self.distillation.loss(images, logits[:count])
            loss = loss + self.distillation.weight * added["distillation_loss"]
        if unlabeled is not None and self.consistency is not None:
            found = self.consistency(self._network, self.model.decoder, unlabeled, weak_features, logits[count:])
            added |= {"consistency_loss": found.loss, "confident_pixels": found.confident}
            loss = loss + self.consistency.weight(self.global_step) * found.loss
        return loss, added

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss, added = self.losses(batch["image"], batch["mask"], batch.get("unlabeled"))
        self.log_dict({f"train/{name}": value for name, value in added.items()})
        self.log("train/loss", loss, prog_bar=True)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"], prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.refused = 0
        for counts in (self.confusion, self.boundary, self.confidence):
            if counts is not None:
                counts.reset()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        loss = self.measure(batch["image"], batch["mask"])
        self.log("val/loss", loss, batch_size=len(batch["image"]), sync_dist=True)

    def measure(self, images: Tensor, mask: Tensor) -> Tensor:
        """Predict images, update `confusion`, and return the loss.

        Sliding-window inference keeps no full-size tensor except masks. Its loss is the mean over the tiles,
        weighted by their labeled pixels.
        """
        size = (images.shape[2], images.shape[3])
        inference = self.decision.fitted(self.inference).for_size(size)
        if inference.window is not None and max(size) > inference.window:
            return torch.stack(
                [self._measure_windows(*pair, inference) for pair in zip(images, mask, strict=True)]
            ).mean()
        if inference.is_plain and not self.others and not self.refiner.refinement.needs_probabilities:
            logits = self.model(images)
            scores = self.decision.scores(logits)
        else:
            scores = inference([self.model, *self.others], images)
            logits = self.decision.as_logits(scores)
        self._count(self.refiner.fill(label_and_count(scores, logits, mask, self.refiner, self.confidence)), mask)
        loss: Tensor = self.loss(logits, mask)
        return loss

    def _count(self, predicted: Tensor, truth: Tensor) -> None:
        """Count the masks of whole images, or of tiles unless boundaries are counted."""
        if self.boundary is not None:
            self.boundary.update(predicted, truth)
        if self.refiner.may_refuse:  # refused pixels are in no score, and counted apart
            refused = predicted == self.classes.ignore_index
            self.refused += int((refused & (truth != self.classes.ignore_index)).sum())
            truth = truth.masked_fill(refused, self.classes.ignore_index)
        self.confusion.update(predicted, truth)

    def _measure_windows(self, image: Tensor, mask: Tensor, inference: Inference) -> Tensor:
        total = labeled = 0.0
        needs_whole = self.boundary is not None or self.refiner.refinement.is_by_region
        whole = torch.empty(mask.shape, dtype=torch.int32) if needs_whole else None

        def count(part: Window, probabilities: Tensor) -> None:
            nonlocal total, labeled
            truth, logits = mask[(..., *part.within())][None], self.decision.as_logits(probabilities)[None]
            predicted = label_and_count(probabilities[None], logits, truth, self.refiner, self.confidence)[0]
            if whole is None:
                self._count(predicted, truth[0])
            else:
                whole[part.within()] = predicted.to("cpu", torch.int32)
            pixels = int((truth != self.classes.ignore_index).sum())
            total += pixels * float(self.loss(logits, truth))
            labeled += pixels

        size = (image.shape[1], image.shape[2])
        inference.slide([self.model, *self.others], size, lambda window: image[:, *window.within()], count)
        if whole is not None:  # boundaries and regions do not end at the borders of tiles
            self._count(self.refiner.fill(whole[None])[0].to(mask.device), mask)
        return torch.tensor(total / max(labeled, 1.0), device=image.device)

    def on_validation_epoch_end(self) -> None:
        self.scores = self.confusion.scores(counts := self.confusion.compute())
        if isinstance(self.confusion, ProbabilityHistogram):
            self.thresholds = self.confusion.best_thresholds(counts)
        self.log("val/miou", self.scores.miou, prog_bar=True)
        self.log("val/pixel_accuracy", self.scores.pixel_accuracy)
        self.log_dict({iou_metric(name): iou for name, iou in zip(self.classes.names, self.scores.iou, strict=True)})

    def configure_optimizers(self) -> OptimizerLRScheduler:
        # With a gradient scaler, a fused optimizer unscales gradients itself; Lightning then cannot clip them.
        fused = self.trainer.scaler is None
        groups = parameter_groups(self, self.model.backbone, self.optim)
        optimizer = build_optimizer(groups, self.optim, fused=fused)
        self._configured = hyperparameters(optimizer)
        num_steps = self.trainer.estimated_stepping_batches
        clock = budget_clock(self.trainer)
        if num_steps == math.inf and clock is None:
            raise ConfigError(
                "the learning rate schedule needs a finite run: set trainer.max_epochs or trainer.max_steps"
            )
        if clock is None:
            schedule = build_schedule(optimizer, self.optim, num_steps)
        else:
            schedule = build_schedule(optimizer, self.optim, num_steps, clock.progress, clock.warmup_fraction)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.distillation is not None:
            checkpoint[TEACHER_KEY] = self.distillation.state()
        if self.thresholds:  # in the description of the model: predictions and exports use them
            hyper_parameters = checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY]
            hyper_parameters["classes"] = {**hyper_parameters["classes"], "thresholds": self.thresholds}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.thresholds = list(checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY]["classes"].get("thresholds", []))

    def on_train_start(self) -> None:
        """Apply changed optimizer options when a run resumes; the checkpoint restored the old ones."""
        if self.trainer.ckpt_path is not None:
            apply_changed_options(self.trainer, self._configured)

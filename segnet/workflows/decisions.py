"""Resolve the null options of a run: collect the facts of data and device, and apply the plan."""

from dataclasses import replace

import pytorch_lightning as pl

from segnet.config import Config, known
from segnet.data.datamodule import SegmentationDataModule
from segnet.training.batches import scale_lr
from segnet.training.plan import Facts, needs_sizes, planned


def decided(config: Config, datamodule: SegmentationDataModule, trainer: pl.Trainer) -> Config:
    """Replace each null whose default depends on the data by a value (`segnet.training.plan`).

    Train images are read only if a default depends on their sizes.

    Raises:
        ConfigError: an impossible option of the optimizer.
    """
    sizes = datamodule.sizes("train") if needs_sizes(config) else {}
    facts = replace(facts_of(config, datamodule, trainer), sizes=sizes)
    config = planned(config, facts)
    images = known(config.data.batch_size) * facts.num_processes * facts.accumulated
    return replace(config, optim=scale_lr(config.optim, images))


def facts_of(config: Config, datamodule: SegmentationDataModule, trainer: pl.Trainer) -> Facts:
    """Collect the facts for the plan of a run, without image sizes."""
    return Facts(
        num_train=len(datamodule.split("train")),
        num_val=len(datamodule.split("val")),
        pretrained=bool(config.backbone_weights or config.init_from),
        device=trainer.strategy.root_device.type,
        num_processes=trainer.world_size,
        accumulated=trainer.accumulate_grad_batches,
    )

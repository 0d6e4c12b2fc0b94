"""The decisions at the start of a run: the facts that its plan follows, and the configuration without nulls."""

from dataclasses import replace

import pytorch_lightning as pl

from segnet.config import Config, known
from segnet.data.datamodule import SegmentationDataModule
from segnet.training.batches import scale_lr
from segnet.training.plan import Facts, needs_sizes, planned


def decided(config: Config, datamodule: SegmentationDataModule, trainer: pl.Trainer) -> Config:
    """The configuration with a value for each null that follows the data (`segnet.training.plan`).

    The train images are read only if a null asks for their sizes.

    Raises:
        ConfigError: an impossible option of the optimizer.
    """
    sizes = datamodule.sizes("train") if needs_sizes(config) else {}
    facts = replace(facts_of(config, datamodule, trainer), sizes=sizes)
    config = planned(config, facts)
    images = known(config.data.batch_size) * facts.num_processes * facts.accumulated
    return replace(config, optim=scale_lr(config.optim, images))


def facts_of(config: Config, datamodule: SegmentationDataModule, trainer: pl.Trainer) -> Facts:
    """What the plan of a run follows, except for the sizes of the images."""
    return Facts(
        num_train=len(datamodule.split("train")),
        num_val=len(datamodule.split("val")),
        pretrained=bool(config.backbone_weights or config.init_from),
        device=trainer.strategy.root_device.type,
        num_processes=trainer.world_size,
        accumulated=trainer.accumulate_grad_batches,
    )

"""Resolve the null options of a run: collect facts about data and device, and apply the plan or the time budget."""

import logging
from dataclasses import replace

import pytorch_lightning as pl

from segnet.config import Config, known
from segnet.data.datamodule import SegmentationDataModule
from segnet.errors import ConfigError
from segnet.option_values import check_values
from segnet.times import as_budget
from segnet.training.batches import scale_lr
from segnet.training.budget import LEAST_TRAINING, Speed, backbone_for, check_budget, plan_within
from segnet.training.callbacks import budget_clock as clocks
from segnet.training.callbacks.budget_clock import BudgetClock
from segnet.training.plan import WARMUP_FRACTION, Facts, needs_sizes, planned
from segnet.training.teacher import Distillation
from segnet.training.trainer_options import device_type
from segnet.workflows.probe import probe

log = logging.getLogger(__name__)

REPORT_IMAGES = 6  # images in preview.png; they are predicted again, like the images in the report
REPORT_FRACTION = 0.5  # duration of the report without predictions, relative to the start-up
SHORTEST_REPORT = 3.0  # smallest estimate of this duration [s]
CHECKPOINTS = 20  # number per budget, unless checkpoint_minutes is set


def start_clock(config: Config, elapsed: float) -> BudgetClock | None:
    """Check the values of a configuration; return the clock of its budget, or None without one.

    Args:
        elapsed: time that the process has used so far [s].

    Raises:
        ConfigError: a value out of its range, or several processes.
    """
    check_values(config)
    seconds = check_budget(config)
    if seconds is None:
        return None
    clock = BudgetClock(seconds, elapsed)
    if config.optim.warmup_steps is None:
        clock.warmup_fraction = WARMUP_FRACTION
    clock.ending = max(SHORTEST_REPORT, REPORT_FRACTION * elapsed)
    return clock


def fitted(config: Config, clock: BudgetClock | None) -> Config:
    """Return the configuration with the backbone and the checkpoint interval for its budget."""
    if clock is None:
        return config
    minutes = config.checkpoint_minutes
    if minutes == Config().checkpoint_minutes:
        minutes = min(minutes or 20.0, max(0.5, clock.budget / 60 / CHECKPOINTS))
    return replace(config, backbone=backbone_for(config, device_type(config.trainer)), checkpoint_minutes=minutes)


def decided(
    config: Config,
    datamodule: SegmentationDataModule,
    trainer: pl.Trainer,
    resumed: bool = False,
    distillation: Distillation | None = None,
) -> Config:
    """Resolve the null options whose defaults depend on the data (`segnet.training.plan`).

    Train images are read only if a default depends on their sizes. A new run with a budget is probed first.

    Raises:
        ConfigError: an impossible option of the optimizer, or a budget that leaves no time to train.
    """
    clock = clocks.budget_clock(trainer)
    sizes = datamodule.sizes("train") if needs_sizes(config) or clock else {}
    facts = replace(facts_of(config, datamodule, trainer), sizes=sizes)
    if clock and not resumed:
        plan = planned(config, facts)
        datamodule.use(plan.data)
        datamodule.check_options(facts.num_processes)  # first: the probe would fail without saying why
        datamodule.require_sound()
        device, left = trainer.strategy.root_device, clock.left
        speed = probe(plan, datamodule, facts, device, left, clocks.now, distillation)
        config = _within_budget(config, facts, clock, speed)
    config = planned(config, facts)
    images = known(config.data.batch_size) * facts.num_processes * facts.accumulated
    return replace(config, optim=scale_lr(config.optim, images))


def _within_budget(config: Config, facts: Facts, clock: BudgetClock, speed: Speed) -> Config:
    clock.validation = speed.validation
    predicted = (REPORT_IMAGES + config.worst_images) * speed.validation / max(1, facts.num_val)
    clock.ending += speed.validation + predicted
    training = clock.training_left()
    if training < LEAST_TRAINING * clock.budget:
        needed = (clock.budget - training) / (1 - LEAST_TRAINING)
        raise ConfigError(
            f"budget={config.budget} leaves too little time for training: start-up, validation and report take about "
            f"{clock.budget - training:.0f} s; set budget={as_budget(60 * -(-needed // 60))} or more"
        )
    decision, clock.planned_steps = plan_within(config, facts, speed, training)
    log.info(
        "budget %s: %.0f s used so far, about %.0f s for training and its validations, %.0f s for the final evaluation "
        "and the report",
        config.budget,
        clock.used,
        training,
        clock.ending,
    )
    return decision


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
